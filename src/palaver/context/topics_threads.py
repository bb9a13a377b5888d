"""Which topics belong together: a matter that is left and taken up again is one thread.

Two topics are of one thread when what they share is rare in the conversation and makes up much of
the shorter one. An identifier (an order number, a file, a function) counts several words: it is
what interleaved matters of the same kind differ by.
"""

from collections import Counter
from collections.abc import Mapping

from palaver.context.topics_terms import Terms, is_code

_ENOUGH = 0.3  # share of the weight of the smaller topic that both have
_CODE = 4.0  # words that an identifier counts for
_AT_LEAST = 2  # rare words, or one identifier: one shared word is chance


class Threads:
    """Puts topics into threads, in the order of the conversation."""

    def __init__(self, rare: Mapping[str, float]) -> None:
        self._rare = rare
        self._threads: list[Counter[str]] = []
        self._last: list[int] = []  # newest topic of each thread
        self._placed = 0

    def place(self, terms: Terms) -> tuple[int, int | None]:
        """The thread of the next topic, and the topic that it resumes, if it resumes one."""
        weights = {root: self._weight(root, count) for root, count in terms.counts.items()}
        scores = [self._likeness(weights, thread) for thread in self._threads]
        best = max(range(len(scores)), key=scores.__getitem__, default=None)
        number, self._placed = self._placed, self._placed + 1
        if best is None or scores[best] < _ENOUGH:
            self._threads.append(Counter(terms.counts))
            self._last.append(number)
            return len(self._threads) - 1, None
        resumed = self._last[best]
        self._threads[best].update(terms.counts)
        self._last[best] = number
        return best, resumed

    def _likeness(self, weights: Mapping[str, float], thread: Mapping[str, int]) -> float:
        shared = [root for root in weights if root in thread and self._rare[root] > 0.5]
        if sum(_CODE if is_code(root) else 1.0 for root in shared) < _AT_LEAST:
            return 0.0
        whole = min(
            sum(weights.values()),
            sum(self._weight(root, count) for root, count in thread.items()),
        )
        both = sum(min(weights[root], self._weight(root, thread[root])) for root in shared)
        return both / whole if whole else 0.0

    def _weight(self, root: str, count: int) -> float:
        return min(count, 3) * self._rare[root] * (_CODE if is_code(root) else 1.0)

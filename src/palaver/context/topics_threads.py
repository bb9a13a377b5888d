"""Which topics belong together: a matter that is left and taken up again is one thread.

Two topics are of one thread when what they share is rare in the conversation and makes up much of
the smaller one. An identifier (an order number, a file, a function) counts several words: it is
what interleaved matters of the same kind differ by.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping

from palaver.context.topics_terms import Terms, is_code

_ENOUGH = 0.3  # share of the weight of the smaller topic that both have
_CODE = 4  # words that an identifier counts for
_AT_LEAST = 2  # rare words, or one identifier: one shared word is chance
_RARE = 0.5  # see `topics_terms.rarity`; what two topics of three use tells nothing
_CANDIDATES = 8  # threads that are looked at closely: those that share most


class Threads:
    """Puts topics into threads, in the order of the conversation.

    A topic costs what its words cost, not what there are threads: words lead to the threads that
    use them.
    """

    def __init__(self, rare: Mapping[str, float]) -> None:
        self._rare = rare
        self._threads: list[_Thread] = []
        self._using: defaultdict[str, list[int]] = defaultdict(list)
        self._placed = 0

    def place(self, terms: Terms) -> tuple[int, int | None]:
        """The thread of the next topic, and the topic that it resumes, if it resumes one."""
        number, self._placed = self._placed, self._placed + 1
        weights = {root: self._weight(root, count) for root, count in terms.counts.items()}
        likeness, best = max(
            ((self._likeness(weights, thread), thread) for thread in self._candidates(weights)),
            default=(0.0, 0),
        )
        resumed = None
        if likeness < _ENOUGH:
            best = len(self._threads)
            self._threads.append(_Thread())
        else:
            resumed = self._threads[best].last
        self._join(best, number, terms)
        return best, resumed

    def _join(self, thread: int, number: int, terms: Terms) -> None:
        joined = self._threads[thread]
        joined.last = number
        for root, count in terms.counts.items():
            if root not in joined.counts and self._rare[root] > _RARE:
                self._using[root].append(thread)
            before = joined.counts[root]
            joined.counts[root] = before + count
            joined.weight += self._weight(root, before + count) - self._weight(root, before)

    def _candidates(self, weights: Mapping[str, float]) -> list[int]:
        shared: Counter[int] = Counter()
        for root in weights:
            for thread in self._using.get(root, ()):
                shared[thread] += _CODE if is_code(root) else 1
        return [one for one, count in shared.most_common(_CANDIDATES) if count >= _AT_LEAST]

    def _likeness(self, weights: Mapping[str, float], number: int) -> float:
        thread = self._threads[number]
        both = sum(
            min(weight, self._weight(root, thread.counts[root]))
            for root, weight in weights.items()
            if root in thread.counts and self._rare[root] > _RARE
        )
        return both / min(sum(weights.values()), thread.weight)

    def _weight(self, root: str, count: int) -> float:
        return min(count, 3) * self._rare[root] * (_CODE if is_code(root) else 1.0)


class _Thread:
    """A matter: what its topics said, and the newest of them."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.weight = 0.0
        self.last = 0

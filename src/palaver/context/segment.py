"""Where the topics of a conversation begin.

The theory is that of Utiyama and Isahara (2001): a segmentation is good when each segment's words
are well predicted by that segment alone, and when there are few segments. A segment predicts its
next word by Laplace's rule, `(times said + 1) / (words said + vocabulary)`; a new segment has
forgotten everything, which pays only if the old words have ceased. The price of a boundary grows
with the logarithm of what was said, so the number of topics follows from the conversation and not
from a threshold: a meeting of a thousand turns on one product gets a few, as a chat of fifteen
lines does. To that price each place's manner of speaking is added (`segment_features`), weighed by
a logistic model (`segment_weights`).

The best segmentation is found from left to right with a beam of hypotheses on where the present
topic began, at a bounded cost for each utterance. Convention: a boundary is the index of the first
utterance of a new topic. Index 0 opens the first topic by definition and is never listed, as in
the reference data of the field (TIAGE, DialSeg711); who counts it adds it at the cost of nothing.
"""

from bisect import bisect_left
from collections.abc import Iterable
from math import log

from palaver.context.segment_features import (
    AHEAD,
    BEHIND,
    NAMES,
    Traits,
    Utterance,
    features,
    traits,
)
from palaver.context.segment_search import Search, Step
from palaver.context.segment_weights import BIAS, COHESION, WEIGHTS, WORDS_SAID

LAG = 48  # utterances; meetings need dozens of turns until a new topic shows
_COUNTED = 12  # content words of one utterance, when the price of a boundary is reckoned


def segment(utterances: Iterable[Utterance | tuple[str, str] | str]) -> list[int]:
    """The indices of the utterances that open a new topic, ascending.

    Index 0 is not listed: the first topic needs no boundary. Takes texts, `(speaker, text)` pairs
    or `Utterance` values, in any language; deterministic, offline, no state.
    """
    read = [traits(_utterance(one)) for one in utterances]
    vocabulary = len(frozenset().union(*(one.stems for one in read)))
    said = sum(min(len(one.stems), _COUNTED) for one in read)
    search = Search(COHESION)
    for index, one in enumerate(read):
        before, after = read[max(0, index - BEHIND) : index], read[index : index + AHEAD + 1]
        search.take(Step(one.stems, _price(before, after, index, said)), max(1, vocabulary))
    return search.best()


class Segmenter:
    """The same, one utterance at a time: each costs the same, however long the conversation is.

    A boundary is final at the latest when `LAG` more utterances have come, mostly much earlier;
    `closed` never takes one back. `boundaries` adds the best guess for what is still open.
    """

    def __init__(self) -> None:
        self._search = Search(COHESION, lag=LAG)
        self._recent: list[Traits] = []  # BEHIND that the search has taken, then those that wait
        self._waiting = 0
        self._index = 0  # of the first that waits
        self._words: set[str] = set()
        self._said = 0

    def add(self, utterance: Utterance | tuple[str, str] | str) -> None:
        """The conversation has gone on by `utterance`."""
        self.take(traits(_utterance(utterance)))

    def take(self, one: Traits) -> None:
        """`add`, of an utterance that was read already."""
        self._recent.append(one)
        self._waiting += 1
        self._words |= one.stems
        self._said += min(len(one.stems), _COUNTED)
        if self._waiting > AHEAD:
            self._search.take(self._step(0), _foreseen(len(self._words)))
            self._waiting -= 1
            self._index += 1
            del self._recent[: -BEHIND - AHEAD]

    @property
    def closed(self) -> list[int]:
        """The boundaries that will never change, ascending."""
        return list(self._search.closed)

    def closes_at(self, index: int) -> bool:
        """Whether `index` is one of `closed`."""
        closed = self._search.closed
        at = bisect_left(closed, index)
        return at < len(closed) and closed[at] == index

    def boundaries(self) -> list[int]:
        """All boundaries as far as they can be told now, ascending; those of `closed` first."""
        steps = [self._step(ahead) for ahead in range(self._waiting)]
        return self._search.best_after(steps, _foreseen(len(self._words)))

    def _step(self, ahead: int) -> Step:
        """The utterance that is `ahead` of the first that waits."""
        at = len(self._recent) - self._waiting + ahead
        before, after = self._recent[max(0, at - BEHIND) : at], self._recent[at : at + AHEAD + 1]
        price = _price(before, after, self._index + ahead, _foreseen(self._said))
        return Step(after[0].stems, price)


def _foreseen(count: int) -> int:
    """What a count will have become: early on, most of the words are still to come."""
    return 2 * count + 60


def _utterance(one: Utterance | tuple[str, str] | str) -> Utterance:
    return Utterance("", one) if isinstance(one, str) else Utterance(*one)


_WEIGHTS = tuple(WEIGHTS[name] for name in NAMES)


def _price(before: list[Traits], after: list[Traits], index: int, said: int) -> float:
    """What a boundary before `after[0]` adds to the score; mostly negative."""
    if not before:
        return 0.0
    found = features(before, after, index)
    manner = sum(weight * value for weight, value in zip(_WEIGHTS, found, strict=True))
    return BIAS + manner + WORDS_SAID * log(max(2, said))

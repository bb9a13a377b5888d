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
from operator import mul

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
_COUNTED = 25  # content words of one utterance, when the price of a boundary is reckoned

# Beyond these a conversation counts as one of this size. Topics have the same grain however long a
# chat goes on; without the bounds, 60 joined chats lost half of the boundaries that 6 had.
_MOST_WORDS, _MOST_SAID = 500, 400

# Where many turns carry nothing ("mm-hmm"), people talk rather than write: turns are fragments and
# their manner says nothing of topics, which last for hundreds of turns. There only words count.
_FRAGMENTED = (0.15, 0.3)  # share of turns without content: from here on, and entirely
_TALK_WORDS = 1500  # talk on one matter uses more words than a topic of messages
_TALK_PRICE = 25.0  # in logarithms of probability, before COHESION
_TALK_OPENS = 6  # content words of a turn that may open a topic of talk


def segment(utterances: Iterable[Utterance | tuple[str, str] | str]) -> list[int]:
    """The indices of the utterances that open a new topic, ascending.

    Index 0 is not listed: the first topic needs no boundary. Takes texts, `(speaker, text)` pairs
    or `Utterance` values, in any language; deterministic, offline, no state.
    """
    read = [traits(_utterance(one)) for one in utterances]
    size = _Size()
    for one in read:
        size.add(one)
    search = Search(COHESION)
    for index, one in enumerate(read):
        before, after = read[max(0, index - BEHIND) : index], read[index : index + AHEAD + 1]
        search.take(Step(one.stems, size.price(before, after, index)), size.vocabulary)
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
        self._size = _Size(foresee=True)

    def add(self, utterance: Utterance | tuple[str, str] | str) -> None:
        """The conversation has gone on by `utterance`."""
        self.take(traits(_utterance(utterance)))

    def take(self, one: Traits) -> None:
        """`add`, of an utterance that was read already."""
        self._recent.append(one)
        self._waiting += 1
        self._size.add(one)
        if self._waiting > AHEAD:
            self._search.take(self._step(0), self._size.vocabulary)
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
        return self._search.best_after(steps, self._size.vocabulary)

    def _step(self, ahead: int) -> Step:
        """The utterance that is `ahead` of the first that waits."""
        at = len(self._recent) - self._waiting + ahead
        before, after = self._recent[max(0, at - BEHIND) : at], self._recent[at : at + AHEAD + 1]
        return Step(after[0].stems, self._size.price(before, after, self._index + ahead))


def _utterance(one: Utterance | tuple[str, str] | str) -> Utterance:
    return Utterance("", one) if isinstance(one, str) else Utterance(*one)


class _Size:
    """What the conversation is like as a whole: the grain of its topics follows from it."""

    def __init__(self, *, foresee: bool = False) -> None:
        self._words: set[str] = set()
        self._said = 0
        self._turns = 0
        self._fragments = 0
        self._foresee = foresee

    def add(self, one: Traits) -> None:
        """`one` has been said."""
        if len(self._words) < _TALK_WORDS:
            self._words |= one.stems
        self._said += min(len(one.stems), _COUNTED)
        self._turns += 1
        self._fragments += not one.stems

    @property
    def vocabulary(self) -> int:
        """How many different words there are, within bounds; at least 1."""
        most = _MOST_WORDS + self._talk() * (_TALK_WORDS - _MOST_WORDS)
        return max(1, min(self._foreseen(len(self._words)), round(most)))

    def price(self, before: list[Traits], after: list[Traits], index: int) -> float:
        """What a boundary before `after[0]` adds to the score; mostly negative."""
        if not before:
            return 0.0
        talk = self._talk()
        price = talk * -_TALK_PRICE * COHESION
        if talk and len(after[0].stems) < _TALK_OPENS:
            price *= 4
        if talk < 1:
            found = features(before, after, index)
            manner = sum(map(mul, _WEIGHTS, found))
            said = max(2, min(self._foreseen(self._said), _MOST_SAID))
            price += (1 - talk) * (BIAS + manner + WORDS_SAID * log(said))
        return price

    def _talk(self) -> float:
        """From 0 (messages) to 1 (talk in fragments)."""
        low, high = _FRAGMENTED
        share = self._fragments / (self._turns + _UNSURE)
        return min(1.0, max(0.0, (share - low) / (high - low)))

    def _foreseen(self, count: int) -> int:
        """What a count will have become: early on, most of the words are still to come."""
        return 2 * count + 60 if self._foresee else count


_UNSURE = 20  # turns without fragments that are thought before the first
_WEIGHTS = tuple(WEIGHTS[name] for name in NAMES)

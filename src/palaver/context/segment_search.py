"""The beam search for the best segmentation, from left to right.

A hypothesis is a guess of where the present topic began, with the best history before it. Each
utterance adds to every hypothesis how well its topic so far predicts the utterance's words, and
gives birth to one more: that the topic begins here. How often a word was said since a hypothesis
began is read from one list of places for each word, shared by all hypotheses, so that a birth
costs nothing and a step costs hypotheses × words.
"""

from bisect import bisect_left
from collections.abc import Iterable
from math import lgamma, log
from typing import NamedTuple

_BEAM = 16  # on QMSum, whose topics take long to tell apart, 40 changed nothing
_WEIGHTY = 25  # words; a longer utterance counts as much as one of this many
_LOG = [log(n) for n in range(1, 1024)]  # of the count plus one


class Step(NamedTuple):
    """One utterance, ready for the search."""

    words: frozenset[str]
    price: float  # added to the score when a topic opens here


class _Boundary(NamedTuple):
    at: int
    parent: "_Boundary | None"


class _Hypothesis(NamedTuple):
    score: float
    start: int  # index of the first utterance of its present topic
    said: int  # words that were said before that
    last: _Boundary | None


class Search:
    """The best segmentation of the steps taken so far.

    `cohesion` weighs the prediction of words against the prices. With `lag`, what was decided that
    many steps ago becomes final, and what belongs to closed topics is forgotten.
    """

    def __init__(self, cohesion: float, *, lag: int | None = None) -> None:
        self.closed: list[int] = []
        self._cohesion = cohesion
        self._lag = lag
        self._index = 0
        self._said = 0
        self._beam: list[_Hypothesis] = []
        self._places: dict[str, list[int]] = {}

    def take(self, step: Step, vocabulary: int) -> None:
        """Goes on by one utterance. `vocabulary` is how many different words there are in all."""
        self._extend(step, vocabulary)
        if self._lag is not None:
            self._settle(self._index - self._lag)

    def best(self) -> list[int]:
        """The boundaries of the best hypothesis, ascending."""
        newest = self.closed[-1] if self.closed else 0
        if not self._beam:
            return []
        return self.closed + [b.at for b in reversed(_newer(self._beam[0].last, newest))]

    def best_after(self, steps: Iterable[Step], vocabulary: int) -> list[int]:
        """What `best` would be after `steps`; the search stays where it is."""
        steps = list(steps)
        kept = self._index, self._said, self._beam
        for step in steps:
            self._extend(step, vocabulary)
        best = self.best()
        self._index, self._said, self._beam = kept
        for step in steps:
            for word in step.words:
                self._places[word].pop()
        return best

    def _extend(self, step: Step, vocabulary: int) -> None:
        index, said, size = self._index, self._said, len(step.words)
        if self._beam:
            best = self._beam[0]
            born = _Boundary(index, best.last)
            beam = [*self._beam, _Hypothesis(best.score + step.price, index, said, born)]
        else:
            beam = [_Hypothesis(0.0, 0, 0, None)]
        if size:
            beam = self._predict(beam, step.words, vocabulary)
            for word in step.words:
                self._places.setdefault(word, []).append(index)
        beam.sort(key=_score, reverse=True)
        self._beam = beam[:_BEAM]
        self._index, self._said = index + 1, said + size

    def _predict(
        self, beam: list[_Hypothesis], words: frozenset[str], vocabulary: int
    ) -> list[_Hypothesis]:
        """The hypotheses with the logarithm of the probability of `words` added to their scores."""
        size = len(words)
        weight = self._cohesion * min(1.0, _WEIGHTY / size)
        known = [places for word in words if (places := self._places.get(word))]
        extended = []
        for score, start, said, last in beam:
            total = self._said - said + vocabulary
            gained = lgamma(total) - lgamma(total + size)
            for places in known:
                if places[-1] < start:
                    continue
                count = len(places) - bisect_left(places, start)
                gained += _LOG[count] if count < len(_LOG) else log(count + 1)
            extended.append(_Hypothesis(score + weight * gained, start, said, last))
        return extended

    def _settle(self, floor: int) -> None:
        """Drops what contradicts the best hypothesis before `floor`; closes what all share."""
        newest = self.closed[-1] if self.closed else 0
        best = _newer(self._beam[0].last, newest)
        final = next((b for b in best if b.at <= floor), None)
        chains = [(one, _newer(one.last, newest)) for one in self._beam]
        agreeing = [
            (one, chain)
            for one, chain in chains
            if next((b for b in chain if b.at <= floor), None) is final
        ]
        self._beam = [one for one, _ in agreeing]
        shared = next(
            (n for n, b in enumerate(best) if all(b in chain for _, chain in agreeing)), None
        )
        if shared is not None:
            self.closed.extend(b.at for b in reversed(best[shared:]))
            self._forget(self.closed[-1])

    def _forget(self, before: int) -> None:
        """Each place is looked at twice at most, so this is paid for by what was said."""
        kept = {}
        for word, places in self._places.items():
            if places and places[-1] >= before:
                kept[word] = places[bisect_left(places, before) :]
        self._places = kept


def _score(hypothesis: _Hypothesis) -> float:
    return hypothesis.score


def _newer(boundary: _Boundary | None, than: int) -> list[_Boundary]:
    """The boundaries after `than`, newest first."""
    found = []
    while boundary is not None and boundary.at > than:
        found.append(boundary)
        boundary = boundary.parent
    return found

"""The topic map: what a conversation was about, from where to where, and what belongs together.

A topic is a stretch between two boundaries (`segment`). Topics of one matter form a thread, also
when other topics lie between them: they share identifiers and rare words. The map is kept while
the conversation goes on (`TopicTracker`); what is closed is folded into counts, so that neither
work nor memory for an utterance grows with the history.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from palaver.context.segment import LAG, Segmenter, segment
from palaver.context.segment_features import AHEAD, Traits, Utterance, traits
from palaver.context.topics_terms import Terms, best_terms, label, rarity
from palaver.context.topics_threads import Threads


class Topic(msgspec.Struct, frozen=True):
    """One stretch of a conversation on one matter. Indices count utterances from 0."""

    first: int
    last: int  # inclusive
    label: str  # key terms in the conversation's own language; empty if nothing was said
    terms: tuple[str, ...] = ()  # stems that tell this topic from the others, best first
    tokens: int = 0  # as they were given; 0 if none were
    thread: int = 0  # topics of one matter have the same number; counted from 0
    resumes: int | None = None  # number of the topic that this one goes back to
    open: bool = False  # its beginning or end may still move

    @property
    def messages(self) -> int:
        """How many utterances it has."""
        return self.last - self.first + 1


def topic_map(
    utterances: Iterable[Utterance | tuple[str, str] | str],
    *,
    boundaries: Sequence[int] | None = None,
    tokens: Sequence[int] | None = None,
) -> tuple[Topic, ...]:
    """The topics of a whole conversation, in order and without gaps. `boundaries` are found by
    `segment` if they are not given; `tokens` are added up for each topic.
    """
    said = [Utterance("", one) if isinstance(one, str) else Utterance(*one) for one in utterances]
    cuts = segment(said) if boundaries is None else sorted(set(boundaries) - {0})
    sizes = tokens or [0] * len(said)
    stretches = [_Stretch(first) for first in ([0, *cuts] if said else [])]
    for stretch, end in zip(stretches, [*cuts, len(said)], strict=False):
        for index in range(stretch.first, end):
            stretch.add(traits(said[index]), said[index].text, sizes[index])
    return _map(stretches, len(stretches))


class TopicTracker:
    """The topic map of a conversation that goes on."""

    def __init__(self) -> None:
        self._segmenter = Segmenter()
        self._done: list[_Stretch] = []  # closed topics, then the settled part of the present one
        self._recent: list[tuple[Traits, str, int]] = []  # what boundaries may still divide
        self._count = 0

    def add(self, utterance: Utterance | tuple[str, str] | str, *, tokens: int = 0) -> None:
        """The conversation has gone on by `utterance` of so many tokens."""
        said = Utterance("", utterance) if isinstance(utterance, str) else Utterance(*utterance)
        read = traits(said)
        self._segmenter.take(read)
        self._recent.append((read, said.text[:_KEPT_TEXT], tokens))
        self._count += 1
        self._settle()

    def boundaries(self) -> list[int]:
        """Where topics begin, index 0 not listed; see `Segmenter.boundaries`."""
        return self._segmenter.boundaries()

    def topics(self) -> tuple[Topic, ...]:
        """The map as far as it can be told now. Costs work for each topic, not each utterance."""
        if not self._count:
            return ()
        offset = self._count - len(self._recent)
        closed = len(self._done)
        stretches = [*self._done[:-1], *(stretch.copy() for stretch in self._done[-1:])]
        cuts = [cut for cut in self._segmenter.boundaries() if cut >= offset]
        for index, recent in enumerate(self._recent, offset):
            if not stretches or index in cuts:
                stretches.append(_Stretch(index))
            stretches[-1].add(*recent)
        return _map(stretches, max(0, closed - 1))

    def _settle(self) -> None:
        """Folds what no boundary can divide any more into its topic."""
        while len(self._recent) > LAG + AHEAD + 1:
            index = self._count - len(self._recent)
            if not self._done or self._segmenter.closes_at(index):
                self._done.append(_Stretch(index))
            self._done[-1].add(*self._recent.pop(0))


_KEPT_TEXT = 400  # characters of a recent utterance; labels look up how a word is written


class _Stretch:
    """A topic while it is counted."""

    def __init__(self, first: int) -> None:
        self.first = first
        self.count = 0
        self.tokens = 0
        self.terms = Terms()
        self._named: tuple[int, list[str], str] | None = None

    def names(self, rare: Mapping[str, float], topics: int) -> tuple[list[str], str]:
        """Its best terms and its label among so many `topics`. What tells it from the others
        settles soon: they are looked for again when it has grown, or the topics are twice as many.
        """
        if self._named is None or topics >= 2 * self._named[0]:
            best = best_terms(self.terms, rare)
            self._named = topics, best, label(self.terms, best)
        return self._named[1:]

    def add(self, read: Traits, text: str, tokens: int) -> None:
        self._named = None
        self.terms.add(read.found, text)
        self.count += 1
        self.tokens += tokens

    def copy(self) -> "_Stretch":
        other = _Stretch(self.first)
        other.count, other.tokens = self.count, self.tokens
        other.terms.merge(self.terms)
        return other


def _map(stretches: list[_Stretch], closed: int) -> tuple[Topic, ...]:
    rare = rarity(stretch.terms for stretch in stretches)
    threads = Threads(rare)
    topics = []
    for number, stretch in enumerate(stretches):
        best, named = stretch.names(rare, len(stretches))
        thread, resumes = threads.place(stretch.terms)
        topics.append(
            Topic(
                first=stretch.first,
                last=stretch.first + stretch.count - 1,
                label=named,
                terms=tuple(best),
                tokens=stretch.tokens,
                thread=thread,
                resumes=resumes,
                open=number >= closed,
            )
        )
    return tuple(topics)

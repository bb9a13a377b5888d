"""What is measured at each place where a topic could begin.

Two kinds of evidence. *Words*: whether what is said now was said shortly before, and whether what
is new goes on. *Manner*: questions, thanks, pronouns, lengths (`segment_cues`). Everything looks
back `BEHIND` utterances and ahead `AHEAD`, so that the cost of a place never depends on the length
of the conversation. The features are the same numbers that the weights were fitted on
(`segment_weights`), in the same order.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import log1p, sqrt
from typing import NamedTuple

from palaver.context.segment_cues import Cues, cues
from palaver.context.words import words
from palaver.context.words_frequent import FREQUENT

BEHIND = 6
AHEAD = 2
_READ = 1200  # characters of an utterance that are read; a topic shows early
_KEPT = 40  # content words that are kept of it
_ANNOTATION = re.compile(r"\{\w+\}|\[\w+\]|<\w+>")  # {laughter}, [noise]: not what was said


class Utterance(NamedTuple):
    """What one speaker said at once. `speaker` may be a role, a name, or empty if unknown."""

    speaker: str
    text: str


class Traits(NamedTuple):
    """One utterance, read once."""

    speaker: str
    found: tuple[str, ...]  # its words, as `words` gives them
    stems: frozenset[str]  # its content words, without endings
    length: int  # words of all kinds
    cues: Cues


def traits(utterance: Utterance) -> Traits:
    """Reads an utterance: its content words and its cues. Long ones are read at the beginning."""
    text = utterance.text
    found = words(_ANNOTATION.sub(" ", text[:_READ]))
    stems: dict[str, None] = {}
    for word in found:
        if word not in FREQUENT and (len(word) > 1 or word > "\u3000"):
            stems[stem(word)] = None
            if len(stems) == _KEPT:
                break
    return Traits(utterance.speaker, tuple(found), frozenset(stems), len(found), cues(text, found))


@lru_cache(8192)  # a conversation uses few words, and the same ones
def stem(word: str) -> str:
    """A crude stem: English endings off, then the first six letters. Enough for "cat" to meet
    "cats", and for the cases of an inflected language to meet each other.
    """
    if len(word) <= 3 or (word.isalnum() and not word.isalpha()):
        return word  # names, numbers and codes differ in their last letters
    if word.isascii():
        if word[-1] == "s" and word[-2] != "s":
            word = word[:-1]
        if len(word) > 5:
            for ending in ("ing", "ed", "ly"):
                if word.endswith(ending):
                    word = word[: -len(ending)]
                    break
        if word[-1] == "e":
            word = word[:-1]
    return word[:6]


def features(before: Sequence[Traits], after: Sequence[Traits], index: int) -> list[float]:
    """The numbers for "a topic opens at `after[0]`", in the order of `NAMES`.

    `before` are up to `BEHIND` utterances that came before it (at least one), `after` the utterance
    itself and up to `AHEAD` later ones, `index` its place in the conversation.
    """
    found = [
        *_of_words(before, after),
        *_of_manner(before, after),
        float(index == 1),
        float(index == 2),
        float(len(after) == 1),
        float(len(after) <= 2),
        float(after[0].speaker == "assistant"),
        float(after[0].speaker in {"tool", "system"}),
    ]
    around = [one.length for one in (*before, *after)]
    brief = _BRIEF / (_BRIEF + sum(around) / len(around))
    return [*found, brief, *(brief * found[at] for at in _TOLD_BY_BREVITY)]


_NAMES = (
    # of the words
    "no_content",
    "said_just_before",  # share of its content words that the utterance before it has
    "said_3_before",
    "said_6_before",
    "said_any",
    "new",  # log of the number of its words that nobody said shortly before
    "new_goes_on",  # log of how many of those are taken up
    "later_old",  # share of the next utterances' words that were said before the place
    "no_bridge",  # nothing is shared across the place
    "bridge",  # cosine of three utterances before with three from here
    "next_leans_back",
    "previous_dropped",  # nothing of the utterance before is taken up
    "previous_bound",  # log of the words that the utterance before took up itself
    # of the manner of this utterance, of the one before, of the one after, of the second before
    *("greets", "shifts", "closes", "acknowledges", "leans", "pointers", "asks", "asks_last"),
    *("echoes", "requests"),
    *("before_greets", "before_shifts", "before_closes", "before_asks_last", "before_echoes"),
    *("before_requests", "before_leans"),
    *("after_acknowledges", "after_leans", "after_pointers", "after_asks_last", "after_closes"),
    "after_greets",
    *("earlier_closes", "earlier_asks_last"),
    *("length", "before_length", "after_length"),
    "cold_question",  # asks, and nothing in it points back
    "nod_and_question",  # "great. do you …?"
    "answer_and_question",
    "after_an_answer",  # the utterance before answered, and asked nothing
    # of the place
    *("second", "third", "last", "one_of_last_two", "assistant", "machine"),
)
# In small talk a question opens a topic; among long messages it mostly does not. These count anew,
# times `brief`: near 1 among short utterances, near 0 among long ones.
_BREVITY_TELLS = (
    *("asks", "requests", "new", "no_content", "pointers", "acknowledges", "before_asks_last"),
    *("closes", "before_closes", "greets", "no_bridge", "said_3_before", "length"),
)
_TOLD_BY_BREVITY = tuple(map(_NAMES.index, _BREVITY_TELLS))
_BRIEF = 12.0  # words of an utterance that is as brief as long
NAMES = (*_NAMES, "brief", *(f"brief_{name}" for name in _BREVITY_TELLS))


def _of_words(before: Sequence[Traits], after: Sequence[Traits]) -> Iterable[float]:
    now, previous, following = after[0].stems, before[-1].stems, after[1:]
    near = _union(before[-3:])
    known = near.union(*(one.stems for one in before[:-3]))
    later = _union(following)
    size = len(now)
    fresh = now - known
    bridge = _cosine(_counts(before[-3:]), _counts(after))
    earlier = _union(before[:-1])
    return (
        float(size == 0),
        len(now & previous) / (size + 1),
        len(now & near) / (size + 1),
        len(now & known) / (size + 1),
        float(not now.isdisjoint(known)),
        log1p(len(fresh)),
        log1p(len(fresh & later)),
        len(later & near) / (len(later) + 1),
        float(bridge == 0),
        bridge,
        float(bool(following) and not following[0].stems.isdisjoint(near)),
        float(previous.isdisjoint(later) and previous.isdisjoint(now)),
        log1p(len(previous & earlier)),
    )


def _of_manner(before: Sequence[Traits], after: Sequence[Traits]) -> Iterable[float]:
    now, previous = after[0].cues, before[-1].cues
    following = after[1].cues if len(after) > 1 else _SILENT
    earlier = before[-2].cues if len(before) > 1 else _SILENT
    return (
        *(float(now.greets), float(now.shifts), float(now.closes), float(now.acknowledges)),
        *(float(now.leans), log1p(now.pointers), float(now.asks), float(now.asks_last)),
        *(float(now.echoes), float(now.requests)),
        *(float(previous.greets), float(previous.shifts), float(previous.closes)),
        *(float(previous.asks_last), float(previous.echoes), float(previous.requests)),
        float(previous.leans),
        *(float(following.acknowledges), float(following.leans), log1p(following.pointers)),
        *(float(following.asks_last), float(following.closes), float(following.greets)),
        *(float(earlier.closes), float(earlier.asks_last)),
        log1p(after[0].length),
        log1p(before[-1].length),
        log1p(after[1].length) if len(after) > 1 else 0.0,
        float(now.asks_last and not now.echoes and now.pointers == 0),
        float(now.acknowledges and now.asks_last and not now.echoes),
        float(previous.asks_last and now.asks_last),
        float(earlier.asks_last and not previous.asks_last),
    )


_SILENT = Cues()


def _union(group: Sequence[Traits]) -> frozenset[str]:
    return frozenset().union(*(one.stems for one in group))


def _counts(group: Sequence[Traits]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for one in group:
        for word in one.stems:
            counts[word] = counts.get(word, 0) + 1
    return counts


def _cosine(left: dict[str, int], right: dict[str, int]) -> float:
    shared = sum(count * right[word] for word, count in left.items() if word in right)
    if not shared:
        return 0.0
    norms = sum(n * n for n in left.values()) * sum(n * n for n in right.values())
    return shared / sqrt(norms)

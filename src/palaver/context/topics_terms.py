"""Which words tell a topic from the others, and how they are written.

A term is scored by how often the topic uses it against how many topics use it (tf-idf over
topics). Neighbouring terms make a phrase. Where words are not separated by spaces, a term is a
pair of characters and is grown to the longest piece of text that is said as often.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from math import log, sqrt

from palaver.context.segment_features import stem
from palaver.context.words import is_spaceless
from palaver.context.words_frequent import FREQUENT

_LABEL_TERMS = 3
_SAMPLE = 1500  # characters of a topic's text in which the written form is looked up
_LONGEST = 48  # characters of one term in a label
_CODE = re.compile(r"[a-z_]*\d[\w-]*|\w+_\w+")


class Terms:
    """What a stretch of conversation speaks of: counts of stems and of pairs of neighbours."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.pairs: Counter[tuple[str, str]] = Counter()
        self.forms: dict[str, str] = {}  # stem -> the first word that had it
        self.sample = ""

    def add(self, found: Sequence[str], text: str) -> None:
        """Adds an utterance by its words; `text` is where their written form is found."""
        previous = ""
        for word in found:
            if not is_content(word):
                previous = ""
                continue
            root = stem(word)
            self.counts[root] += 1
            self.forms.setdefault(root, word)
            if previous and previous != root and word.isascii() == previous.isascii():
                self.pairs[previous, root] += 1
            previous = "" if is_spaceless(word) else root
        if len(self.sample) < _SAMPLE:
            self.sample += text[: _SAMPLE - len(self.sample)] + "\n"

    def merge(self, other: "Terms") -> None:
        """Adds what `other` holds, as if it had been said later."""
        self.counts.update(other.counts)
        self.pairs.update(other.pairs)
        self.forms = {**other.forms, **self.forms}
        self.sample = (self.sample + other.sample)[:_SAMPLE]


def is_content(word: str) -> bool:
    """Whether `word` says something of a matter: no function word, no single letter, no bare
    small number.
    """
    if word in FREQUENT:
        return False
    return word > "\u3000" if len(word) == 1 else not (word.isdigit() and len(word) < 4)


@lru_cache(8192)
def is_code(word: str) -> bool:
    """Whether `word` looks like an identifier: digits among letters, or joined by underscores."""
    return len(word) >= 4 and _CODE.fullmatch(word) is not None


def rarity(groups: Iterable[Terms]) -> Mapping[str, float]:
    """For each stem the logarithm of topics in all over topics that use it, at least 0.2, so that
    a conversation of one topic has terms as well.
    """
    groups = list(groups)
    spread: Counter[str] = Counter()
    for group in groups:
        spread.update(group.counts.keys())
    total = len(groups) + 1
    return {root: 0.2 + log(total / count) for root, count in spread.items()}


def best_terms(group: Terms, rare: Mapping[str, float], most: int = 8) -> list[str]:
    """The stems that tell `group` from the others, best first; said once counts little."""

    def score(item: tuple[str, int]) -> float:
        root, count = item
        code = 0.5 if is_code(root) else 1.0  # an id names a matter badly
        return (sqrt(count) - 0.6) * rare[root] * code * min(1.0, len(group.forms[root]) / 4)

    ranked = sorted(group.counts.items(), key=lambda item: (-score(item), item[0]))
    return [root for root, _ in ranked[:most]]


def label(group: Terms, best: Sequence[str]) -> str:
    """A few terms as a person would write them, the first said first; empty for an empty topic."""
    phrases: list[str] = []
    used: set[str] = set()
    for root in best:
        if root in used or len(phrases) == _LABEL_TERMS:
            continue
        written = _grown(group, root) if is_spaceless(root) else _phrase(group, root, best, used)
        used.add(root)
        if written and not any(written in other or other in written for other in phrases):
            phrases.append(written[:_LONGEST])
    return ", ".join(sorted(phrases, key=lambda phrase: _place(group, phrase)))


def _phrase(group: Terms, root: str, best: Sequence[str], used: set[str]) -> str:
    """`root` with the neighbour it mostly comes with, if that is a term as well."""
    form = group.forms[root]
    together, pair = 0, (root, "")
    for (first, second), count in group.pairs.items():
        other = second if first == root else first if second == root else ""
        if other in best and other not in used and count > together:
            together, pair = count, (first, second)
    if together * 2 < group.counts[root] or not pair[1]:
        return _written(group, form)
    whole = f"{group.forms[pair[0]]} {group.forms[pair[1]]}"
    written = _written(group, whole)
    if written != whole or re.search(re.escape(whole), group.sample, re.IGNORECASE):
        used.update(pair)
        return written
    return _written(group, form)


def _written(group: Terms, form: str) -> str:
    """`form` as it stands in the text, capitals and all."""
    found = re.search(rf"(?<!\w){re.escape(form)}(?!\w)", group.sample, re.IGNORECASE)
    return found[0] if found else form


def _grown(group: Terms, pair: str) -> str:
    """The longest piece of text around `pair` that is said nearly as often as the pair is."""
    text, piece = group.sample, pair
    often = text.count(piece)
    while often > 1 and len(piece) < 8:
        longer = Counter(_longer(text, piece)).most_common(1)
        if not longer or longer[0][1] < max(2, often * 0.7):
            break
        piece, often = longer[0]
    return piece


def _longer(text: str, piece: str) -> Iterable[str]:
    for match in re.finditer(re.escape(piece), text):
        start, end = match.span()
        if text[end : end + 1].isalnum():
            yield text[start : end + 1]
        if start and text[start - 1].isalnum():
            yield text[start - 1 : end]


def _place(group: Terms, phrase: str) -> int:
    at = group.sample.find(phrase)
    return at if at >= 0 else len(group.sample)

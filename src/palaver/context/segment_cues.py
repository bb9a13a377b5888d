"""How one speaks when a matter begins, goes on or ends.

A topic shift is marked twice: by new vocabulary, and by manner. Openers ("by the way", "another
question"), greetings and requests come first in a topic; thanks and goodbyes come last; pronouns,
"also", "yes" and "what about you?" lean on what was said before. The phrases are in
`segment_phrases`; here they are found, in one pass over the first and last words of an utterance.
"""

import re
from typing import NamedTuple

from palaver.context import segment_phrases
from palaver.context.words import is_spaceless, words

_HEAD, _TAIL = 24, 24  # words at either end in which phrases are looked for


class Cues(NamedTuple):
    """What one utterance shows: facts about its wording, not yet a judgement."""

    greets: bool = False
    shifts: bool = False  # says that something else comes now
    closes: bool = False  # thanks, goodbye, "that is all"
    acknowledges: bool = False  # begins with yes, okay, great …
    leans: bool = False  # begins with "and", "because", or points back at once
    pointers: int = 0  # words that point back
    asks: bool = False
    asks_last: bool = False  # the question is what it ends with
    echoes: bool = False  # "and you?"
    requests: bool = False


def cues(text: str, found: list[str]) -> Cues:
    """The cues of `text`, whose words are `found`. Long texts are looked at at both ends."""
    head = found[:_HEAD]
    tail = found[-_TAIL:] if len(found) > _HEAD else head
    kinds = _phrases(head, opening=True) | (_phrases(tail, opening=False) & _LATE)
    if not text.isascii():
        kinds |= _unspaced(text)
    pointers = sum(word in _POINTERS for word in head)
    asks_last = _ASKED_LAST.search(text, max(0, len(text) - 40)) is not None
    return Cues(
        greets="greets" in kinds,
        shifts="shifts" in kinds,
        closes="closes" in kinds,
        acknowledges="acknowledges" in kinds,
        leans="leans" in kinds or not _POINTERS.isdisjoint(head[:4]),
        pointers=pointers,
        asks=asks_last or "asks" in kinds or _ASKED.search(text[:400]) is not None,
        asks_last=asks_last,
        echoes="echoes" in kinds,
        requests="requests" in kinds or "asks" in kinds,
    )


def _phrases(found: list[str], *, opening: bool) -> set[str]:
    kinds = set()
    for at, word in enumerate(found):
        for kind, phrase in _BY_FIRST.get(word, ()):
            if (kind in _ANYWHERE or (opening and at == 0)) and (
                len(phrase) == 1 or tuple(found[at : at + len(phrase)]) == phrase
            ):
                kinds.add(kind)
    return kinds


def _unspaced(text: str) -> set[str]:
    """Phrases of the scripts without spaces; those that open are looked for at the beginning."""
    kinds = {kind for kind in map(_kind, _UNSPACED.finditer(text[:120])) if kind in _ANYWHERE}
    if len(text) > 120:
        kinds |= {kind for kind in map(_kind, _UNSPACED.finditer(text[-120:])) if kind in _LATE}
    first = _UNSPACED.match(text.lstrip(" \t\n「『（《“\"'"))
    return kinds | {_kind(first)} if first else kinds


def _kind(match: re.Match[str]) -> str:
    return _UNSPACED_KIND[match[0]]


_TABLES = {
    "greets": segment_phrases.GREETING,
    "shifts": segment_phrases.SHIFT,
    "closes": segment_phrases.CLOSING,
    "acknowledges": segment_phrases.ACKNOWLEDGING,
    "leans": segment_phrases.LEANING,
    "echoes": segment_phrases.ECHO,
    "requests": segment_phrases.REQUEST,
    "asks": segment_phrases.ASKING,
}
_ANYWHERE = frozenset({"shifts", "closes", "echoes", "requests"})
_LATE = frozenset({"closes", "echoes"})  # what is said at the end of a long message, too
_ASKED = re.compile(r"[?？؟](?:\W|$)")
_ASKED_LAST = re.compile(r"(?:[?？؟]|[吗呢か][。.]?|(?:까|나요)[.]?)[^\w?？؟]*$")


def _entries(table: str) -> list[str]:
    return [entry for part in table.split(",") if (entry := " ".join(part.split()))]


def _by_first() -> dict[str, tuple[tuple[str, tuple[str, ...]], ...]]:
    table: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
    for kind, entries in _TABLES.items():
        for entry in _entries(entries):
            if not is_spaceless(entry):
                phrase = tuple(words(entry))
                table.setdefault(phrase[0], []).append((kind, phrase))
    return {first: tuple(phrases) for first, phrases in table.items()}


_BY_FIRST = _by_first()
_UNSPACED_KIND = {
    entry: kind
    for kind, entries in _TABLES.items()
    for entry in _entries(entries)
    if is_spaceless(entry)
}
_UNSPACED = re.compile("|".join(sorted(map(re.escape, _UNSPACED_KIND), key=len, reverse=True)))
_POINTERS = frozenset(word for entry in _entries(segment_phrases.POINTERS) for word in words(entry))

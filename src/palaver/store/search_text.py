"""How text is cut into search terms, the same way for every store, so that all find the same.

**Words.** Letters, digits and their marks form words; everything else separates. Words are case
folded; the diacritics of Latin, Greek and Cyrillic, Arabic and Hebrew vowel points and invisible
format characters are dropped ("Zürich" = "zurich" = "ZÜRICH"). Compatibility forms are unified
(full-width letters, ligatures, circled digits). Terms are cut at `TERM_CHARS`.

**Scripts without spaces** (Chinese, Japanese, Thai, Lao, Khmer, Burmese, …; Korean too, because
its particles stick to the words): each character is a term, and a run of them in a query is a
phrase, which is found anywhere inside a run. (Pairs of characters, the usual choice, answer faster
in libraries of millions; for pure Chinese their index measured 2.9 times the log, this one's 0.95.)
As punctuation is no term, a phrase may span a full stop.

**Queries** are text, never syntax. What stands between spaces becomes one phrase (`foo_bar.py`
finds `foo bar py` in a row); all phrases must occur; the last word may be the beginning of one. A
query without any searchable character finds nothing.
"""

import re
import unicodedata
from itertools import islice

import msgspec

TERM_CHARS = 64
QUERY_PHRASES = 32
"""Further words of a query are ignored: a pasted page is no query."""
SNIPPET_CHARS = 200
_BEFORE = 60
"""Characters that a snippet shows before the first match."""

_UNSPACED_RANGES = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f"  # Myanmar
    "\u1780-\u17ff"  # Khmer
    "\u1950-\u19df\u1a20-\u1aaf\uaa80-\uaadf"  # Tai Le, New Tai Lue, Tai Tham, Tai Viet
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3031-\u3035\u303b"  # radicals, iteration marks
    "\u3040-\u312f\u31a0-\u31bf\u31f0-\u31ff"  # Kana, Bopomofo
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # Han
    "\uac00-\ud7a3"  # Hangul syllables
    "\U00016fe0-\U00018cff\U0001b000-\U0001b2ff\U00020000-\U0003ffff"  # Tangut, rarer Kana and Han
)
_UNSPACED = re.compile(f"[{_UNSPACED_RANGES}]")
_PIECES = re.compile(f"[{_UNSPACED_RANGES}]+|[^\\s{_UNSPACED_RANGES}]+")
_NOT_ASCII = re.compile("[^\x00-\x7f]+")
_MOSTLY_ASCII = 1.1
"""Bytes per character up to which folding the rest apart pays: pure ASCII is 10 × faster."""
_DROPPED_MARKS = re.compile(
    "[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe00-\ufe0f\ufe20-\ufe2f"
    "\u0591-\u05c7\u0610-\u061a\u0640\u064b-\u065f\u0670\u06d6-\u06ed]"
)


class _Folding(dict[int, str]):
    """Code point → what it counts as; filled as characters are met."""

    def __missing__(self, code: int) -> str:
        folded = self[code] = _fold_character(chr(code))
        return folded


def _fold_character(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Cf" or _DROPPED_MARKS.match(character):
        return ""
    if category[0] not in "LNM":
        return " "
    apart = unicodedata.normalize("NFKD", character.casefold())
    whole = unicodedata.normalize("NFC", _DROPPED_MARKS.sub("", apart)).casefold()
    return "".join(c if unicodedata.category(c)[0] in "LNM" else " " for c in whole)


_FOLDING = _Folding()


def fold(text: str) -> str:
    """`text` as words in their searchable form, separated by spaces."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
        if len(text.encode("utf-8", "surrogatepass")) < len(text) * _MOSTLY_ASCII:
            text = _NOT_ASCII.sub(lambda run: run[0].translate(_FOLDING), text)
    return text.translate(_FOLDING)  # folding twice changes nothing


def terms(text: str) -> list[str]:
    """The terms of `text`, in order."""
    folded = fold(text)
    words = folded.split()
    if folded.isascii() or not _UNSPACED.search(folded):
        return [word[:TERM_CHARS] for word in words]
    found: list[str] = []
    for word in words:
        for piece in _PIECES.findall(word):
            found.extend(_terms_of(piece))
    return found


def _terms_of(piece: str) -> list[str]:
    if not _UNSPACED.match(piece):
        return [piece[:TERM_CHARS]]
    return list(piece)


class Phrase(msgspec.Struct, frozen=True):
    """Terms that must follow each other. `open`: the last may be the beginning of a term.

    `pieces` is the same as it reads in folded text, for finding the place in a message.
    """

    terms: tuple[str, ...]
    pieces: tuple[str, ...]
    open: bool

    def occurrences(self, document: list[str]) -> int:
        """How often the phrase occurs among the terms of a document."""
        first, size = self.terms[0], len(self.terms)
        if size == 1 and self.open:
            return sum(term.startswith(first) for term in document)
        return sum(
            self._matches(document[i : i + size])
            for i, term in enumerate(document)
            if term == first
        )

    def _matches(self, window: list[str]) -> bool:
        if len(window) < len(self.terms) or tuple(window[:-1]) != self.terms[:-1]:
            return False
        last = self.terms[-1]
        return window[-1].startswith(last) if self.open else window[-1] == last


def parse_query(query: str) -> tuple[Phrase, ...]:
    """The phrases of a query; empty where nothing in it can be searched."""
    words = (folded for chunk in query.split() if (folded := fold(chunk)).strip())
    chosen = list(islice(words, QUERY_PHRASES))
    return tuple(_phrase(folded, is_last=i == len(chosen) - 1) for i, folded in enumerate(chosen))


def _phrase(folded: str, *, is_last: bool) -> Phrase:
    pieces = [piece for word in folded.split() for piece in _PIECES.findall(word)]
    found = [term for piece in pieces for term in _terms_of(piece)]
    is_open = is_last and not _UNSPACED.match(pieces[-1])
    return Phrase(tuple(found), tuple(pieces), is_open)


def fts_expression(phrases: tuple[Phrase, ...]) -> str:
    """The phrases in FTS5's syntax; terms hold neither quotes nor separators."""
    quoted = (f'"{" ".join(p.terms)}"{" *" if p.open else ""}' for p in phrases)
    return " AND ".join(quoted)


def snippet(text: str, phrases: tuple[Phrase, ...]) -> tuple[str, tuple[tuple[int, int], ...]]:
    """At most `SNIPPET_CHARS` characters on one line around the first match, and the matches in it.

    Spans are (start, end) positions in the returned text.
    """
    text = text if text.isascii() else unicodedata.normalize("NFC", text)
    found = _places(text, phrases)
    start = max(0, found[0][0] - _BEFORE) if found else 0
    if start:
        space = text.find(" ", start, found[0][0])
        start = space + 1 if space >= 0 else start
    head = "…" if start else ""
    room = SNIPPET_CHARS - len(head)
    tail = "…" if len(text) - start > room else ""
    end = start + room - len(tail)
    line = "".join(" " if c.isspace() or c < " " else c for c in text[start:end])
    shift = len(head) - start
    spans = tuple((a + shift, min(b, end) + shift) for a, b in found if start <= a < end)
    return head + line + tail, spans


def _places(text: str, phrases: tuple[Phrase, ...]) -> list[tuple[int, int]]:
    folded, origins = _fold_with_origins(text)
    pattern = re.compile("|".join(_pattern(phrase) for phrase in phrases))
    return [
        (origins[m.start()], origins[m.end() - 1] + 1)
        for m in pattern.finditer(folded)
        if m.end() > m.start()
    ]


def _fold_with_origins(text: str) -> tuple[str, range | list[int]]:
    if text.isascii():
        return text.translate(_FOLDING), range(len(text))
    characters: list[str] = []
    origins: list[int] = []
    for i, character in enumerate(text):
        for folded in _FOLDING[ord(character)]:
            characters.append(folded)
            origins.append(i)
    return "".join(characters), origins


def _pattern(phrase: Phrase) -> str:
    inside = f"[^\\s{_UNSPACED_RANGES}]"
    parts = []
    for i, piece in enumerate(phrase.pieces):
        is_last = i == len(phrase.pieces) - 1
        if _UNSPACED.match(piece):
            part = "\\s*".join(map(re.escape, piece))
        else:
            part = f"(?<!{inside}){re.escape(piece[:TERM_CHARS])}"
            if len(piece) > TERM_CHARS:
                part += f"{inside}*"
            elif not (phrase.open and is_last):
                part += f"(?!{inside})"
        parts.append(part)
    return "\\s*".join(parts)

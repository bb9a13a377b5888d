"""Words and sentences of text in any script, so that topics and extracts work in every language.

There is no dictionary and no model. Words are runs of letters with their marks, as Unicode groups
them; Python's `\\w` would cut Devanagari, Thai or vocalised Arabic at each vowel sign. Scripts that
write no spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese) give overlapping pairs of characters,
the usual substitute for words in retrieval: two texts on the same matter share pairs. Names in code
give themselves and their parts, so that `getUserName` meets "user name".
"""

import re
from itertools import pairwise
from unicodedata import normalize

_MARKS = "\u0300-\u036f\u0483-\u0487\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed"
_INDIC = "\u0900-\u0963\u0966-\u096f\u0971-\u0df3"  # everything but the dandas
_THAI, _LAO = "\u0e01-\u0e3a\u0e40-\u0e4e\u0e50-\u0e59", "\u0e81-\u0ece\u0edc-\u0edf"
_KHMER, _BURMESE = "\u1780-\u17d3", "\u1000-\u1049\u1050-\u109f"
_HAN = "\u3005\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_HIRAGANA, _KATAKANA = "\u3041-\u309f", "\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"
_PAIRED = f"{_HAN}{_HIRAGANA}"
_CLUSTERED = f"{_THAI}{_LAO}{_KHMER}{_BURMESE}"
_SPACELESS = f"{_PAIRED}{_KATAKANA}{_CLUSTERED}"

_ASCII_WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)*")
_ANY_WORD = re.compile(
    f"(?P<pairs>[{_PAIRED}]+)|(?P<kana>[{_KATAKANA}]+)|(?P<clusters>[{_CLUSTERED}]+)"
    f"|(?P<word>(?:(?![{_SPACELESS}])(?:[^\\W_]|[{_MARKS}{_INDIC}\u200c\u200d]))+"
    "(?:'[^\\W_]+)*)"
)
# A vowel that is written first, a letter, and the signs around it: one unit of Thai or Lao.
_CLUSTER = re.compile(
    "[\u0e40-\u0e44\u0ec0-\u0ec4]?."
    "[\u0e30-\u0e3a\u0e45-\u0e4e\u0eb0-\u0ebc\u0ec8-\u0ece\u17b6-\u17d3\u102b-\u103e\u1056-\u1059]*",
    re.DOTALL,
)
_NAMED = re.compile(r"[a-z][A-Z]|[^\W_]_[^\W_]|[A-Z]{2}[a-z]")
_NAME = re.compile(
    r"[A-Za-z0-9_]*(?:[a-z][A-Z]|[A-Za-z0-9]_[A-Za-z0-9]|[A-Z]{2}[a-z])[A-Za-z0-9_]*"
)
_NAME_PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")
_UNWRITTEN = re.compile("[\u0640\u064b-\u065f\u0670\u200c\u200d]")  # Arabic vowels, lengthening


def words(text: str) -> list[str]:
    """The words of `text` in order, normalised: compatibility forms joined, case folded, elided
    articles and the English 's taken off, Arabic without vowel signs and without its article.

    Names in code are followed by their parts. Numbers are words. Punctuation gives nothing.
    """
    if text.isascii():
        found = _ASCII_WORD.findall(text.lower())
        found = [_unclitic(word) if "'" in word else word for word in found]
    else:
        found = list(_unicode_words(normalize("NFKC", text).replace("’", "'").casefold()))
    if _NAMED.search(text):
        found.extend(_names(text))
    return found


def sentences(text: str, *, longest: int = 400) -> list[tuple[int, int]]:
    """Spans `(start, end)` of the sentences of `text`, in order, without the space around them.

    Lines end sentences, except inside prose that was wrapped; so do the full stops of all scripts,
    but not those of abbreviations, initials and numbered lists. What is longer than `longest`
    characters is cut at a space or a comma if it has one.
    """
    spans = []
    start = 0
    for end in _ends(text):
        spans.extend(_bounded(text, start, end, longest))
        start = end
    spans.extend(_bounded(text, start, len(text), longest))
    return spans


def is_spaceless(text: str) -> bool:
    """Whether the first letter of `text` that tells belongs to a script without spaces."""
    return bool(_SPACELESS_FIRST.match(text))


_SPACELESS_FIRST = re.compile(f"[\\W\\d_]*[{_SPACELESS}]")
_BREAK = re.compile("\n+|[.!?…]+[\"'”’»)\\]*_]*(?=\\s)|[。！？｡؟۔।॥።]+[\"'”’»」』）)\\]]*")
# fmt: off
_ABBREVIATIONS = frozenset({
    "mr", "mrs", "ms", "dr", "prof", "st", "vs", "e.g", "i.e", "etc", "approx", "fig", "inc", "ltd",
    "jr", "sr", "cf", "z.b", "d.h", "u.a", "bzw", "ca", "nr", "sra", "sres", "ud", "ej", "p.ej",
    "mme", "г", "т.е", "т.д", "т.п", "см", "стр",
})
# fmt: on
_WRAPPED_AT = 60  # characters; shorter lines are lines of their own


def _ends(text: str) -> list[int]:
    ends = []
    line_start = 0
    for found in _BREAK.finditer(text):
        at = found.start()
        if text[at] == "\n":
            wrapped = len(found[0]) == 1 and _is_wrapped(text, line_start, at)
            line_start = found.end()
            if wrapped:
                continue
        elif found[0] == "." and _is_abbreviation(text, at):
            continue
        ends.append(found.end())
    return ends


def _is_wrapped(text: str, start: int, newline: int) -> bool:
    following = text[newline + 1 : newline + 2]
    before = text[newline - 1 : newline]
    return (
        newline - start >= _WRAPPED_AT
        and following.islower()
        and (before.isalnum() or before in {",", ";", "-", "–"})
    )


def _is_abbreviation(text: str, stop: int) -> bool:
    before = text[max(0, stop - 12) : stop]
    if not before or before[-1].isspace():
        return False
    word = before.split()[-1].lstrip("([\"'").lower()
    initial = len(word) == 1 and word.isalpha() and before[-1].isupper()
    numbered = len(word) <= 2 and word.isdigit()
    return initial or numbered or word in _ABBREVIATIONS


def _bounded(text: str, start: int, end: int, longest: int) -> list[tuple[int, int]]:
    spans = []
    while True:
        while start < end and text[start].isspace():
            start += 1
        if end - start <= longest:
            break
        cut = max(text.rfind(mark, start + longest // 2, start + longest) for mark in " ,，、;\t")
        cut = cut + 1 if cut >= 0 else start + longest
        spans.append((start, start + len(text[start:cut].rstrip())))
        start = cut
    stripped = start + len(text[start:end].rstrip())
    if stripped > start:
        spans.append((start, stripped))
    return spans


def _unicode_words(text: str) -> list[str]:
    found: list[str] = []
    for match in _ANY_WORD.finditer(text):
        kind, run = match.lastgroup, match[0]
        if kind == "word":
            found.append(_plain(run))
        elif kind == "kana":
            found.append(run)
        elif kind == "pairs":
            found.extend(_pairs(run))
        else:
            found.extend(_pairs(_CLUSTER.findall(run)))
    return [word for word in found if word]


def _pairs(units: str | list[str]) -> list[str]:
    if len(units) == 1:
        return [units[0]]
    return [first + second for first, second in pairwise(units)]


def _plain(word: str) -> str:
    if "'" in word:
        word = _unclitic(word)
    if "\u0600" <= word[0] <= "\u06ff":
        word = _UNWRITTEN.sub("", word)
        for article in ("وال", "بال", "كال", "فال", "لل", "ال"):
            if word.startswith(article) and len(word) >= len(article) + 3:
                return word[len(article) :]
    return word


def _unclitic(word: str) -> str:
    """`cat's` is cat, `don't` stays, `l'eau` is eau."""
    head, _, tail = word.rpartition("'")
    if tail == "s":
        return head
    return word if len(tail) <= 2 else tail


def _names(text: str) -> list[str]:
    """Of `maxRetries` the parts; of `max_retries`, whose parts are words already, the whole."""
    found = []
    for name in _NAME.findall(text):
        if "_" in name:
            found.append(name.lower())
        found.extend(_camel_parts(name))
    return found


def _camel_parts(name: str) -> list[str]:
    return [
        part.lower()
        for piece in name.split("_")
        if len(parts := _NAME_PART.findall(piece)) > 1
        for part in parts
        if len(part) > 1 and not part.isdigit()
    ]

"""Text from models, tools and files, made harmless for a terminal.

A terminal obeys control characters: an answer could move the cursor, rename the window, write the
clipboard or draw a false approval question. Here every control character becomes a visible
picture of itself. One character maps to one, so text that arrives in pieces needs no state.
"""

import re
import unicodedata

_KEPT = "\n\t"
_CONTROLS: dict[int, str] = {
    **{code: chr(0x2400 + code) for code in range(32) if chr(code) not in _KEPT},
    **dict.fromkeys(range(0x80, 0xA0), "\ufffd"),
    0x7F: "\u2421",
    0x0D: "",  # the line ends with the newline that follows it
    0x2028: "\n",
    0x2029: "\n",
    # Overrides of writing direction make text read as what it is not.
    0x202D: "\ufffd",
    0x202E: "\ufffd",
}
_RISKY = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202d\u202e\ud800-\udfff]")
_SURROGATES = re.compile("[\ud800-\udfff]")
_NAMED = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def safe(text: str) -> str:
    """`text` without anything that a terminal would obey; newlines and tabs stay."""
    if not _RISKY.search(text):
        return text
    return _SURROGATES.sub("\ufffd", text.translate(_CONTROLS))


def escaped(text: str) -> str:
    """`text` on one line with every invisible character spelt out, for what a person decides on."""
    return "".join(c if c == " " or c.isprintable() else _spelt(c) for c in text)


def _spelt(character: str) -> str:
    if character in _NAMED:
        return _NAMED[character]
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def one_line(text: str, width: int) -> str:
    """The beginning of `text` on one line of at most `width` columns, with `…` where it was cut."""
    line = " ".join(safe(text[: width * 8]).split())
    if columns(line) <= width and len(text) <= width * 8:
        return line
    used, kept = 0, []
    for character in line:
        used += columns(character)
        if used > width - 1:
            break
        kept.append(character)
    return "".join(kept) + "…"


def columns(text: str) -> int:
    """The columns that `text` takes in a terminal."""
    if text.isascii():
        return len(text)
    return sum(_width(character) for character in text)


def _width(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Cf", "Me", "Mn"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1

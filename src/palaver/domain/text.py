"""Text that every store, wire and terminal can hold.

Two kinds of character cannot travel everywhere: lone surrogates have no UTF-8 form, and NUL ends
strings in PostgreSQL and C. Both become U+FFFD at the boundary, and the caller is told, so that the
message can be flagged. Everything else passes unchanged.
"""

import re

REPLACEMENT = "\ufffd"
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")


def clean(text: str) -> tuple[str, bool]:
    """The storable form of `text`, and whether anything was lost.

    A surrogate *pair* (two halves of one character, as a UTF-16 source splits them) is joined, not
    replaced: nothing is lost by that.
    """
    if text.isascii() and "\x00" not in text:
        return text, False
    if not _UNSTORABLE.search(text):
        return text, False
    joined = _PAIR.sub(lambda m: m[0].encode("utf-16", "surrogatepass").decode("utf-16"), text)
    cleaned = _UNSTORABLE.sub(REPLACEMENT, joined)
    return cleaned, cleaned != joined

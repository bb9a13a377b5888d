"""Identifiers: the strings that a model has to repeat exactly when it calls a tool later.

Words can be said in other words; `HAT136`, a path or a date cannot, and what is not in the window
any more cannot be guessed. So each is an entry of a ledger: where it was seen, how often, by whom,
under which key, and whether it was an argument before. From that follows how likely it is to be
asked for again.

What looks like an identifier is told by its characters alone (digits among letters, underscores,
inner capitals, slashes, signs), in text of any language.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import msgspec

from palaver.domain.messages import Message, Refusal, Text, ToolCall, ToolResult

LONGEST = 200
"""Characters. What is longer is content, not a name."""

# Bounded, so that a run of dots or of base64 costs what its length is.
_TOKEN = re.compile(r"[A-Za-z0-9_~@#$/.][A-Za-z0-9_./:@#+~$%=&?-]{2,199}")
_MARKED = re.compile(
    r"[A-Za-z_-][0-9]|[0-9][A-Za-z_:/-]|[0-9]{4}|[0-9]\.[0-9]+\.|[a-z0-9][A-Z]"
    r"|[A-Za-z0-9]_[A-Za-z0-9]|[^/]/[^/]+[/.]|^[~/.]{0,2}/\w|[A-Za-z0-9]@[A-Za-z0-9]|://|::"
    r"|[a-z0-9_]{2}\.[a-z]{1,5}$|^[A-Z][A-Z0-9-]{3,}$"
)
_CHINESE = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff"
_FOREIGN = re.compile(f"(?:(?![{_CHINESE}])[^\\W\\d_]){{0,12}}[-_]?\\d[\\d.,:/_-]{{2,40}}")
_EDGES = ".:-+#$%=&?,/"


def identifiers(text: str) -> list[str]:
    """What looks like an identifier in `text`, in its order, each once."""
    found = dict.fromkeys(_TOKEN.findall(text))
    kept = {name: None for token in found if (name := _name(token))}
    if not text.isascii():
        for token in _FOREIGN.findall(text):
            if not token.isascii():
                kept[token.rstrip(_EDGES)] = None
    return list(kept)


@lru_cache(maxsize=8_192)
def _name(token: str) -> str:
    """The identifier in `token`, or the empty string."""
    bare = token.rstrip(_EDGES) if token[-1] in _EDGES else token
    return bare if len(bare) > 2 and _MARKED.search(bare) else ""


def is_identifier(text: str) -> bool:
    """Whether all of `text` is one identifier."""
    return len(text) <= LONGEST and bool(_TOKEN.fullmatch(text)) and _name(text) == text


def texts(message: Message) -> Iterator[str]:
    """Everything in a message that is text: said, asked of tools, and answered by them."""
    for block in message.content:
        if isinstance(block, Text | Refusal):
            yield block.text
        elif isinstance(block, ToolCall):
            yield block.name
            yield block.arguments
        elif isinstance(block, ToolResult):
            yield block.text


_DIGITS, _CAPITALS, _SMALL = re.compile("[0-9]+"), re.compile("[A-Z]+"), re.compile("[a-z]+")


@lru_cache(maxsize=8_192)
def shape(text: str) -> str:
    """What kind of string it is: `HAT136` is `A9`, `credit_card_77` is `a_a_9`."""
    digits = _DIGITS.sub("9", text[:80])
    return _SMALL.sub("a", _CAPITALS.sub("A", digits))


def scalars(value: Any) -> Iterator[tuple[str, Any]]:
    """The strings, numbers, truths of decoded JSON in their order, each with the key it is under.

    Members of a list go by the list's key. A key that looks like an identifier is a value itself.
    """
    stack: list[tuple[str, Any]] = [("", value)]
    while stack:
        key, value = stack.pop()
        if isinstance(value, dict):
            for name, member in reversed(value.items()):
                if is_identifier(name) and sum(sign.isdigit() for sign in name) > 1:
                    stack.append((key, member))
                    stack.append((key, name))
                else:
                    stack.append((name, member))
        elif isinstance(value, list):
            stack.extend((key, member) for member in reversed(value))
        elif value is not None and value != "":
            yield key, value


def decoded(text: str) -> Any:
    """`text` as JSON where it is an object or a list; else None."""
    if text[:64].lstrip()[:1] not in ("{", "["):
        return None
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    return value if isinstance(value, dict | list) else None


def written(value: Any) -> str:
    """A scalar of JSON as text: the string itself, numbers as JSON writes them."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)

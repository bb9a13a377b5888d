"""A provider that continues what it had begun to say, as models do when they are asked well.

Of a request that ends with an unfinished answer of the assistant, or that quotes the end of one and
asks to repeat it (`<anchor>`), the rest is said; any other one gets the whole.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from palaver.testing.provider_server.journal import Received
from palaver.testing.script import Line, Say, Think

_ANCHOR = re.compile(r"<anchor>(.*)</anchor>\s*\Z", re.DOTALL)


def continuing(*lines: Line, lead: str = "") -> Callable[[Received], Sequence[Line]]:
    """A turn of these lines, of which one is text, that goes on where it was cut. `lead`: what it
    says first when it is asked to go on, as disobedient models do."""

    def turn(received: Received) -> Sequence[Line]:
        begun, anchor = unfinished(received.body)
        if begun is None:
            return lines
        return [_rest(line, begun, lead + anchor) for line in lines if not isinstance(line, Think)]

    return turn


def unfinished(body: Mapping[str, Any]) -> tuple[str | None, str]:
    """What the assistant had said, and what it is to repeat; None where nothing was begun."""
    said = body.get("messages") or body.get("input") or ()
    last = said[-1] if isinstance(said, list) and said else {}
    if last.get("role") == "assistant":
        return _text(last), ""
    asked = _ANCHOR.search(_text(last)) if last.get("role") == "user" else None
    if asked is None:
        return None, ""
    before = (m for m in reversed(said[:-1]) if m.get("role") == "assistant")
    return _text(next(before, {})), asked.group(1)


def _rest(line: Line, begun: str, first: str) -> Line:
    text = line if isinstance(line, str) else line.text if isinstance(line, Say) else None
    if text is None:
        return line
    rest = first + (text[len(begun) :] if text.startswith(begun) else text)
    return msgspec.structs.replace(line, text=rest) if isinstance(line, Say) else rest


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or "" for part in content or () if isinstance(part, dict))

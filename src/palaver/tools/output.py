"""From what a tool returns to what the model gets: blocks of clean text, within a limit.

Nothing is lost by the limit: the whole output goes to the blob store and the result names it.
"""

from typing import Any, TypeAlias

import msgspec

from palaver.domain.errors import PalaverError
from palaver.domain.ids import BlobId
from palaver.domain.messages import File, Image, ResultContent, Text
from palaver.domain.text import clean
from palaver.tools.definition import Keep, ToolOutput

Content: TypeAlias = tuple[ResultContent, ...]

EMPTY = "(no output)"
_HEAD_SHARE = 2 / 3
"""Of the limit: the beginning of an output says what it is, its end how it went."""


async def shaped(value: Any, *, limit: int, keep: Keep) -> tuple[Content, bool, BlobId | None]:
    """Content for the model, whether the tool called it a failure, and the blob of what was cut.

    Text counts at most `limit` characters together, the notice of a cut included where it fits.
    """
    failed = False
    full: BlobId | None = None
    if isinstance(value, ToolOutput):
        content, failed = value.content, value.failed
    elif isinstance(value, bytes | bytearray | memoryview) and not _is_text(value):
        full = await _kept(bytes(value), keep)
        where = f"; kept as {full}" if full else ""
        content = (Text(f"({len(value):,} bytes of binary output{where})"),)
    else:
        content = _blocks(value)
    content = tuple(_cleaned(block) for block in content)
    text = "".join(block.text for block in content if isinstance(block, Text))
    if len(text) <= limit:
        return tuple(block for block in content if block != Text("")), failed, full
    full = await _kept(text.encode(), keep)
    cut = Text(shortened(text, limit=limit, full=full))
    rest = tuple(block for block in content if not isinstance(block, Text))
    return (cut, *rest), failed, full


def shortened(text: str, *, limit: int, full: BlobId | None) -> str:
    """Head and tail of `text`, with a notice in the middle of what is missing and where it is."""
    if len(text) <= limit:
        return text
    where = f"; the whole output is kept as {full}" if full else ""
    notice = "\n\n[… {:,} of " + f"{len(text):,} characters left out{where} …]\n\n"
    room = max(limit - len(notice) - 8, limit // 2)
    head = int(room * _HEAD_SHARE)
    tail = room - head
    return text[:head] + notice.format(len(text) - room) + text[len(text) - tail :]


def as_text(value: Any) -> str:
    """`value` as the model should read it: text as it is, other values as JSON, else their repr."""
    match value:
        case str():
            return value
        case None:
            return EMPTY
        case bytes() | bytearray() | memoryview():
            return bytes(value).decode("utf-8", "replace")
        case _:
            return _json_or_repr(value)


async def _kept(data: bytes, keep: Keep) -> BlobId | None:
    try:
        return await keep(data)
    # A full disk must not turn a good result into a failed one.
    except (PalaverError, OSError):
        return None


def _is_text(value: bytes | bytearray | memoryview) -> bool:
    try:
        return "\x00" not in bytes(value).decode()
    except UnicodeDecodeError:
        return False


def _blocks(value: Any) -> Content:
    if isinstance(value, Text | Image | File):
        return (value,)
    if (
        isinstance(value, list | tuple)
        and value
        and all(isinstance(item, Text | Image | File) for item in value)
    ):
        return tuple(value)
    return (Text(as_text(value)),)


def _cleaned(block: ResultContent) -> ResultContent:
    if not isinstance(block, Text):
        return block
    text, was_changed = clean(block.text)
    return msgspec.structs.replace(block, text=text) if was_changed or text != block.text else block


def _json_or_repr(value: Any) -> str:
    try:
        return _json(value)
    except (TypeError, ValueError, NotImplementedError, RecursionError):
        return f"{_repr(value)}\n(not JSON: this is the Python form of a {type(value).__name__})"


def _json(value: Any) -> str:
    try:
        return msgspec.json.encode(value, enc_hook=_plain).decode()
    except UnicodeEncodeError:  # a lone surrogate somewhere inside; it is cleaned afterwards
        import json

        return json.dumps(msgspec.to_builtins(value, enc_hook=_plain), ensure_ascii=False)


def _plain(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    if callable(dump) and not isinstance(value, type):
        return dump(mode="json")
    raise NotImplementedError(type(value))


def _repr(value: Any) -> str:
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - any foreign __repr__ may run here
        return f"<{type(value).__name__} whose repr failed: {type(error).__name__}>"

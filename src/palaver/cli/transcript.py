"""A conversation as text for a terminal: numbered messages, calls folded to a line each."""

import time
from collections.abc import Iterator

from palaver.cli.numbering import Place, alternatives, numbered, ordered_leaves
from palaver.cli.safe import one_line
from palaver.cli.tables import terminal_width
from palaver.cli.words import arguments_line, result_lines
from palaver.domain.messages import (
    File,
    Flag,
    Image,
    Message,
    Reasoning,
    Role,
    ToolCall,
    ToolResult,
)
from palaver.domain.state import ConversationState

FOLDED = 120
"""Columns of a call and of its result, unless shown in full."""
UNKNOWN = "not known whether it was done; it was not repeated"
WHO = {Role.USER: "You", Role.ASSISTANT: "Model", Role.SYSTEM: "System"}


def transcript(state: ConversationState, *, full: bool) -> str:
    """The whole path; calls with their results folded to a line unless `full`.

    Messages have the numbers that other commands take; where there are branches it is noted.
    """
    results = {message.parent: message for message in state.messages if message.role is Role.TOOL}
    places = alternatives(state)
    parts = ["\n".join(_head(state))]
    for number, message in numbered(state):
        about = _about(message, places.get(message.id), is_pinned=message.id in state.pins)
        head = f"── {number} {WHO.get(message.role, message.role)}"
        head += f" ({', '.join(about)})" if about else ""
        body = _lines(message, results.get(message.id), full=full)
        parts.append("\n".join([head, *(line for line in body if line)]))
    return "\n\n".join(parts)


def _head(state: ConversationState) -> Iterator[str]:
    began = time.strftime("%Y-%m-%d %H:%M", time.localtime(state.created_at))
    yield f"{state.metadata.title or 'Conversation'} ({state.id}, {began})"
    if state.metadata.tags:
        yield "tags: " + ", ".join(state.metadata.tags)
    if state.metadata.archived:
        yield "archived"
    if state.origin is not None:
        yield f"forked from {state.origin.conversation}"
    branches = len(ordered_leaves(state))
    if branches > 1:
        yield f"one of {branches} branches; `palaver branches` shows them"


def _about(message: Message, place: Place | None, *, is_pinned: bool) -> list[str]:
    about = [message.model] if message.model else []
    about += ["cut"] if Flag.PARTIAL in message.flags else []
    about += ["redacted"] if Flag.REDACTED in message.flags else []
    about += ["pinned"] if is_pinned else []
    about += [f"{place.number} of {place.count}"] if place is not None else []
    return about


def _lines(message: Message, results: Message | None, *, full: bool) -> Iterator[str]:
    by_call = {r.call_id: r for r in results.tool_results} if results is not None else {}
    for block in message.content:
        match block:
            case ToolCall():
                result = by_call.get(block.id)
                yield _full_call(block, result) if full else _call(block, result)
            case Image() | File():
                yield f"[{attached(block)}]"
            case Reasoning(text=text):
                yield "\n".join(f"  {line}" for line in text.split("\n")) if full and text else ""
            case _:
                yield getattr(block, "text", "")


def attached(block: Image | File) -> str:
    """What an attachment is called."""
    return block.name or block.url or str(block.blob or "")


def _call(call: ToolCall, result: ToolResult | None) -> str:
    told = "(no result)"
    if result is not None:
        [told] = result_lines(result, width=FOLDED, lines=1)[:1]
        told = f"failed: {told}" if result.failed else told
        told = UNKNOWN if result.unknown else told
    width = terminal_width()
    arguments = arguments_line(call.arguments, FOLDED if width is None else max(20, width // 2))
    line = f"· {call.name} {arguments} → {told}"
    return line if width is None else one_line(line, width)


def _full_call(call: ToolCall, result: ToolResult | None) -> str:
    told = "(no result)" if result is None else result.text
    return f"· {call.name} {call.arguments}\n→ {told}"

"""The data export of ChatGPT: `conversations.json`, alone or in the archive that it comes in.

Each conversation is a tree of nodes. An answer that was asked for again, or a question that was
edited, gives a node a second child; `current_node` ends the path that was looked at last. A node is
less than a message: a call is one, its result another, thinking a third. Thinking goes to the
answer that it led to; what only steered the product (hidden system nodes, recaps) is left out.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec.structs import replace

from palaver.domain.ids import CallId
from palaver.domain.messages import (
    Block,
    Flag,
    Message,
    Reasoning,
    ResultContent,
    Role,
    StopReason,
    Text,
    ToolCall,
    ToolResult,
)
from palaver.travel.base import Imported, RepairKind
from palaver.travel.chatgpt_content import Content, hidden
from palaver.travel.chatgpt_files import Export, is_archive
from palaver.travel.draft import Draft
from palaver.travel.fields import json_text, name_of, obj, seconds, seq, string
from palaver.travel.source import Source

NAME = "chatgpt"
_STOPS = {
    "stop": StopReason.END_TURN,
    "max_tokens": StopReason.MAX_TOKENS,
    "interrupted": StopReason.ABORTED,
    "stopped": StopReason.ABORTED,
}
_CUT = ("in_progress", "finished_partial_completion")
_PRODUCT = ("reasoning_recap", "model_editable_context")
"""Kinds of content that the product shows or keeps for itself; nobody says them."""
_EVERYBODY = ("", "all")


def sniff(source: Source) -> bool:
    """Whether it is the archive, or holds a conversation with a `mapping` of nodes."""
    if is_archive(source.data):
        return Export(source.data).is_chatgpt
    return any(_is_conversation(fields) for fields in source.head)


def read(source: Source) -> Iterator[Imported]:
    """Every conversation of the export, in its order. Raises InvalidInput for a damaged archive or
    one that unpacks to more than it may."""
    export = Export(source.data) if is_archive(source.data) else None
    for document in export.documents() if export else (source,):
        for record in document.records():
            if _is_conversation(record.fields):
                made = _Tree(record.fields, export).conversation()
                if made is not None:
                    yield made


def _is_conversation(fields: dict[str, Any]) -> bool:
    nodes = fields.get("mapping")
    return isinstance(nodes, dict) and any(
        isinstance(node, dict) and "message" in node for node in list(nodes.values())[:8]
    )


class _Thread(msgspec.Struct, frozen=True):
    """What a node needs to know of those above it."""

    place: int | None = None
    """Of the message that its own one answers."""
    calls: tuple[ToolCall, ...] = ()
    """Calls whose result comes next."""
    results: int | None = None
    """Of the tool message that a further result of the same call joins."""
    thoughts: tuple[Reasoning, ...] = ()
    """Thinking that has not led to an answer yet."""


class _Tree:
    """One conversation, node by node, parents first."""

    def __init__(self, fields: dict[str, Any], export: Export | None) -> None:
        self._fields = fields
        self._nodes = {id: obj(node) for id, node in fields["mapping"].items()}
        self._numbers = {id: number for number, id in enumerate(self._nodes)}
        self.draft = Draft(NAME)
        self.draft.title = string(fields.get("title"))
        self.draft.since(seconds(fields.get("create_time")))
        self.draft.keep(
            conversation=name_of(fields.get("conversation_id")) or name_of(fields.get("id")),
            gizmo=name_of(fields.get("gizmo_id")),
        )
        self._content = Content(self.draft, export)
        self._places: dict[str, int | None] = {}

    def conversation(self) -> Imported | None:
        """The conversation with all its branches; None where nothing is said."""
        # Not recursive: a tree is as deep as the conversation is long.
        waiting = [(root, _Thread()) for root in reversed(self._roots())]
        while waiting:
            id, thread = waiting.pop()
            if id in self._places:
                continue  # a damaged file may run in circles
            after = self._take(id, thread)
            self._places[id] = after.place
            children = [name for name in self._children(id) if name in self._nodes]
            if not children and after.thoughts:
                self.draft.note(RepairKind.DROPPED_REASONING, self._numbers[id], "no answer came")
            waiting += [(child, after) for child in reversed(children)]
        self.draft.last = self._places.get(self._current())
        return self.draft.finish()

    def _roots(self) -> list[str]:
        """Nodes without a parent in this file; where all have one, the first."""
        roots = [
            id for id, node in self._nodes.items() if string(node.get("parent")) not in self._nodes
        ]
        return roots or list(self._nodes)[:1]

    def _children(self, id: str) -> list[str]:
        return [child for child in seq(self._nodes[id].get("children")) if isinstance(child, str)]

    def _current(self) -> str:
        current = string(self._fields.get("current_node"))
        if current in self._places:
            return current
        dated = [
            (seconds(obj(n.get("message")).get("create_time")) or 0.0, id)
            for id, n in self._nodes.items()
            if id in self._places
        ]
        return max(dated)[1] if dated else ""

    def _take(self, id: str, thread: _Thread) -> _Thread:
        message = obj(self._nodes[id].get("message"))
        number = self._content.record = self._numbers[id]
        kind = string(obj(message.get("content")).get("content_type"))
        role = string(obj(message.get("author")).get("role"))
        if not message or kind in _PRODUCT:
            return thread
        if kind == "user_editable_context":
            self._instruct(self._content.instructions(message))
            return thread
        if kind == "thoughts":
            thoughts = tuple(self._content.thoughts(message))
            return replace(thread, thoughts=(*thread.thoughts, *thoughts))
        if role == "tool":
            return self._result(message, number, thread)
        if hidden(message):
            if any(self._content.blocks(message)):
                self.draft.note(RepairKind.UNKNOWN_RECORD, number, f"hidden, by the {role}")
            return thread
        return self._said(message, role, number, thread)

    def _instruct(self, told: str) -> None:
        """Each branch repeats what the person told about themselves."""
        if told not in self.draft.system:
            self.draft.system = "\n\n".join(text for text in (self.draft.system, told) if text)

    def _said(self, message: dict[str, Any], role: str, number: int, thread: _Thread) -> _Thread:
        blocks = tuple(self._content.blocks(message))
        if not blocks:
            return thread
        if role not in ("user", "assistant", "system"):
            self.draft.note(RepairKind.UNKNOWN_RECORD, number, f"a message by {role!r}")
            return thread
        self.draft.last = thread.place
        if role != "assistant":
            if thread.thoughts:
                self.draft.note(RepairKind.DROPPED_REASONING, number, "no answer came")
            return _Thread(self.draft.say(Role(role), blocks, number))
        calls = tuple(self._calls(message, number, blocks))
        said = (*thread.thoughts, *(calls or blocks))
        place = self.draft.say(Role.ASSISTANT, said, number, of=self._of(message))
        return _Thread(place, (*thread.calls, *calls))

    def _calls(
        self, message: dict[str, Any], number: int, blocks: tuple[Block, ...]
    ) -> Iterator[ToolCall]:
        """What is not said to everybody is said to a tool."""
        recipient = string(message.get("recipient"))
        if recipient not in _EVERYBODY:
            text = self._content.raw(message) or "".join(
                block.text for block in blocks if isinstance(block, Text)
            )
            yield ToolCall(CallId(f"call_{number}"), recipient, _arguments(text))

    def _of(self, message: dict[str, Any]) -> Message:
        """Model, end and flags of an answer."""
        metadata = obj(message.get("metadata"))
        model = string(metadata.get("model_slug"))
        if model:
            model = f"openai:{model}"
            self.draft.model = model
        stop = _STOPS.get(string(obj(metadata.get("finish_details")).get("type")))
        cut = string(message.get("status")) in _CUT or stop is StopReason.MAX_TOKENS
        if string(message.get("status")) in _CUT and stop is None:
            stop = StopReason.ABORTED
        flags = (Flag.PARTIAL,) if cut and stop is not StopReason.ABORTED else ()
        return Message(Role.ASSISTANT, (), model=model, stop=stop, flags=flags)

    def _result(self, message: dict[str, Any], number: int, thread: _Thread) -> _Thread:
        content = tuple(self._content.results(message))
        name = string(obj(message.get("author")).get("name"))
        if not thread.calls:
            if thread.results is not None:
                self._more(content, thread.results)
                return thread
            if not content or hidden(message):
                return thread
            call = ToolCall(CallId(f"none_{number}"), name)  # the repair makes it text of the user
        else:
            call = next((c for c in thread.calls if c.name == name), thread.calls[0])
        failed = obj(message.get("content")).get("content_type") == "system_error"
        self.draft.last = thread.place
        result = ToolResult(call.id, call.name, content, failed)
        place = self.draft.say(Role.TOOL, (result,), number)
        rest = tuple(other for other in thread.calls if other is not call)
        return _Thread(place, rest, place if thread.calls else None, thread.thoughts)

    def _more(self, content: tuple[ResultContent, ...], place: int) -> None:
        """Output of one call comes in several nodes, text in one and pictures in another."""
        before = self.draft.at(place)
        (result,) = before.tool_results
        joined = replace(result, content=(*result.content, *content))
        self.draft.change(place, replace(before, content=(joined,)))


def _arguments(text: str) -> str:
    """What a tool was told, as an object: JSON where it is, else code or text under a name."""
    try:
        if isinstance(msgspec.json.decode(text), dict):
            return text
    except (msgspec.DecodeError, RecursionError):
        pass
    return json_text({"input": text})

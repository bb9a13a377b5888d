"""Rollouts of Codex: the items of the Responses API, each in a line with its time.

Items that a model wrote one after the other (thinking, text, calls) are one message here, as one
response brought them. What the program notes beside them (`event_msg`) repeats the items. Files of
the first versions hold bare items, or all of them in one object.
"""

from collections.abc import Iterator
from typing import Any

from msgspec.structs import replace

from palaver.domain.ids import CallId
from palaver.domain.messages import (
    Block,
    Message,
    Reasoning,
    Role,
    StopReason,
    ToolCall,
    ToolResult,
)
from palaver.travel.base import Imported, RepairKind
from palaver.travel.content import result_content
from palaver.travel.draft import Draft
from palaver.travel.fields import arguments, json_text, name_of, obj, readable, seconds, seq, string
from palaver.travel.source import Record, Source

NAME = "codex"
RESPONSES = "openai.responses"
_WRAPPERS = frozenset(("session_meta", "response_item", "turn_context", "event_msg", "compacted"))
_ITEMS = frozenset(
    (
        "reasoning",
        "function_call",
        "function_call_output",
        "local_shell_call",
        "custom_tool_call",
        "custom_tool_call_output",
    )
)
_QUIET = frozenset(("ghost_snapshot", "compaction", "other", "world_state"))
_ROLES = {"user": Role.USER, "system": Role.SYSTEM, "developer": Role.SYSTEM}


def sniff(source: Source) -> bool:
    """Whether records wrap items of a response, or are such items themselves."""
    if isinstance(source.object.get("session"), dict) and seq(source.object.get("items")):
        return True
    head = source.head
    if any(string(r.get("type")) in _WRAPPERS and isinstance(r.get("payload"), dict) for r in head):
        return True
    if any(string(r.get("type")) in _ITEMS and "call_id" in r for r in head):
        return True
    return bool(head) and _is_old_header(head[0]) and any(r.get("type") == "message" for r in head)


def read(source: Source) -> Iterator[Imported]:
    """The one conversation of the file."""
    rollout = _Rollout()
    if items := seq(source.object.get("items")):
        rollout.header(obj(source.object.get("session")))
        for number, item in enumerate(items):
            rollout.take(Record(number, item))
    else:
        for record in source.records():
            rollout.take(record)
    made = rollout.draft.finish()
    if made is not None:
        yield made


def _is_old_header(fields: dict[str, Any]) -> bool:
    return "type" not in fields and "id" in fields and "timestamp" in fields


class _Rollout:
    def __init__(self) -> None:
        self.draft = Draft(NAME)
        self._provider = "openai"
        self._open: int | None = None
        """Where the message is that the model's next items belong to."""

    def header(self, fields: dict[str, Any]) -> None:
        """What identifies the session."""
        base = fields.get("base_instructions")
        told = string(fields.get("instructions")) or string(obj(base).get("text")) or string(base)
        self.draft.system = told or self.draft.system
        self.draft.since(seconds(fields.get("timestamp")))
        self.draft.keep(session=name_of(fields.get("id")), folder=string(fields.get("cwd")))
        self._provider = string(fields.get("model_provider")) or self._provider

    def take(self, record: Record) -> None:
        """The next line."""
        fields = record.fields
        kind, payload = string(fields.get("type")), fields.get("payload")
        if record.damage or not fields:
            self._unknown(record, record.damage or "no object")
        elif kind in _WRAPPERS and isinstance(payload, dict):
            self._wrapped(kind, payload, record)
            self.draft.since(seconds(fields.get("timestamp")))
        elif not kind and (_is_old_header(fields) or "record_type" in fields):
            if "id" in fields:
                self.header(fields)
        else:
            self._item(fields, record)

    def _unknown(self, record: Record, detail: str) -> None:
        self.draft.note(RepairKind.UNKNOWN_RECORD, record.number, detail)

    def _wrapped(self, kind: str, payload: dict[str, Any], record: Record) -> None:
        match kind:
            case "session_meta":
                self.header(payload)
            case "turn_context":
                if model := string(payload.get("model")):
                    self.draft.model = f"{self._provider}:{model}"
            case "response_item":
                self._item(payload, record)
            case "event_msg" if payload.get("type") == "turn_aborted":
                self._abort()
            case _:
                pass  # repeats items, or replaces them by a summary: what was said stays

    def _abort(self) -> None:
        place = self.draft.last
        if place is not None and self.draft.at(place).role is Role.ASSISTANT:
            said = self.draft.at(place)
            self.draft.change(place, replace(said, stop=StopReason.ABORTED))

    def _item(self, item: dict[str, Any], record: Record) -> None:
        kind = string(item.get("type"))
        role = string(item.get("role"))
        if kind == "message" or (not kind and role) or (role and "content" in item):
            self._message(role, item, record)
        elif kind.endswith("_output"):
            self._result(item, record)
        elif (block := _written(kind, item)) is not None:
            self._write((block,), record)
        elif kind not in _QUIET:
            self._unknown(record, kind or "no type")

    def _message(self, role: str, item: dict[str, Any], record: Record) -> None:
        content = tuple(result_content(item.get("content"), self.draft))
        if role == "assistant":
            self._write(content, record)
        elif role in _ROLES:
            self._open = None
            self.draft.say(_ROLES[role], content, record.number)
        else:
            self._unknown(record, f"a message of {role or 'nobody'}")

    def _write(self, content: tuple[Block, ...], record: Record) -> None:
        """The model goes on; the person or a result began another message."""
        if self._open is not None:
            said = self.draft.at(self._open)
            self.draft.change(self._open, replace(said, content=said.content + content))
            return
        of = Message(Role.ASSISTANT, (), model=self.draft.model)
        self._open = self.draft.say(Role.ASSISTANT, content, record.number, of=of)

    def _result(self, item: dict[str, Any], record: Record) -> None:
        self._open = None
        output = item.get("output")
        failed = False
        if isinstance(output, dict):
            failed = output.get("success") is False
            output = output.get("content", output.get("output", output))
        content = tuple(result_content(output, self.draft))
        id = CallId(name_of(item.get("call_id")))
        self.draft.say(Role.TOOL, (ToolResult(id, "", content, failed=failed),), record.number)


def _written(kind: str, item: dict[str, Any]) -> Block | None:
    """An item that a model wrote, None for other kinds."""
    id = CallId(name_of(item.get("call_id")) or name_of(item.get("id")))
    name = string(item.get("name"))
    match kind:
        case "function_call":
            return ToolCall(id, name, arguments(item.get("arguments")))
        case "custom_tool_call":
            return ToolCall(id, name, readable(item.get("input")))
        case "local_shell_call":
            action = {k: v for k, v in obj(item.get("action")).items() if k != "type"}
            return ToolCall(id, "local_shell", arguments(action))
        case "reasoning":
            return _thinking(item)
        case _:
            return None


def _thinking(item: dict[str, Any]) -> Reasoning:
    parts = seq(item.get("summary")) or seq(item.get("content"))
    told = "\n\n".join(string(obj(part).get("text")) for part in parts)
    sealed, id = string(item.get("encrypted_content")), string(item.get("id"))
    native = ""
    if sealed and id:
        summary = seq(item.get("summary"))
        wire = {"type": "reasoning", "id": id, "summary": summary, "encrypted_content": sealed}
        native = json_text(wire)
    return Reasoning(told, encrypted=sealed, id=id, origin=RESPONSES, native=native)

"""Sessions of pi: JSON Lines of entries, in later versions a tree by `id` and `parentId`.

Models and levels of thinking change in mid-session; aborted and failed answers are kept with
`stopReason` and what had come until then, their calls without results.
"""

import json
from collections.abc import Iterator
from typing import Any

from palaver.domain.ids import CallId
from palaver.domain.messages import (
    Block,
    Message,
    Reasoning,
    Role,
    StopReason,
    Text,
    ToolCall,
    ToolResult,
)
from palaver.travel.base import Imported, RepairKind
from palaver.travel.content import attachment, result_content
from palaver.travel.draft import Draft
from palaver.travel.fields import arguments, name_of, obj, seconds, seq, string
from palaver.travel.source import Record, Source

NAME = "pi"
_ORIGINS = {
    "anthropic-messages": "anthropic.messages",
    "openai-responses": "openai.responses",
    "openai-completions": "openai.chat",
}
_STOPS = {
    "stop": StopReason.END_TURN,
    "toolUse": StopReason.TOOL_USE,
    "length": StopReason.MAX_TOKENS,
    "aborted": StopReason.ABORTED,
    "error": StopReason.ABORTED,
}
_QUIET = frozenset(("thinking_level_change", "label", "custom", "compaction"))


def sniff(source: Source) -> bool:
    """Whether entries wrap messages, behind a header that names the session."""
    kinds = [record.get("type") for record in source.head]
    return "session" in kinds[:3] and all(
        isinstance(record.get("message"), dict)
        for record in source.head
        if record.get("type") == "message"
    )


def read(source: Source) -> Iterator[Imported]:
    """The one conversation of the file, with its branches."""
    session = _Session()
    for record in source.records():
        session.take(record)
    made = session.draft.finish()
    if made is not None:
        yield made


class _Session:
    def __init__(self) -> None:
        self.draft = Draft(NAME)
        self._places: dict[str, int | None] = {}
        """Where the newest message at or above an entry is, by the entry's id."""

    def take(self, record: Record) -> None:
        """The next line."""
        fields = record.fields
        if record.damage or not fields:
            detail = record.damage or "no object"
            self.draft.note(RepairKind.UNKNOWN_RECORD, record.number, detail)
            return
        above = fields.get("parentId")
        if isinstance(above, str) and above in self._places:
            self.draft.last = self._places[above]
        self._entry(fields, record.number)
        if id := string(fields.get("id")):
            self._places[id] = self.draft.last

    def _entry(self, fields: dict[str, Any], number: int) -> None:
        draft = self.draft
        match string(fields.get("type")):
            case "session":
                draft.since(seconds(fields.get("timestamp")))
                draft.keep(session=name_of(fields.get("id")), folder=string(fields.get("cwd")))
                self._model(fields)
            case "model_change":
                self._model(fields)
            case "session_info":
                draft.title = string(fields.get("name")) or draft.title
            case "message":
                draft.since(seconds(fields.get("timestamp")))
                self._message(obj(fields.get("message")), number)
            case "custom_message":
                draft.say(Role.USER, _said(fields.get("content"), draft), number)
            case "branch_summary":
                text = Text(f"[summary of another branch]\n{string(fields.get('summary'))}")
                draft.say(Role.USER, (text,), number)
            case kind:
                if kind not in _QUIET:
                    draft.note(RepairKind.UNKNOWN_RECORD, number, kind or "no type")

    def _model(self, fields: dict[str, Any]) -> None:
        if model := string(fields.get("modelId")):
            self.draft.model = f"{string(fields.get('provider'))}:{model}"

    def _message(self, message: dict[str, Any], number: int) -> None:
        draft, content = self.draft, message.get("content")
        match message.get("role"):
            case "user" | "custom":
                draft.say(Role.USER, _said(content, draft), number)
            case "assistant":
                self._answer(message, number)
            case "toolResult":
                result = ToolResult(
                    _call_id(message.get("toolCallId")),
                    string(message.get("toolName")),
                    tuple(result_content(content, draft)),
                    failed=message.get("isError") is True,
                )
                draft.say(Role.TOOL, (result,), number)
            case "bashExecution":
                ran = f"$ {string(message.get('command'))}\n{string(message.get('output'))}"
                draft.say(Role.USER, (Text(ran),), number)
            case "branchSummary" | "compactionSummary":
                draft.say(Role.USER, (Text(string(message.get("summary"))),), number)
            case role:
                detail = f"a message of {string(role) or 'nobody'}"
                draft.note(RepairKind.UNKNOWN_RECORD, number, detail)

    def _answer(self, message: dict[str, Any], number: int) -> None:
        model = string(message.get("model"))
        if model:
            self.draft.model = f"{string(message.get('provider'))}:{model}"
        of = Message(
            Role.ASSISTANT,
            (),
            model=self.draft.model,
            stop=_STOPS.get(string(message.get("stopReason"))),
            native_id=string(message.get("responseId")),
        )
        api = string(message.get("api"))
        content = message.get("content")
        parts = [content] if isinstance(content, str) else seq(content)
        said = [_block(part, _ORIGINS.get(api, api)) for part in parts]
        self.draft.say(Role.ASSISTANT, said, number, of=of)


def _said(content: Any, draft: Draft) -> Iterator[Block]:
    if isinstance(content, str):
        yield Text(content)
    for part in seq(content):
        if obj(part).get("type") == "image":
            yield attachment(part, draft)
        else:
            yield Text(string(obj(part).get("text")))


def _block(part: Any, origin: str) -> Block:
    fields = obj(part)
    match fields.get("type"):
        case "thinking":
            return _thinking(fields, origin)
        case "toolCall":
            id, name = _call_id(fields.get("id")), string(fields.get("name"))
            return ToolCall(id, name, arguments(fields.get("arguments")))
        case _:
            return Text(string(fields.get("text")) or string(part))


def _thinking(fields: dict[str, Any], origin: str) -> Reasoning:
    told, proof = string(fields.get("thinking")), string(fields.get("thinkingSignature"))
    if origin == "openai.responses" and proof.startswith("{"):
        try:
            item = obj(json.loads(proof))
        except (ValueError, RecursionError):
            item = {}
        sealed, id = string(item.get("encrypted_content")), string(item.get("id"))
        native = proof if sealed and id else ""
        return Reasoning(told, encrypted=sealed, id=id, origin=origin, native=native)
    if fields.get("redacted") is True:
        return Reasoning(encrypted=proof, origin=origin)
    return Reasoning(told, signature=proof, origin=origin if proof else "")


def _call_id(value: Any) -> CallId:
    # pi joins the ids of call and item by a bar; only the first one pairs call and result.
    return CallId(name_of(value).partition("|")[0])

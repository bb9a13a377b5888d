"""Sessions of Gemini CLI: one object with messages, saved checkpoints, and lists of contents.

A message of the model holds its calls together with their results. Checkpoints are what goes over
the wire of the Gemini API: parts of text, function calls and function responses, the latter paired
by name and order where ids are missing.
"""

from collections.abc import Iterator
from typing import Any

from palaver.domain.ids import CallId
from palaver.domain.messages import (
    Block,
    Image,
    Message,
    Reasoning,
    ResultContent,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from palaver.travel.base import Imported, RepairKind
from palaver.travel.content import attachment
from palaver.travel.draft import Draft
from palaver.travel.fields import arguments, name_of, obj, readable, seconds, seq, string
from palaver.travel.source import Source

NAME = "gemini-cli"
PROVIDER = "google_genai"
_SPEAKERS = ("user", "gemini", "model")
_QUIET = frozenset(("info", "warning", "about", "help", "stats", "quit", "compression"))


def sniff(source: Source) -> bool:
    """Whether messages are of type `gemini`, or contents have `parts`."""
    if isinstance(source.document, dict) and "projectHash" in source.document:
        return isinstance(source.document.get("messages"), list)
    listed = _contents(source)
    if listed:
        return any("parts" in obj(content) and "role" in obj(content) for content in listed)
    if any("sessionId" in r and "projectHash" in r for r in source.head[:1]):
        return True
    return any(m.get("type") == "gemini" for m in map(obj, seq(source.object.get("messages"))))


def read(source: Source) -> Iterator[Imported]:
    """The one conversation of the file."""
    chat = _Chat()
    if listed := _contents(source):
        for number, content in enumerate(listed):
            chat.content(obj(content), number)
    else:
        chat.session(source)
    made = chat.draft.finish()
    if made is not None:
        yield made


def _contents(source: Source) -> list[Any]:
    if isinstance(source.document, list):
        return source.document
    return seq(source.object.get("history")) or seq(source.object.get("contents"))


class _Chat:
    def __init__(self) -> None:
        self.draft = Draft(NAME)
        self._asked: list[ToolCall] = []
        """Calls without a result, for responses that have no id."""

    def session(self, source: Source) -> None:
        """All messages of a session file, or of its form as lines."""
        for record in source.records():
            fields = record.fields
            if record.damage or not fields:
                detail = record.damage or "no object"
                self.draft.note(RepairKind.UNKNOWN_RECORD, record.number, detail)
                continue
            if "type" in fields and "content" in fields:
                self._message(fields, record.number)
                continue
            self._header(fields)
            for number, message in enumerate(seq(fields.get("messages"))):
                self._message(obj(message), number)

    def _header(self, fields: dict[str, Any]) -> None:
        self.draft.since(seconds(fields.get("startTime")))
        self.draft.title = string(fields.get("summary")) or self.draft.title
        self.draft.keep(
            session=string(fields.get("sessionId")), project=string(fields.get("projectHash"))
        )

    def _message(self, message: dict[str, Any], number: int) -> None:
        draft, kind = self.draft, string(message.get("type"))
        draft.since(seconds(message.get("timestamp")))
        if kind == "user":
            draft.say(Role.USER, self._parts(message.get("content"), number), number)
        elif kind == "gemini":
            self._answer(message, number)
        elif kind not in _QUIET:
            draft.note(RepairKind.UNKNOWN_RECORD, number, kind or "no type")

    def _answer(self, message: dict[str, Any], number: int) -> None:
        draft = self.draft
        thoughts = [_thought(obj(part)) for part in seq(message.get("thoughts"))]
        said = self._parts(message.get("content"), number)
        calls, results = [], []
        for place, call in enumerate(map(obj, seq(message.get("toolCalls")))):
            id = CallId(name_of(call.get("id")) or f"call_{number}_{place}")
            name = string(call.get("name"))
            calls.append(ToolCall(id, name, arguments(call.get("args"))))
            content = tuple(self._given(call))
            if content or "result" in call:
                failed = call.get("status") in ("error", "cancelled")
                results.append(ToolResult(id, name, content, failed=failed))
        if model := string(message.get("model")):
            draft.model = f"{PROVIDER}:{model}"
        of = Message(Role.ASSISTANT, (), model=draft.model)
        draft.say(Role.ASSISTANT, (*thoughts, *said, *calls), number, of=of)
        if results:
            draft.say(Role.TOOL, results, number)

    def _given(self, call: dict[str, Any]) -> Iterator[ResultContent]:
        result = call.get("result")
        parts = result if isinstance(result, list) else [result]
        for part in parts:
            response = obj(obj(part).get("functionResponse"))
            if response:
                yield from self._response(response)
            elif isinstance(part, dict) and "inlineData" in part:
                yield _picture(part, self.draft)
            elif part is not None:
                yield Text(string(obj(part).get("text")) or readable(part))
        shown = call.get("resultDisplay")
        if result is None and shown:
            yield Text(readable(shown))

    def _response(self, response: dict[str, Any]) -> Iterator[ResultContent]:
        given = obj(response.get("response"))
        told = given.get("output", given.get("error", given))
        if told not in (None, "", {}):
            yield Text(readable(told))
        for part in map(obj, seq(response.get("parts"))):
            if "inlineData" in part:
                yield _picture(part, self.draft)

    def content(self, content: dict[str, Any], number: int) -> None:
        """The next content of a checkpoint."""
        role = string(content.get("role"))
        if role not in _SPEAKERS and role != "function":
            self.draft.note(RepairKind.UNKNOWN_RECORD, number, f"content of {role or 'nobody'}")
            return
        said = self._parts(content.get("parts"), number)
        if role == "model":
            self._asked = [block for block in said if isinstance(block, ToolCall)]
        self.draft.say(Role.ASSISTANT if role == "model" else Role.USER, said, number)

    def _parts(self, content: Any, number: int) -> list[Block]:
        parts = content if isinstance(content, list) else [content]
        return [
            block for place, part in enumerate(parts) for block in self._part(part, number, place)
        ]

    def _part(self, part: Any, number: int, place: int) -> Iterator[Block]:
        fields = obj(part)
        if isinstance(part, str):
            yield Text(part)
        elif fields.get("thought") is True:
            yield Reasoning(string(fields.get("text")))
        elif call := obj(fields.get("functionCall")):
            id = CallId(name_of(call.get("id")) or f"call_{number}_{place}")
            yield ToolCall(id, string(call.get("name")), arguments(call.get("args")))
        elif response := obj(fields.get("functionResponse")):
            name = string(response.get("name"))
            id = CallId(name_of(response.get("id")) or self._first_asked(name))
            yield ToolResult(id, name, tuple(self._response(response)))
        elif "inlineData" in fields:
            yield _picture(fields, self.draft)
        elif text := string(fields.get("text")):
            yield Text(text)

    def _first_asked(self, name: str) -> str:
        for call in self._asked:
            if call.name == name:
                self._asked.remove(call)
                return call.id
        return ""


def _thought(fields: dict[str, Any]) -> Reasoning:
    told = (string(fields.get("subject")), string(fields.get("description")))
    return Reasoning("\n".join(part for part in told if part))


def _picture(part: dict[str, Any], draft: Draft) -> Text | Image | Any:
    data = obj(part.get("inlineData"))
    kind = string(data.get("mimeType"))
    what = "image" if kind.startswith("image/") else "document"
    return attachment({"type": what, "data": data.get("data"), "mimeType": kind}, draft)

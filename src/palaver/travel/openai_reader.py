"""Reads what is in the shape of chat completions, in all the ways that people write it down.

A file holds conversations (`{"messages": […]}` on each line, or in a list), or one conversation
(a message on each line, or a list of messages). Requests, responses, lines of batches and pairs of
preferred and other answers are understood, old function calls and other vendors' dialects too.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from msgspec.structs import replace

from palaver.domain.ids import CallId
from palaver.domain.messages import (
    Block,
    File,
    Image,
    Reasoning,
    Refusal,
    ResultContent,
    Role,
    Text,
    ToolCall,
    ToolResult,
    Unknown,
)
from palaver.travel import content as parts_of
from palaver.travel.attachments import described, from_data_url
from palaver.travel.base import Imported, Repair, RepairKind
from palaver.travel.draft import Draft
from palaver.travel.fields import arguments, json_text, name_of, obj, seconds, seq, string
from palaver.travel.source import Record, Source

NAME = "openai"
ORIGIN = "openai.chat"
_ROLES = {
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "user": Role.USER,
    "human": Role.USER,
    "assistant": Role.ASSISTANT,
    "ai": Role.ASSISTANT,
    "bot": Role.ASSISTANT,
    "model": Role.ASSISTANT,
    "tool": Role.TOOL,
    "function": Role.TOOL,
}


def sniff(source: Source) -> bool:
    """Whether the first records look like this format."""
    return any(
        _messages(fields) or (string(fields.get("role")) in _ROLES and _has_said(fields))
        for fields in source.head
    ) or any(_is_message(obj(value)) for value in _first_list(source))


def read(source: Source) -> Iterator[Imported]:
    """Every conversation of the file. What could not be read is told by the one behind it."""
    found: list[Imported] = []
    lost: list[Repair] = []
    loose = _Reader({})
    for record in source.records():
        if messages := _conversation(record):
            fields = obj(record.value)
            made = _read(fields, messages)
            if made is not None:
                found.append(replace(made, repairs=(*lost, *made.repairs)))
                lost = []
        elif _is_message(record.fields):
            loose.message(record.fields, record.number)
        else:
            why = record.damage or "neither a conversation nor a message"
            lost.append(Repair(RepairKind.UNKNOWN_RECORD, record.number, why))
    if (made := loose.finish()) is not None:
        found.append(made)
    if found and lost:
        found[-1] = replace(found[-1], repairs=(*found[-1].repairs, *lost))
    yield from found


def _read(fields: dict[str, Any], messages: Sequence[Any]) -> Imported | None:
    reader = _Reader(fields)
    for number, message in enumerate(messages):
        reader.message(obj(message), number)
    # A pair of answers: the preferred one is talked on, the other one is a branch.
    fork, number = reader.draft.last, len(messages)
    for message in seq(fields.get("non_preferred_output")):
        reader.message(obj(message), number)
    other, reader.draft.last = reader.draft.last, fork
    for message in seq(fields.get("preferred_output")):
        reader.message(obj(message), number)
    if reader.draft.last == fork:
        reader.draft.last = other
    return reader.finish()


def _conversation(record: Record) -> Sequence[Any]:
    """The messages of a record that is a conversation; none of any other."""
    if isinstance(record.value, list):
        return record.value if any(_is_message(obj(value)) for value in record.value) else ()
    return _messages(record.fields)


def _messages(fields: dict[str, Any]) -> Sequence[Any]:
    for holder in (fields, obj(fields.get("body")), obj(fields.get("input"))):
        if said := seq(holder.get("messages")):
            if not any(_is_message(obj(message)) for message in said):
                return ()
            return [*said, *_answer(fields)]
    return _answer(fields)


def _answer(fields: dict[str, Any]) -> Sequence[Any]:
    for choice in seq(fields.get("choices"))[:1]:
        if message := obj(obj(choice).get("message")):
            return [message]
    return ()


def _is_message(fields: dict[str, Any]) -> bool:
    return string(fields.get("role")) in _ROLES


def _has_said(fields: dict[str, Any]) -> bool:
    return "content" in fields or "tool_calls" in fields or "function_call" in fields


def _first_list(source: Source) -> Sequence[Any]:
    first = next(iter(source.records()), None)
    return first.value[:8] if first is not None and isinstance(first.value, list) else ()


class _Reader:
    """One conversation. Calls and results without ids are paired by their order."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self.draft = Draft(NAME)
        self._names: dict[Role, dict[str, None]] = {}
        self._named: list[tuple[int, str]] = []
        self._open: list[tuple[CallId, str]] = []
        """Calls without a result so far, with their tools."""
        self._made = 0
        """Ids that were made up."""
        for holder in (fields, obj(fields.get("body"))):
            self._about(holder)

    def _about(self, fields: dict[str, Any]) -> None:
        self.draft.title = self.draft.title or string(fields.get("title"))
        self.draft.model = self.draft.model or string(fields.get("model"))
        for name in ("created_at", "create_time", "created", "timestamp"):
            self.draft.since(seconds(fields.get(name)))
        for name in ("conversation_id", "custom_id", "id"):
            self.draft.keep(conversation=name_of(fields.get(name)))

    def message(self, fields: dict[str, Any], number: int) -> None:
        """One message of theirs."""
        role = _ROLES.get(string(fields.get("role")))
        if role is None:
            self.draft.note(RepairKind.UNKNOWN_RECORD, number, string(fields.get("role")))
        elif role is Role.SYSTEM:
            self._system(fields, number)
        elif role is Role.TOOL:
            self.draft.say(role, (self._result(fields),), number)
        else:
            place = self.draft.say(role, self._said(fields), number)
            self._remember(role, fields, place)

    def _system(self, fields: dict[str, Any], number: int) -> None:
        name = string(fields.get("name"))
        blocks = self._content(fields.get("content"))
        text = "".join(b.text for b in blocks if isinstance(b, Text))
        told = f"{name}: {text}" if name and text else text
        if self.draft.last is None:
            self.draft.system = "\n\n".join(t for t in (self.draft.system, told) if t)
        else:
            self.draft.say(Role.SYSTEM, (Text(told),), number)

    def _said(self, fields: dict[str, Any]) -> Iterator[Block]:
        for name in ("reasoning_content", "reasoning"):
            if thought := string(fields.get(name)):
                yield Reasoning(thought)
                break
        yield from self._content(fields.get("content"))
        if refusal := string(fields.get("refusal")):
            yield Refusal(refusal)
        if spoken := string(obj(fields.get("audio")).get("transcript")):
            yield Text(spoken)
        calls = [self._call(obj(call)) for call in seq(fields.get("tool_calls"))]
        if legacy := obj(fields.get("function_call")):
            calls.append(self._call({"function": legacy}))
        if calls:
            self._open = [(call.id, call.name) for call in calls]
        yield from calls

    def _call(self, call: dict[str, Any]) -> ToolCall:
        """`{id, function: {name, arguments}}`, a custom tool's `{id, custom: {name, input}}`, or
        flat as some write it."""
        given = obj(call.get("function")) or obj(call.get("custom")) or call
        told = given.get("arguments")
        if "input" in given and told is None:
            told = given["input"] if isinstance(given["input"], dict) else {"input": given["input"]}
        id = name_of(call.get("id")) or self._new_id()
        return ToolCall(CallId(id), string(given.get("name")), arguments(told))

    def _new_id(self) -> str:
        self._made += 1
        return f"call_{self._made}"

    def _result(self, fields: dict[str, Any]) -> ToolResult:
        name = string(fields.get("name"))
        id = name_of(fields.get("tool_call_id")) or name_of(fields.get("id"))
        if not id:
            same = (call for call, tool in self._open if not name or tool == name)
            id = next(same, "") or self._new_id()
        self._open = [(call, tool) for call, tool in self._open if call != id]
        failed = fields.get("is_error") is True or fields.get("error") is True
        told = fields.get("content")
        if isinstance(told, dict):
            told = json_text(told)
        content = tuple(_shown(block) for block in self._content(told))
        return ToolResult(CallId(id), name, content, failed)

    def _content(self, given: Any) -> Iterator[Block]:
        if isinstance(given, str):
            if given:
                yield Text(given)
            return
        for part in seq(given):
            if isinstance(part, str):
                yield Text(part)
            else:
                yield from self._part(obj(part))

    def _part(self, part: dict[str, Any]) -> Iterator[Block]:
        match part.get("type"):
            case "refusal":
                yield Refusal(string(part.get("refusal")))
            case "file" | "input_file" if "source" not in part:
                yield self._file(obj(part.get("file")) or part)
            case "input_audio":
                audio = obj(part.get("input_audio"))
                kind = string(audio.get("format")) or "wav"
                yield self._stored(string(audio.get("data")), f"audio/{kind}", "audio")
            case "thinking" if isinstance(part.get("thinking"), list):
                thoughts = (string(obj(thought).get("text")) for thought in part["thinking"])
                yield Reasoning("".join(thoughts))
            case _:
                yield from parts_of.blocks([part], self.draft, origin=ORIGIN)

    def _file(self, file: dict[str, Any]) -> File | Text:
        name = string(file.get("filename")) or name_of(file.get("file_id"))
        if url := string(file.get("file_url")):
            return File(url=url, name=name)
        given = string(file.get("file_data"))
        if (read := from_data_url(given)) is not None:
            media, data = read
            self.draft.blob(data)
            made = described(data, media_type=media, name=name)
            return File(media, made.blob, name=name, size=len(data))
        return self._stored(given, "", name)

    def _stored(self, encoded: str, media_type: str, name: str) -> File | Text:
        blob = self.draft.unpacked(encoded) if encoded else None
        if blob is None:
            return Text(f"[file {name} that the source does not hold]")
        size = len(self.draft.blobs[blob])
        return File(media_type or "application/octet-stream", blob, name=name, size=size)

    def _remember(self, role: Role, fields: dict[str, Any], place: int) -> None:
        if name := string(fields.get("name")):
            self._names.setdefault(role, {})[name] = None
            self._named.append((place, name))

    def finish(self) -> Imported | None:
        """The conversation. Where several people speak in one role, each message begins with the
        name of its speaker; messages have no other place for it."""
        for place, name in self._named:
            message = self.draft.at(place)
            if len(self._names[message.role]) > 1 and message.text:
                content = (Text(f"{name}: "), *message.content)
                self.draft.change(place, replace(message, content=content))
            else:
                self.draft.keep(**{f"{message.role}_name": name})
        return self.draft.finish()


def _shown(block: Block) -> ResultContent:
    match block:
        case Text() | Image() | File():
            return block
        case Refusal(text=text) | Reasoning(text=text):
            return Text(text)
        case _:
            return Text(block.raw if isinstance(block, Unknown) else "")

"""Histories of OpenHands: a list of events, actions and the observations that they caused.

An action of the agent is its thought and a call; the observation that names it as its cause, or
the next one, is the result. Both the flat form of old versions and the nested one (`args`,
`extras`) are read, and the events of the later SDK (`kind`).
"""

from collections.abc import Iterable, Iterator
from typing import Any

from palaver.domain.ids import CallId
from palaver.domain.messages import Block, Message, Role, Text, ToolCall, ToolResult
from palaver.travel.base import Imported, RepairKind
from palaver.travel.content import result_content
from palaver.travel.draft import Draft
from palaver.travel.fields import arguments, json_text, name_of, obj, seconds, seq, string
from palaver.travel.source import Record, Source

NAME = "openhands"
_ABOUT = frozenset(
    (
        "action",
        "thought",
        "content",
        "id",
        "timestamp",
        "source",
        "message",
        "cause",
        "args",
        "is_confirmed",
        "confirmation_state",
        "security_risk",
        "action_risk",
        "tool_call_metadata",
        "llm_metrics",
        "keep_prompt",
        "kernel_init_code",
        "timeout",
        "hidden",
        "blocking",
    )
)
"""Fields of an action that are no arguments."""
_QUIET_ACTIONS = frozenset(
    ("change_agent_state", "recall", "null", "condensation", "loop_recovery")
)
_QUIET_OBSERVATIONS = frozenset(
    ("agent_state_changed", "recall", "null", "condense", "think", "success")
)
_QUIET_KINDS = frozenset(
    (
        "ConversationStateUpdateEvent",
        "Condensation",
        "CondensationRequest",
        "PauseEvent",
        "TokenEvent",
    )
)


def sniff(source: Source) -> bool:
    """Whether there are events that act and events that observe."""
    listed = _histories(source)
    events = [obj(event) for event in next(iter(listed), [])][:64] or source.head
    return any(_is_event(event) for event in events)


def read(source: Source) -> Iterator[Imported]:
    """The conversation of the file, or of each of its lines."""
    found = False
    for number, record in enumerate(source.records()):
        if events := _events(record.fields):
            found = True
            made = _History(name_of(record.fields.get("id") or record.fields.get("instance_id")))
            records = (Record(n, event) for n, event in enumerate(_flat(events)))
            yield from made.conversation(records)
        elif number == 0 and not found:
            yield from _History("").conversation(source.records())
            return


def _histories(source: Source) -> Iterator[list[Any]]:
    for fields in source.head[:1]:
        if events := _events(fields):
            yield list(_flat(events))


def _events(fields: dict[str, Any]) -> list[Any]:
    events = (
        seq(fields.get("events")) or seq(fields.get("history")) or seq(fields.get("trajectory"))
    )
    return events if any(_is_event(obj(e)) for e in _flat(events[:8])) else []


def _flat(events: Iterable[Any]) -> Iterator[Any]:
    """Evaluations keep pairs of action and observation."""
    for event in events:
        yield from event if isinstance(event, list) else (event,)


def _is_event(event: dict[str, Any]) -> bool:
    if isinstance(event.get("kind"), str) and event["kind"].endswith("Event") and "source" in event:
        return True
    if isinstance(event.get("observation"), str) and "content" in event and "role" not in event:
        return "action" not in event
    return isinstance(event.get("action"), str) and bool(
        {"args", "action_risk", "wait_for_response", "is_confirmed"} & set(event)
    )


class _History:
    def __init__(self, name: str) -> None:
        self._draft = Draft(NAME)
        self._draft.keep(session=name)
        self._calls: dict[str, ToolCall] = {}
        """Calls by the id of their event."""
        self._newest: ToolCall | None = None

    def conversation(self, records: Iterable[Record]) -> Iterator[Imported]:
        for record in records:
            event = record.fields
            if record.damage or not event:
                self._unknown(record, record.damage or "no object")
                continue
            self._draft.since(seconds(event.get("timestamp")))
            if isinstance(event.get("kind"), str):
                self._kind(event, record)
            elif isinstance(event.get("action"), str):
                self._action(event, record)
            elif isinstance(event.get("observation"), str):
                self._observation(event, record)
            else:
                self._unknown(record, "an event that neither acts nor observes")
        made = self._draft.finish()
        if made is not None:
            yield made

    def _unknown(self, record: Record, detail: str) -> None:
        self._draft.note(RepairKind.UNKNOWN_RECORD, record.number, detail)

    def _action(self, event: dict[str, Any], record: Record) -> None:
        name = event["action"]
        given = obj(event.get("args")) or event
        match name:
            case "message":
                self._message(event, given, record)
            case "system":
                self._draft.system = string(given.get("content")) or self._draft.system
            case "finish" | "think" | "reject":
                told = [string(given.get(k)) for k in ("thought", "final_thought", "message")]
                outputs = obj(given.get("outputs"))
                told.append(json_text(outputs) if outputs else "")
                self._say(told, (), record)
            case _ if name in _QUIET_ACTIONS:
                pass
            case _:
                self._call(event, given, record)

    def _message(self, event: dict[str, Any], given: dict[str, Any], record: Record) -> None:
        text = Text(string(given.get("content")))
        by_agent = event.get("source") == "agent" or (
            "source" not in event and given.get("wait_for_response") is True
        )
        if by_agent:
            self._say([text.text], (), record)
        else:
            self._draft.say(Role.USER, (text,), record.number)

    def _call(self, event: dict[str, Any], given: dict[str, Any], record: Record) -> None:
        about = obj(event.get("tool_call_metadata"))
        details = {k: v for k, v in given.items() if k not in _ABOUT and v is not None}
        event_id = name_of(event.get("id")) or str(record.number)
        id = CallId(name_of(about.get("tool_call_id")) or f"event_{event_id}")
        name = string(about.get("function_name")) or event["action"]
        call = ToolCall(id, name, arguments(details))
        if event.get("source") == "user":
            text = f"[{name} {call.arguments}]"
            self._draft.say(Role.USER, (Text(text),), record.number)
            return
        self._calls[event_id] = self._newest = call
        self._say([string(given.get("thought"))], (call,), record)

    def _say(self, told: Iterable[str], more: tuple[Block, ...], record: Record) -> None:
        texts = tuple(Text(text) for text in dict.fromkeys(told) if text.strip())
        of = Message(Role.ASSISTANT, (), model=self._draft.model)
        self._draft.say(Role.ASSISTANT, (*texts, *more), record.number, of=of)

    def _observation(self, event: dict[str, Any], record: Record) -> None:
        name = event["observation"]
        call = self._calls.get(name_of(event.get("cause")))
        if call is None and name in _QUIET_OBSERVATIONS:
            return
        if call is None and "cause" not in event:
            call, self._newest = self._newest, None
        extras = obj(event.get("extras")) or event
        code = obj(extras.get("metadata")).get("exit_code", extras.get("exit_code"))
        failed = name == "error" or (isinstance(code, int) and code not in (0, -1))
        content = tuple(result_content(event.get("content"), self._draft))
        id = call.id if call else CallId(f"event_{record.number}")
        result = ToolResult(id, call.name if call else name, content, failed=failed)
        self._draft.say(Role.TOOL, (result,), record.number)

    def _kind(self, event: dict[str, Any], record: Record) -> None:
        """An event of the SDK."""
        kind = event["kind"]
        if kind == "SystemPromptEvent":
            self._draft.system = _text(event.get("system_prompt"))
        elif kind == "MessageEvent":
            message = obj(event.get("llm_message"))
            role = Role.ASSISTANT if message.get("role") == "assistant" else Role.USER
            said = result_content(message.get("content"), self._draft)
            self._draft.say(role, said, record.number)
        elif kind == "ActionEvent":
            asked = obj(event.get("tool_call"))
            wanted = obj(asked.get("function")) or asked
            given = wanted.get("arguments", event.get("action"))
            id = CallId(name_of(event.get("tool_call_id")) or name_of(asked.get("id")))
            call = ToolCall(id, string(event.get("tool_name")), arguments(given))
            self._say([_text(event.get("thought"))], (call,), record)
        elif "tool_call_id" in event:
            seen = obj(event.get("observation"))
            given = seen.get("content", seen.get("output", event.get("error", seen)))
            content = tuple(result_content(given, self._draft))
            failed = kind == "AgentErrorEvent" or seen.get("is_error") is True
            id = CallId(name_of(event.get("tool_call_id")))
            result = ToolResult(id, string(event.get("tool_name")), content, failed=failed)
            self._draft.say(Role.TOOL, (result,), record.number)
        elif kind not in _QUIET_KINDS:
            self._unknown(record, kind)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "".join(_text(part) for part in value)
    return string(obj(value).get("text")) or string(value)

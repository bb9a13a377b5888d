"""A turn's events as AG-UI's, one after the other.

AG-UI has no event for what this runtime says of compactions, retries and other models; such ones
go as CUSTOM events named `palaver.<type>`. What a broken stream showed and took back cannot be
taken back there one by one, so a snapshot of all messages puts it right before the run ends.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec

from palaver.domain.ids import CallId
from palaver.domain.messages import Message, Role, ToolCall, ToolResult
from palaver.domain.stream import (
    AttemptStarted,
    BlockReset,
    MessageCompleted,
    ReasoningDelta,
    StreamEvent,
    TextDelta,
    ToolArgumentsDelta,
    ToolFinished,
    ToolRequested,
    ToolStarted,
    TurnCancelled,
    TurnCompleted,
    TurnFailed,
    TurnInterrupted,
    TurnStarted,
    TurnSuspended,
    UsageReported,
)
from palaver.domain.values import ErrorInfo, SuspendReason, Usage

PROTOCOL_VERSION = "1.0"
Shown: TypeAlias = dict[str, Any]
_APPROVAL = {
    "type": "object",
    "properties": {"approved": {"type": "boolean"}, "note": {"type": "string"}},
    "required": ["approved"],
}


class Translator:
    """Folds the events of one run. `history`: the messages that the client brought."""

    def __init__(self, thread: str, run: str, history: Sequence[Shown] = ()) -> None:
        self._thread, self._run, self._history = thread, run, history
        self._message = f"{run}-0"
        self._parts = 0
        self._open_text = ""
        self._open_reasoning = ""
        self._calls: dict[CallId, bool] = {}
        """Calls that are open, and whether arguments of them were shown."""
        self._known = {call["id"] for each in history for call in each.get("toolCalls", ())}
        self._answered = {each["toolCallId"] for each in history if each["role"] == "tool"}
        """What the client knows of calls already."""
        self._spoken = False
        self._said: list[Shown] = []
        self._usage: dict[str, Usage] = {}
        self._is_torn = False

    def begin(self) -> list[Shown]:
        """Opens the run."""
        return [
            {
                "type": "RUN_STARTED",
                "threadId": self._thread,
                "runId": self._run,
                "protocolVersion": PROTOCOL_VERSION,
            }
        ]

    def add(self, event: StreamEvent) -> list[Shown]:
        """What to send for an event."""
        match event:
            case TurnStarted():
                return []
            case AttemptStarted(number=number, continues=continues):
                if not continues:
                    self._message, self._parts, self._spoken = f"{self._run}-{number}", 0, False
                return []
            case TextDelta(text=text):
                return self._text(text) if text else []
            case ReasoningDelta(text=text):
                return self._reasoning(text) if text else []
            case ToolRequested(call_id=call, name=name):
                return self._call(call, name)
            case ToolArgumentsDelta(call_id=call, text=text):
                return self._arguments(call, text) if text else []
            case ToolStarted(call_id=call, name=name, arguments=arguments):
                return self._end_call(call, name, arguments)
            case ToolFinished(call_id=call, name=name, result=result):
                return self._result(call, name, result)
            case MessageCompleted(message=message):
                return self._completed(message)
            case BlockReset():
                self._is_torn = True
                return self._close()
            case UsageReported(usage=usage, model=model):
                self._usage[model] = self._usage.get(model, Usage()) + usage
                return []
            case TurnSuspended(reason=reason, calls=calls):
                return self._suspended(reason, calls)
            case TurnCompleted():
                return self._end({"type": "success"})
            case TurnCancelled():
                return self._end({"type": "cancelled"})
            case TurnFailed(error=error):
                return self.failed(error)
            case TurnInterrupted():
                return self.failed(ErrorInfo("interrupted", "the process that answered died"))
            case _:
                name = f"palaver.{event.__struct_config__.tag}"
                return [{"type": "CUSTOM", "name": name, "value": msgspec.to_builtins(event)}]

    def failed(self, error: ErrorInfo) -> list[Shown]:
        """Ends the run with an error."""
        told = f"{error.message} ({error.hint})" if error.hint else error.message
        end = {"type": "RUN_ERROR", "message": told, "code": error.code, **self._used()}
        return [*self._close(), *self._snapshot(), end]

    # Text and reasoning.

    def _text(self, text: str) -> list[Shown]:
        shown = self._close_reasoning()
        if not self._open_text:
            self._parts += 1
            id = self._message if self._parts == 1 else f"{self._message}.{self._parts}"
            self._open_text, self._spoken = id, True
            shown.append({"type": "TEXT_MESSAGE_START", "messageId": id, "role": "assistant"})
        shown.append({"type": "TEXT_MESSAGE_CONTENT", "messageId": self._open_text, "delta": text})
        return shown

    def _reasoning(self, text: str) -> list[Shown]:
        shown: list[Shown] = []
        if not self._open_reasoning:
            self._parts += 1
            id = self._open_reasoning = f"{self._message}-thought-{self._parts}"
            shown.append({"type": "REASONING_START", "messageId": id})
            shown.append({"type": "REASONING_MESSAGE_START", "messageId": id, "role": "reasoning"})
        shown.append(
            {"type": "REASONING_MESSAGE_CONTENT", "messageId": self._open_reasoning, "delta": text}
        )
        return shown

    def _close_reasoning(self) -> list[Shown]:
        id, self._open_reasoning = self._open_reasoning, ""
        if not id:
            return []
        return [
            {"type": "REASONING_MESSAGE_END", "messageId": id},
            {"type": "REASONING_END", "messageId": id},
        ]

    def _close_text(self) -> list[Shown]:
        id, self._open_text = self._open_text, ""
        return [{"type": "TEXT_MESSAGE_END", "messageId": id}] if id else []

    def _close(self) -> list[Shown]:
        shown = [*self._close_reasoning(), *self._close_text()]
        for call in list(self._calls):
            shown += self._end_call(call)
        return shown

    # Calls.

    def _call(self, call: CallId, name: str) -> list[Shown]:
        shown = [*self._close_reasoning(), *self._close_text()]
        self._calls[call] = False
        self._known.add(call)
        shown.append(
            {
                "type": "TOOL_CALL_START",
                "toolCallId": call,
                "toolCallName": name,
                "parentMessageId": self._message,
            }
        )
        return shown

    def _arguments(self, call: CallId, text: str) -> list[Shown]:
        if call not in self._calls:
            return []
        self._calls[call] = True
        return [{"type": "TOOL_CALL_ARGS", "toolCallId": call, "delta": text}]

    def _end_call(self, call: CallId, name: str = "", arguments: str = "") -> list[Shown]:
        shown: list[Shown] = []
        if call not in self._known and name:
            shown += self._call(call, name)
        if call not in self._calls:
            return shown
        if not self._calls[call] and arguments:
            shown += self._arguments(call, arguments)
        del self._calls[call]
        shown.append({"type": "TOOL_CALL_END", "toolCallId": call})
        return shown

    def _result(self, call: CallId, name: str, result: ToolResult) -> list[Shown]:
        if call in self._answered:
            return []
        shown = self._end_call(call, name)
        id, text = f"{call}-result", result.text
        self._said.append({"id": id, "role": "tool", "toolCallId": call, "content": text})
        shown.append(
            {
                "type": "TOOL_CALL_RESULT",
                "messageId": id,
                "toolCallId": call,
                "content": text,
                "role": "tool",
            }
        )
        return shown

    def _completed(self, message: Message) -> list[Shown]:
        if message.role is not Role.ASSISTANT:
            return []
        shown: list[Shown] = []
        if message.text and not self._spoken:
            shown += self._text(message.text)
        for call in message.tool_calls:
            shown += self._end_call(call.id, call.name, call.arguments)
        self._said.append(_written(self._message, message))
        return [*shown, *self._close()]

    # The end.

    def _suspended(self, reason: SuspendReason, calls: tuple[ToolCall, ...]) -> list[Shown]:
        if reason is SuspendReason.CLIENT_TOOL_RESULT:
            return self._end({"type": "success", "pendingToolCallIds": [c.id for c in calls]})
        interrupts = [
            {
                "id": call.id,
                "reason": "tool_approval",
                "message": f"Allow {call.name}?",
                "toolCallId": call.id,
                "responseSchema": _APPROVAL,
            }
            for call in calls
        ]
        return self._end({"type": "interrupt", "interrupts": interrupts})

    def _end(self, outcome: Shown) -> list[Shown]:
        end = {
            "type": "RUN_FINISHED",
            "threadId": self._thread,
            "runId": self._run,
            "outcome": outcome,
            **self._used(),
        }
        return [*self._close(), *self._snapshot(), end]

    def _snapshot(self) -> list[Shown]:
        if not self._is_torn:
            return []
        return [{"type": "MESSAGES_SNAPSHOT", "messages": [*self._history, *self._said]}]

    def _used(self) -> Shown:
        if not self._usage:
            return {}
        return {
            "usage": [
                {
                    "provider": model.partition(":")[0],
                    "model": model,
                    "inputTokens": usage.prompt,
                    "outputTokens": usage.output,
                    "totalTokens": usage.total,
                    "reasoningTokens": usage.reasoning,
                    "cachedInputTokens": usage.cache_read,
                    "cacheWriteInputTokens": usage.cache_creation,
                }
                for model, usage in self._usage.items()
            ]
        }


def _written(id: str, message: Message) -> Shown:
    written: Shown = {"id": id, "role": "assistant", "content": message.text}
    if message.tool_calls:
        written["toolCalls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ]
    return written

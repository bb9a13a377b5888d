"""Conversations in the shape of OpenAI's chat completions, which half the world reads and writes.

One conversation is one line of `{"messages": […], "tools"?: […]}`, as fine-tuning takes it. The
shape holds no thinking, no failed results, no cut answers: what it cannot hold is counted, and a
cut answer gets the weight 0, with which nobody trains on it. `openai_reader` reads it back.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from palaver.domain.messages import (
    Block,
    File,
    Flag,
    Image,
    Message,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    Unknown,
)
from palaver.domain.pictures import picture_type
from palaver.domain.state import ConversationState
from palaver.travel.attachments import ReadBlob, data_url
from palaver.travel.openai_reader import NAME, read, sniff
from palaver.travel.transcript import attached

__all__ = ["NAME", "Written", "read", "sniff", "write"]

SHOWN_BELOW = "[The picture follows in the next message.]"
SHOWN = "The picture of the tool result:"
_encode = msgspec.json.Encoder().encode


class Written(msgspec.Struct, frozen=True):
    """One line, with its end, and how much of what the format has no place for."""

    line: bytes
    reasoning: int = 0
    """Blocks of thinking."""
    unknown: int = 0
    """Blocks that only one provider understands."""
    failed: int = 0
    """Results of calls that failed; their text is written, that they failed is not."""
    attachments: int = 0
    """Pictures and files that are named only: their bytes are not here."""


def write(
    state: ConversationState, *, blobs: ReadBlob, tools: Sequence[Mapping[str, Any]] = ()
) -> Written:
    """The path of the conversation. `tools`: objects with name, description and parameters."""
    writer = _Writer(blobs)
    messages: list[dict[str, Any]] = []
    if state.preferences.system:
        messages.append({"role": "system", "content": state.preferences.system})
    for message in state.messages:
        messages += writer.message(message)
    body: dict[str, Any] = {"messages": messages}
    if tools:
        body["tools"] = [{"type": "function", "function": dict(tool)} for tool in tools]
    failed = sum(r.failed or r.unknown for m in state.messages for r in m.tool_results)
    return Written(
        _encode(body) + b"\n", writer.reasoning, writer.unknown, failed, writer.attachments
    )


class _Writer:
    """Counts what is left out while it writes."""

    def __init__(self, blobs: ReadBlob) -> None:
        self._blobs = blobs
        self.reasoning = self.unknown = self.attachments = 0

    def message(self, message: Message) -> list[dict[str, Any]]:
        """The message in one or more of theirs; none where nothing of it has a place."""
        self.reasoning += sum(isinstance(block, Reasoning) for block in message.content)
        self.unknown += sum(isinstance(block, Unknown) for block in message.content)
        match message.role:
            case Role.SYSTEM:
                return [{"role": "system", "content": message.text}]
            case Role.USER:
                parts = self._parts(message.content)
                return [{"role": "user", "content": _shortest(parts)}] if parts else []
            case Role.ASSISTANT:
                return self._assistant(message)
            case Role.TOOL:
                return self._results(message)

    def _assistant(self, message: Message) -> list[dict[str, Any]]:
        said = _joined(Text, message.content)
        refusal = _joined(Refusal, message.content)
        calls = [_call(call) for call in message.tool_calls]
        if not (said or refusal or calls):
            return []
        wire: dict[str, Any] = {"role": "assistant", "content": said or None}
        if refusal:
            wire["refusal"] = refusal
        if calls:
            wire["tool_calls"] = calls
        if Flag.PARTIAL in message.flags:
            wire["weight"] = 0
        return [wire]

    def _results(self, message: Message) -> list[dict[str, Any]]:
        """One message for each result, then one with what a tool message cannot hold."""
        wire: list[dict[str, Any]] = []
        shown: list[dict[str, Any]] = []
        for result in message.tool_results:
            told = []
            for part in self._parts(result.content):
                if part["type"] == "text":
                    told.append(part["text"])
                else:
                    told.append(SHOWN_BELOW)
                    shown += ({"type": "text", "text": f"{SHOWN} {result.call_id}"}, part)
            # One text may be in several blocks; what a note interrupts is on lines of its own.
            text = ("\n" if SHOWN_BELOW in told else "").join(told)
            wire.append({"role": "tool", "tool_call_id": result.call_id, "content": text})
        return [*wire, {"role": "user", "content": shown}] if shown else wire

    def _parts(self, blocks: Sequence[Block]) -> list[dict[str, Any]]:
        return [self._part(b) for b in blocks if isinstance(b, Text | Image | File)]

    def _part(self, block: Text | Image | File) -> dict[str, Any]:
        if isinstance(block, Text):
            return {"type": "text", "text": block.text}
        if isinstance(block, Image) and block.url is not None:
            return {"type": "image_url", "image_url": {"url": block.url}}
        data = self._blobs(block.blob) if block.blob is not None else None
        if data is None:
            self.attachments += 1
            kind = "picture" if isinstance(block, Image) else "file"
            return {"type": "text", "text": f"[{kind}: {attached(block)}]"}
        if isinstance(block, Image):
            url = data_url(picture_type(data) or block.media_type, data)
            return {"type": "image_url", "image_url": {"url": url}}
        file = {"filename": block.name or "file", "file_data": data_url(block.media_type, data)}
        return {"type": "file", "file": file}


def _call(call: ToolCall) -> dict[str, Any]:
    named = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": named}


def _joined(kind: type[Text] | type[Refusal], blocks: Sequence[Block]) -> str:
    return "".join(block.text for block in blocks if isinstance(block, kind))


def _shortest(parts: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """A single text as a string, which every reader understands."""
    if len(parts) == 1 and parts[0]["type"] == "text":
        return str(parts[0]["text"])
    return parts

"""Requests of chat completions, for OpenAI and for compatible servers.

Chat completions cannot take pictures in tool results: the tool message says so, and a user message
behind the results shows them. Thinking goes back to the server that it came from, with the calls it
led to; DeepSeek, Moonshot and OpenRouter want it there, and refuse or ignore it elsewhere.
"""

from typing import Any

import msgspec

from palaver.domain.history import History
from palaver.domain.messages import (
    Block,
    File,
    Image,
    Message,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
)
from palaver.providers.base import ModelInfo, ModelRequest, ToolSpec
from palaver.providers.fragments import Body, EncodedMessages, Kept, Latest, same_tools
from palaver.providers.openai_chat import CUSTOM, ORIGIN
from palaver.providers.openai_request import (
    Attachments,
    Refused,
    Server,
    allows_strict,
    effort,
    function,
    left_out,
    opened,
    schema_name,
)

_encode = msgspec.json.Encoder().encode
_ASKED = "Answer with one JSON object that satisfies this JSON Schema: "
_SHOWN_BELOW = "[The picture follows in the next message.]"
_SHOWN = "The picture of the tool result:"


class ChatRequests:
    """Writes bodies. A message is encoded once, whatever the number of requests that hold it."""

    def __init__(self, *, model: str, server: Server, info: ModelInfo, refused: Refused) -> None:
        self._model, self._server, self._info, self._refused = model, server, info, refused
        self.origin = ORIGIN if server.is_openai else f"{ORIGIN}@{server.host}"
        """Of thinking; it goes back to where it came from only."""
        self._kept = Kept(EncodedMessages)
        self._system = Latest(_encode_system)
        self._tools = Latest(_encode_tools, same=same_tools)

    async def body(self, request: ModelRequest) -> Body:
        """The request as JSON. Raises NotFound or InvalidInput for missing attachments."""
        messages = History.of(request.messages)
        sent = self._kept.take(request.conversation, messages)
        attachments = Attachments(self._info, request.read_blob)
        for message in messages.since(len(sent.messages)):
            for wire in await self._message(message, attachments):
                sent.add(_encode(wire))
        sent.messages = messages
        head = opened(_encode(self._fields(request)), b"messages")
        body = sent.between(head, b"]}", first=self._said_first(request))
        self._kept.put(request.conversation, sent)
        return body

    def _said_first(self, request: ModelRequest) -> bytes:
        """The system prompt as a message; it asks for the shape where nothing else can."""
        text = request.system
        if request.output is not None and not self._info.structured_output:
            text = f"{text}\n\n{_ASKED}{_encode(request.output.schema).decode()}".lstrip()
        return self._system.of(text) if text else b""

    def _fields(self, request: ModelRequest) -> dict[str, Any]:
        settings, refused = request.settings, self._refused
        fields: dict[str, Any] = {"model": self._model, "stream": True}
        if not refused.stream_options:
            fields["stream_options"] = {"include_usage": True}
        if request.tools:
            fields["tools"] = msgspec.Raw(self._tools.of(request.tools))
            if choice := _tool_choice(settings.tool_choice):
                fields["tool_choice"] = choice
        if request.output is not None:
            fields["response_format"] = self._format(request)
        if settings.max_tokens is not None:
            new = self._server.is_openai or self._server.is_azure or refused.max_tokens
            fields["max_completion_tokens" if new else "max_tokens"] = settings.max_tokens
        if settings.stop:
            fields["stop"] = settings.stop
        for name in ("temperature", "top_p", "seed"):
            if (value := getattr(settings, name)) is not None:
                fields[name] = value
        if thinking := effort(self._model, settings.reasoning):
            fields["reasoning_effort"] = thinking
        if self._server.is_openai and request.conversation:
            fields["prompt_cache_key"] = request.conversation
        return fields

    def _format(self, request: ModelRequest) -> dict[str, Any]:
        output = request.output
        if output is None or not self._info.structured_output:
            return {"type": "json_object"}
        schema = {
            "name": schema_name(output.name),
            "schema": output.schema,
            "strict": allows_strict(output.schema),
        }
        return {"type": "json_schema", "json_schema": schema}

    async def _message(self, message: Message, attachments: Attachments) -> list[dict[str, Any]]:
        match message.role:
            case Role.SYSTEM:
                return [{"role": "system", "content": message.text}]
            case Role.USER:
                parts = await _parts(message.content, attachments)
                return [{"role": "user", "content": _shortest(parts)}] if parts else []
            case Role.ASSISTANT:
                return self._assistant(message)
            case Role.TOOL:
                return await _results(message, attachments)

    def _assistant(self, message: Message) -> list[dict[str, Any]]:
        wire: dict[str, Any] = {"role": "assistant", "content": None}
        calls = [_call(block) for block in message.content if isinstance(block, ToolCall)]
        text = "".join(block.text for block in message.content if isinstance(block, Text))
        refusal = "".join(block.text for block in message.content if isinstance(block, Refusal))
        if refusal and self._server.is_openai:
            wire["refusal"] = refusal
        else:
            text += refusal
        if text:
            wire["content"] = text
        if calls:
            wire["tool_calls"] = calls
            wire.update(self._thinking(message, text))
        return [wire] if text or refusal or calls else []

    def _thinking(self, message: Message, text: str) -> dict[str, Any]:
        for block in message.content:
            if isinstance(block, Reasoning) and block.origin == self.origin and block.native:
                fields: dict[str, Any] = msgspec.json.decode(block.native)
                if "thinking" not in fields:
                    return fields
                thought = [{"type": "text", "text": fields["thinking"]}]
                said = [{"type": "text", "text": text}] if text else []
                return {"content": [{"type": "thinking", "thinking": thought}, *said]}
        return {}


def _encode_system(text: str) -> bytes:
    return _encode({"role": "system", "content": text})


def _encode_tools(tools: tuple[ToolSpec, ...]) -> bytes:
    return _encode([{"type": "function", "function": function(tool)} for tool in tools])


def _call(call: ToolCall) -> dict[str, Any]:
    if call.origin == ORIGIN and call.native == CUSTOM:
        custom = {"name": call.name, "input": call.arguments}
        return {"id": call.id, "type": "custom", "custom": custom}
    named = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": named}


async def _results(message: Message, attachments: Attachments) -> list[dict[str, Any]]:
    """One message for each result, then one with all that a tool message cannot hold."""
    wire: list[dict[str, Any]] = []
    shown: list[dict[str, Any]] = []
    for result in message.tool_results:
        told = []
        for block in result.content:
            if isinstance(block, Text):
                told.append(block.text)
            else:
                part = await _part(block, attachments)
                if part["type"] == "text":
                    told.append(part["text"])
                else:
                    told.append(_SHOWN_BELOW)
                    shown += ({"type": "text", "text": f"{_SHOWN} {result.call_id}"}, part)
        wire.append({"role": "tool", "tool_call_id": result.call_id, "content": "\n".join(told)})
    return [*wire, {"role": "user", "content": shown}] if shown else wire


async def _parts(blocks: tuple[Block, ...], attachments: Attachments) -> list[dict[str, Any]]:
    return [
        await _part(block, attachments)
        for block in blocks
        if isinstance(block, Text | Image | File)
    ]


async def _part(block: Text | Image | File, attachments: Attachments) -> dict[str, Any]:
    if isinstance(block, Text):
        return {"type": "text", "text": block.text}
    if isinstance(block, Image):
        url = await attachments.image_url(block)
        if url is None:
            return {"type": "text", "text": left_out(block)}
        return {"type": "image_url", "image_url": {"url": url}}
    if text := await attachments.file_text(block):
        return {"type": "text", "text": text}
    if data := await attachments.file_url(block):
        file = {"filename": block.name or "file", "file_data": data}
        return {"type": "file", "file": file}
    return {"type": "text", "text": left_out(block)}


def _shortest(parts: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """A single text as a string, which every server understands."""
    if len(parts) == 1 and parts[0]["type"] == "text":
        return str(parts[0]["text"])
    return parts


def _tool_choice(choice: str) -> str | dict[str, Any] | None:
    if choice in ("", "auto"):
        return None
    if choice in ("none", "required"):
        return choice
    return {"type": "function", "function": {"name": choice}}

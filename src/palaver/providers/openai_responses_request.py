"""Requests of the Responses API, without state on the server (`store: false`).

Everything goes back in `input`: reasoning items exactly as they came, with their encrypted
content, and only where the item that they led to follows; items that Palaver does not interpret as
they came. Messages and calls are written without item ids, which the server would look up in vain.
The API knows neither stop sequences nor seeds; those settings have no effect here.
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
    Unknown,
)
from palaver.providers.base import ModelInfo, ModelRequest, ToolSpec
from palaver.providers.fragments import Body, EncodedMessages, Kept, Latest, same_tools
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
from palaver.providers.openai_responses import CUSTOM, ORIGIN

_encode = msgspec.json.Encoder().encode


class ResponsesRequests:
    """Writes bodies. A message is encoded once, whatever the number of requests that hold it."""

    def __init__(
        self,
        *,
        model: str,
        server: Server,
        info: ModelInfo,
        refused: Refused,
        background: bool = False,
    ) -> None:
        self._model, self._server, self._info, self._refused = model, server, info, refused
        self._background = background
        self.origin = ORIGIN if server.is_openai else f"{ORIGIN}@{server.host}"
        """Of items that only the server that wrote them can read."""
        self._kept = Kept(EncodedMessages)
        self._system: Latest[str] = Latest(_encode)
        self._tools = Latest(_encode_tools, same=same_tools)

    async def body(self, request: ModelRequest) -> Body:
        """The request as JSON. Raises NotFound or InvalidInput for missing attachments."""
        messages = History.of(request.messages)
        sent = self._kept.take(request.conversation, messages)
        attachments = Attachments(self._info, request.read_blob)
        before = sent.messages[-1] if sent.messages else None
        for message in messages.since(len(sent.messages)):
            for item in await self._items(message, before, attachments):
                sent.add(item)
            before = message
        sent.messages = messages
        body = sent.between(opened(_encode(self._fields(request)), b"input"), b"]}")
        self._kept.put(request.conversation, sent)
        return body

    def _fields(self, request: ModelRequest) -> dict[str, Any]:
        settings = request.settings
        fields: dict[str, Any] = {"model": self._model, "stream": True, "store": self._background}
        if self._background:
            fields["background"] = True
        if not self._refused.encrypted:
            fields["include"] = ["reasoning.encrypted_content"]
        if request.system:
            fields["instructions"] = msgspec.Raw(self._system.of(request.system))
        if request.tools:
            fields["tools"] = msgspec.Raw(self._tools.of(request.tools))
            if choice := _tool_choice(settings.tool_choice):
                fields["tool_choice"] = choice
        if request.output is not None:
            fields["text"] = {
                "format": {
                    "type": "json_schema",
                    "name": schema_name(request.output.name),
                    "schema": request.output.schema,
                    "strict": allows_strict(request.output.schema),
                }
            }
        if reasoning := self._reasoning(request):
            fields["reasoning"] = reasoning
        if settings.max_tokens is not None:
            fields["max_output_tokens"] = settings.max_tokens
        for name in ("temperature", "top_p"):
            if (value := getattr(settings, name)) is not None:
                fields[name] = value
        if self._server.is_openai and request.conversation:
            fields["prompt_cache_key"] = request.conversation
        return fields

    def _reasoning(self, request: ModelRequest) -> dict[str, str]:
        wanted = request.settings.reasoning
        if not self._info.reasoning and wanted in (None, "off"):
            return {}  # models that do not reason refuse the field
        fields = {} if self._refused.summary or wanted == "off" else {"summary": "auto"}
        if thinking := effort(self._model, wanted):
            fields["effort"] = thinking
        return fields

    async def _items(
        self, message: Message, before: Message | None, attachments: Attachments
    ) -> list[bytes]:
        match message.role:
            case Role.SYSTEM:
                return [_said("developer", [{"type": "input_text", "text": message.text}])]
            case Role.USER:
                parts = [
                    await _part(block, attachments)
                    for block in message.content
                    if isinstance(block, Text | Image | File)
                ]
                return [_said("user", parts)] if parts else []
            case Role.ASSISTANT:
                return self._assistant(message)
            case Role.TOOL:
                return await _results(message, before, attachments)

    def _assistant(self, message: Message) -> list[bytes]:
        items: list[bytes] = []
        thoughts: list[bytes] = []
        for block in message.content:
            if isinstance(block, Reasoning):
                if self._goes_back(block):
                    thoughts.append(block.native.encode())
                continue
            item = _output(block, self.origin)
            if item is not None:
                items += (*thoughts, item)
                thoughts.clear()
        return items

    def _goes_back(self, block: Reasoning) -> bool:
        if block.origin != self.origin or not block.native:
            return False
        # Without its encrypted content OpenAI would look for it on the server.
        return bool(block.encrypted) or not (self._server.is_openai or self._server.is_azure)


def _encode_tools(tools: tuple[ToolSpec, ...]) -> bytes:
    # Strict is this API's default, and refuses most schemas.
    return _encode([{"type": "function", **function(t), "strict": False} for t in tools])


def _said(role: str, parts: list[dict[str, Any]]) -> bytes:
    return _encode({"type": "message", "role": role, "content": parts})


def _output(block: Block, own: str) -> bytes | None:
    match block:
        case Text(text=text) if text:
            return _said("assistant", [{"type": "output_text", "text": text}])
        case Refusal(text=text):
            return _said("assistant", [{"type": "refusal", "refusal": text}])
        case ToolCall() if _is_custom(block):
            named = {"call_id": block.id, "name": block.name, "input": block.arguments}
            return _encode({"type": "custom_tool_call", **named})
        case ToolCall():
            named = {"call_id": block.id, "name": block.name, "arguments": block.arguments}
            return _encode({"type": "function_call", **named})
        case Unknown(origin=origin, raw=raw) if origin == own:
            return raw.encode()
        case _:
            return None


def _is_custom(call: ToolCall) -> bool:
    return call.origin == ORIGIN and call.native == CUSTOM


async def _results(
    message: Message, before: Message | None, attachments: Attachments
) -> list[bytes]:
    custom = {call.id for call in before.tool_calls if _is_custom(call)} if before else set()
    items = []
    for result in message.tool_results:
        output: str | list[dict[str, Any]] = result.text
        if any(not isinstance(block, Text) for block in result.content):
            output = [await _part(block, attachments) for block in result.content]
        kind = "custom_tool_call_output" if result.call_id in custom else "function_call_output"
        items.append(_encode({"type": kind, "call_id": result.call_id, "output": output}))
    return items


async def _part(block: Text | Image | File, attachments: Attachments) -> dict[str, Any]:
    if isinstance(block, Text):
        return {"type": "input_text", "text": block.text}
    if isinstance(block, Image):
        url = await attachments.image_url(block)
        if url is None:
            return {"type": "input_text", "text": left_out(block)}
        return {"type": "input_image", "image_url": url, "detail": "auto"}
    if text := await attachments.file_text(block):
        return {"type": "input_text", "text": text}
    if block.url and attachments.info.files:
        return {"type": "input_file", "file_url": block.url}
    if data := await attachments.file_url(block):
        return {"type": "input_file", "filename": block.name or "file", "file_data": data}
    return {"type": "input_text", "text": left_out(block)}


def _tool_choice(choice: str) -> str | dict[str, Any] | None:
    if choice in ("", "auto"):
        return None
    return choice if choice in ("none", "required") else {"type": "function", "name": choice}

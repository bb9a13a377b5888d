"""A request of the Messages API, as bytes.

Every message is encoded once and kept (`Turns`); a body is what is kept, the new messages and a
small head. Cache marks are put into copies of the last blocks, so they never spoil what is kept.

Where the cache marks go: behind system prompt and tools, which all turns share, and behind the
newest and the second newest user message. The provider looks back only 20 blocks from a mark, so
the older of the two finds what the previous request wrote even after many parallel calls.
Source: https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from palaver.domain.errors import InvalidRequest, NotFound
from palaver.domain.history import History
from palaver.domain.ids import BlobId
from palaver.domain.messages import File, Image, Message, Reasoning, Role, StopReason, ToolResult
from palaver.domain.values import GenerationSettings
from palaver.providers.anthropic_answer import ORIGIN
from palaver.providers.anthropic_blocks import Blobs, Renamed, call_ids, encode_blocks
from palaver.providers.anthropic_models import Generation
from palaver.providers.anthropic_schema import accepted
from palaver.providers.anthropic_turns import Turns, marked
from palaver.providers.base import BlobReader, ModelInfo, ModelRequest, ToolSpec
from palaver.providers.fragments import Body, Kept, Latest, same_tools

DEFAULT_MAX_TOKENS = 8192
CACHEABLE_BYTES = 4096
"""About 1,024 tokens, the least that most models cache."""
_encode = msgspec.json.Encoder().encode


class RequestEncoder:
    """Makes bodies for one model. `provider` is the part of `info.name` before the colon."""

    def __init__(self, *, model: str, info: ModelInfo, provider: str) -> None:
        self._model, self._info, self._ours = model, info, f"{provider}:"
        self._generation = Generation.of(model)
        self._kept = Kept(Turns)
        self._system = Latest(_encode_system)
        self._tools = Latest(_encode_tools, same=same_tools)

    async def encode(self, request: ModelRequest) -> Body:
        """The body. Raises InvalidRequest when a message needs blobs and nothing reads them."""
        turns, last = await self._taken_turns(request)
        texts = (request.system, *turns.system)
        system = self._system.of(texts)
        tools = self._tools.of(request.tools)
        pieces = [_encode(self._head(request))[:-1]]
        size = len(system) + len(tools)
        if system:
            blocks = marked(system) if size >= CACHEABLE_BYTES else system
            pieces += b',"system":[', blocks, b"]"
        if tools:
            alone = not system and size >= CACHEABLE_BYTES
            pieces += b',"tools":[', marked(tools) if alone else tools, b"]"
        worth_it = size + turns.size >= CACHEABLE_BYTES
        head = b"".join([*pieces, b',"messages":['])
        body = turns.between(head, b"]}", last=last, mark=worth_it)
        self._kept.put(request.conversation, turns)
        return body

    async def _taken_turns(self, request: ModelRequest) -> tuple[Turns, bytes]:
        """All messages as turns, but for an answer at the end that is to be continued."""
        messages = settled = History.of(request.messages)
        last = messages[-1] if messages else None
        continued = last is not None and last.role is Role.ASSISTANT
        if continued:
            settled = messages.first(len(messages) - 1)
        turns = self._kept.take(request.conversation, settled)
        for message in settled.since(len(turns.messages)):
            await self._add(turns, message, request.read_blob)
        turns.messages = settled
        if last is None or not continued:
            return turns, b""
        renamed = call_ids(last, set(turns.seen))
        blobs = await _read(last, request.read_blob)
        return turns, self._encoded(last, renamed, blobs, last=True)

    async def _add(self, turns: Turns, message: Message, read_blob: BlobReader | None) -> None:
        if message.role is Role.SYSTEM and not turns.begun:
            turns.system.append(message.text)
            return
        speaks = message.role is Role.ASSISTANT
        if speaks:
            turns.renamed = call_ids(message, turns.seen)
        blobs = await _read(message, read_blob)
        turns.add(self._encoded(message, turns.renamed, blobs, last=False), speaks=speaks)

    def _encoded(self, message: Message, renamed: Renamed, blobs: Blobs, *, last: bool) -> bytes:
        return encode_blocks(
            message,
            info=self._info,
            ours=message.model.startswith(self._ours),
            renamed=renamed,
            blobs=blobs,
            last=last,
        )

    def _head(self, request: ModelRequest) -> dict[str, Any]:
        settings = request.settings
        limit = settings.max_tokens or self._info.max_output or DEFAULT_MAX_TOKENS
        head: dict[str, Any] = {"model": self._model, "max_tokens": limit, "stream": True}
        config: dict[str, Any] = {}
        thinking = self._thinking(request, limit)
        if thinking is not None:
            head["thinking"] = thinking
        elif self._generation.samples:
            head |= _sampling(settings)
        if effort := self._generation.effort(settings.reasoning):
            config["effort"] = effort
        if stops := [text for text in settings.stop if text.strip()]:
            head["stop_sequences"] = stops
        if choice := self._choice(request):
            head["tool_choice"] = choice
        if request.output is not None:
            config["format"] = {"type": "json_schema", "schema": accepted(request.output.schema)}
        if config:
            head["output_config"] = config
        return head

    def _thinking(self, request: ModelRequest, limit: int) -> dict[str, Any] | None:
        generation, wanted = self._generation, request.settings.reasoning
        if _forced(request) and generation.can_be_forced:
            return generation.no_thinking()  # the two exclude each other
        if wanted is None:
            return generation.default_thinking()
        if wanted == "off" or _continued(request.messages):
            return generation.no_thinking()
        if generation.wants_thinking_first and not _thought(request.messages):
            return None
        return generation.thinking(wanted, limit=limit)

    def _choice(self, request: ModelRequest) -> dict[str, str] | None:
        choice = request.settings.tool_choice
        if not request.tools or choice in ("", "auto"):
            return None
        if choice == "none":
            return {"type": "none"}
        if not self._generation.can_be_forced:
            return None
        return {"type": "any"} if choice == "required" else {"type": "tool", "name": choice}


def _encode_system(texts: tuple[str, ...]) -> bytes:
    said = [{"type": "text", "text": text} for text in texts if text.strip()]
    return b",".join(map(_encode, said))


def _encode_tools(tools: tuple[ToolSpec, ...]) -> bytes:
    return b",".join(_encode(_tool(spec)) for spec in tools)


def _tool(spec: ToolSpec) -> dict[str, Any]:
    made: dict[str, Any] = {"name": spec.name}
    if spec.description:
        made["description"] = spec.description
    return {**made, "input_schema": {"type": "object", **spec.schema}}


def _sampling(settings: GenerationSettings) -> dict[str, Any]:
    # Newer models refuse the two together.
    if settings.temperature is not None:
        return {"temperature": min(settings.temperature, 1.0)}
    return {} if settings.top_p is None else {"top_p": settings.top_p}


def _forced(request: ModelRequest) -> bool:
    """Whether the model must call a tool."""
    return bool(request.tools) and request.settings.tool_choice not in ("", "auto", "none")


def _continued(messages: Sequence[Message]) -> bool:
    """An answer of ours that the model shall continue excludes thinking; a paused one does not."""
    last = messages[-1] if messages else None
    return last is not None and last.role is Role.ASSISTANT and last.stop is not StopReason.PAUSE


def _thought(messages: Sequence[Message]) -> bool:
    """Within a round of tools a thinking budget is accepted only if the round began by thinking."""
    if len(messages) < 2 or messages[-1].role is not Role.TOOL:
        return True
    first = next(iter(messages[-2].content), None)
    return isinstance(first, Reasoning) and first.origin == ORIGIN and not _is_loose(first)


def _is_loose(thinking: Reasoning) -> bool:
    return not (thinking.signature or thinking.encrypted)


async def _read(message: Message, read_blob: BlobReader | None) -> Blobs:
    """The bytes of every picture and file of the message."""
    blobs: dict[BlobId, bytes | None] = {}
    for block in message.content:
        for part in block.content if isinstance(block, ToolResult) else (block,):
            if not isinstance(part, Image | File) or part.blob is None or part.blob in blobs:
                continue
            if read_blob is None:
                raise InvalidRequest("a message refers to a file and the request cannot read files")
            try:
                blobs[part.blob] = await read_blob(part.blob)
            except NotFound:
                blobs[part.blob] = None
    return blobs

"""A request of the Messages API, as bytes.

Every message is encoded once and kept (`Fragments`); a turn's body is a join of what is kept, the
new messages and a small head. Cache marks are put into copies of the last blocks while joining, so
they never spoil what is kept.

Where the cache marks go: behind system prompt and tools, which all turns share, and behind the
newest and the second newest user message. The provider looks back only 20 blocks from a mark, so
the older of the two finds what the previous request wrote even after many parallel calls.
Source: https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from palaver.domain.errors import InvalidRequest, NotFound
from palaver.domain.ids import BlobId
from palaver.domain.messages import File, Image, Message, Reasoning, Role, StopReason, ToolResult
from palaver.domain.values import GenerationSettings
from palaver.providers.anthropic_answer import ORIGIN
from palaver.providers.anthropic_blocks import Blobs, Renamed, call_ids, encode_blocks
from palaver.providers.anthropic_models import Generation
from palaver.providers.anthropic_schema import accepted
from palaver.providers.base import BlobReader, ModelInfo, ModelRequest, ToolSpec
from palaver.providers.fragments import Fragments

DEFAULT_MAX_TOKENS = 8192
CACHEABLE_BYTES = 4096
"""About 1,024 tokens, the least that most models cache."""
_MARK = b',"cache_control":{"type":"ephemeral"}}'
_encode = msgspec.json.Encoder().encode


class RequestEncoder:
    """Makes bodies for one model. `provider` is the part of `info.name` before the colon."""

    def __init__(self, *, model: str, info: ModelInfo, provider: str) -> None:
        self._model, self._info, self._ours = model, info, f"{provider}:"
        self._generation = Generation.of(model)
        self._fragments = Fragments()
        self._tools: tuple[tuple[ToolSpec, ...], bytes] = ((), b"")

    async def encode(self, request: ModelRequest) -> bytes:
        """The body. Raises InvalidRequest when a message needs blobs and nothing reads them."""
        first = next(
            (i for i, m in enumerate(request.messages) if m.role is not Role.SYSTEM),
            len(request.messages),
        )
        leading = [request.messages[i].text for i in range(first)]
        system = [text for text in (request.system, *leading) if text.strip()]
        groups = await self._groups(request, first)
        tools = self._encoded_tools(request.tools)
        pieces = [_encode(self._head(request))[:-1]]
        size = sum(map(len, system)) + len(tools)
        if system:
            blocks = b",".join(_encode({"type": "text", "text": text}) for text in system)
            pieces += b',"system":[', _marked(blocks) if size >= CACHEABLE_BYTES else blocks, b"]"
        if tools:
            alone = not system and size >= CACHEABLE_BYTES
            pieces += b',"tools":[', _marked(tools) if alone else tools, b"]"
        pieces += b',"messages":[', _joined(groups, size), b"]}"
        return b"".join(pieces)

    async def _groups(self, request: ModelRequest, first: int) -> list[tuple[bool, list[bytes]]]:
        """Runs of messages of one side: (whether the assistant speaks, their encoded blocks).

        The API wants the sides to take turns and the user to begin.
        """
        groups: list[tuple[bool, list[bytes]]] = []
        seen: set[str] = set()
        renamed = Renamed()
        final = len(request.messages) - 1
        for number, message in enumerate(request.messages):
            if number < first:
                continue
            speaks = message.role is Role.ASSISTANT
            if speaks:
                renamed = call_ids(message, seen)
            loose = speaks and number == final
            fragment = None if renamed or loose else self._fragments.get(message)
            if fragment is None:
                blobs = await _read(message, request.read_blob)
                fragment = self._encoded(message, renamed, blobs, last=loose)
                if not (renamed or loose):
                    self._fragments.put(message, fragment)
            if not fragment:
                continue
            if not groups and speaks:
                groups.append((False, [b'{"type":"text","text":"(The conversation goes on.)"}']))
            if groups and groups[-1][0] is speaks:
                groups[-1][1].append(fragment)
            else:
                groups.append((speaks, [fragment]))
        return groups

    def _encoded(self, message: Message, renamed: Renamed, blobs: Blobs, *, last: bool) -> bytes:
        return encode_blocks(
            message,
            info=self._info,
            ours=message.model.startswith(self._ours),
            renamed=renamed,
            blobs=blobs,
            last=last,
        )

    def _encoded_tools(self, tools: tuple[ToolSpec, ...]) -> bytes:
        if tools is not self._tools[0]:
            self._tools = (tools, b",".join(_encode(_tool(spec)) for spec in tools))
        return self._tools[1]

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


def _joined(groups: list[tuple[bool, list[bytes]]], size: int) -> bytes:
    """The messages, with marks behind the two newest user messages where a cache would pay."""
    size += sum(len(fragment) for _, fragments in groups for fragment in fragments)
    users = [number for number, (speaks, _) in enumerate(groups) if not speaks]
    marked = users[-2:] if size >= CACHEABLE_BYTES else ()
    pieces: list[bytes] = []
    for number, (speaks, fragments) in enumerate(groups):
        blocks = b",".join(fragments)
        pieces += (
            b'{"role":"assistant","content":[' if speaks else b'{"role":"user","content":[',
            _marked(blocks) if number in marked else blocks,
            b"]}",
            b",",
        )
    return b"".join(pieces[:-1])


def _marked(blocks: bytes) -> bytes:
    """The same blocks with a cache mark on the last one."""
    return blocks[:-1] + _MARK


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

"""What there is to choose of: models and tools."""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query
from starlette.responses import Response

from palaver.domain.values import Effect
from palaver.environment import KEYS
from palaver.providers import catalogue
from palaver.providers.base import ModelInfo
from palaver.server.core import Caller, Reader
from palaver.server.paging import Cursor, Limit, sliced
from palaver.server.schema import answers, reply

router = APIRouter(tags=["catalogue"])


class ToolLine(msgspec.Struct, frozen=True):
    """A tool of the server's."""

    name: str
    description: str
    parameters_schema: dict[str, Any]
    effect: Effect
    """What it does to the world."""
    asks: bool
    """Whether each call waits for somebody who may approve it."""
    enabled: bool


class ToolPage(msgspec.Struct, frozen=True):
    """Some of the tools, by name."""

    items: tuple[ToolLine, ...]
    cursor: str | None = None


class ModelLine(msgspec.Struct, frozen=True):
    """What is known of a model; null: not known. Prices are USD per million tokens."""

    name: str
    """`provider:model`, as a conversation's preferences name it."""
    usable: bool
    """Whether the server has a key for its provider."""
    is_default: bool
    window: int | None
    """Tokens, in and out together."""
    max_output: int | None
    input_usd: float | None
    output_usd: float | None
    images: bool
    files: bool
    reasoning: bool
    structured_output: bool


class ModelPage(msgspec.Struct, frozen=True):
    """Some of the known models; others may well exist."""

    items: tuple[ModelLine, ...]
    cursor: str | None = None


@router.get("/tools", responses=answers(200, ToolPage, "A page."), response_model=None)
async def list_tools(caller: Reader, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """The tools that the server offers to models."""
    lines = sorted(
        (
            ToolLine(
                each.name,
                each.description,
                each.parameters_schema,
                each.effect,
                each.asks,
                each.is_enabled,
            )
            for each in caller.manager.tools.definitions()
        ),
        key=lambda line: line.name,
    )
    return reply(ToolPage(*sliced(lines, limit=limit, cursor=cursor)))


@router.get("/models", responses=answers(200, ModelPage, "A page."), response_model=None)
async def list_models(
    caller: Reader,
    limit: Limit = 50,
    cursor: Cursor = None,
    q: Annotated[str, Query(max_length=100, description="A part of the name.")] = "",
    usable: Annotated[bool, Query(description="Only those that the server has a key for.")] = True,
) -> Response:
    """Models by provider and name, the server's own choice first."""
    lines = [line for line in _lines(caller) if line.usable or not usable]
    found = [line for line in lines if q.lower() in line.name.lower()]
    return reply(ModelPage(*sliced(found, limit=limit, cursor=cursor)))


def _lines(caller: Caller) -> list[ModelLine]:
    parts = caller.server.parts
    chosen = [parts.models.default, *parts.fallbacks]
    environment = parts.environment
    usable = {"offline", *environment.keys, *environment.addresses}
    listed = [info for name in ("offline", *KEYS) for info in catalogue.known(name)]
    own = [parts.models(name).info for name in dict.fromkeys(chosen)]
    names = {info.name for info in own}
    return [
        _line(
            info, usable=info.name in names or info.name.partition(":")[0] in usable, chosen=chosen
        )
        for info in (*own, *(info for info in listed if info.name not in names))
    ]


def _line(info: ModelInfo, *, usable: bool, chosen: list[str]) -> ModelLine:
    return ModelLine(
        name=info.name,
        usable=usable,
        is_default=info.name == chosen[0],
        window=info.window,
        max_output=info.max_output,
        input_usd=info.input_usd,
        output_usd=info.output_usd,
        images=info.images,
        files=info.files,
        reasoning=info.reasoning,
        structured_output=info.structured_output,
    )

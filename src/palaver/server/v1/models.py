"""The models that clients may name."""

import time
from collections.abc import Sequence
from typing import Literal

import msgspec
from fastapi import APIRouter
from starlette.responses import Response

from palaver.domain.errors import ConfigurationError, ModelNotFound
from palaver.server.core import Reader
from palaver.server.schema import reply
from palaver.server.v1.errors import answers
from palaver.wiring import Models, Parts

router = APIRouter(tags=["openai"])
DEFAULTS = ("", "default", "palaver")
"""Names for the model that the server was started with."""
OFFLINE = "offline"
MAX_NAME = 128
_OPEN = ("anthropic", "openai")
"""Providers whose models may be named though the server was not told of them. LangChain's may not:
their names say which packages are imported."""
_STARTED = int(time.time())


class ListedModel(msgspec.Struct, frozen=True):
    """A model, `provider:model`."""

    id: str
    created: int
    """When the server was started: providers do not say when they made a model."""
    owned_by: str
    object: Literal["model"] = "model"


class ListedModels(msgspec.Struct, frozen=True):
    """All that this server was told of; it takes others that its providers have."""

    data: tuple[ListedModel, ...]
    object: Literal["list"] = "list"


def listed(parts: Parts) -> Sequence[str]:
    """The server's own model, the ones that stand in for it, and the one that needs nobody."""
    return tuple(dict.fromkeys((parts.models.default, *parts.fallbacks, OFFLINE)))


def named(parts: Parts, name: str) -> str:
    """The model that a client means: by its whole name, by what is behind the provider's, or the
    server's own. Raises ModelNotFound."""
    known = listed(parts)
    if name in DEFAULTS:
        return known[0]
    if len(name) > MAX_NAME:
        raise ModelNotFound("there is no model of so long a name")
    found = next((each for each in known if name in (each, each.partition(":")[2])), name)
    _check(parts.models, found, known)
    return found


def chosen(parts: Parts, name: str) -> str:
    """The same; nothing where the client leaves the choice to the conversation or the server."""
    return "" if name in DEFAULTS else named(parts, name)


def _check(models: Models, name: str, known: Sequence[str]) -> None:
    try:
        if name not in known and name.partition(":")[0] not in _OPEN:
            raise ConfigurationError("not by strangers")
        models(name)
    except ConfigurationError as error:
        raise ModelNotFound(
            f"there is no model {name[:100]!r} here", hint="GET /v1/models lists them."
        ) from error


@router.get("/models", responses=answers(ListedModels), response_model=None)
async def openai_models(caller: Reader) -> Response:
    """The models that this server was told of, its own first."""
    return reply(ListedModels(tuple(_shown(name) for name in listed(caller.server.parts))))


@router.get(
    "/models/{model:path}", responses=answers(ListedModel, errors=(404,)), response_model=None
)
async def openai_model(caller: Reader, model: str) -> Response:
    """One of them, also by its short name."""
    return reply(_shown(named(caller.server.parts, model)))


def _shown(name: str) -> ListedModel:
    return ListedModel(name, _STARTED, name.partition(":")[0])

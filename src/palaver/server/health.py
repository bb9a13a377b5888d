"""Whether the server lives, whether it takes work, and what it is."""

from typing import Literal

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response

from palaver import __version__
from palaver.server.core import server_of
from palaver.server.schema import OPEN, answers, reply

router = APIRouter(tags=["server"])


class Health(msgspec.Struct, frozen=True):
    """`ready` or `live`, or why not."""

    status: Literal["live", "ready", "draining"]


class Version(msgspec.Struct, frozen=True):
    """What runs here."""

    name: str
    version: str
    api: int = 1
    """Raised when something is taken away or changes its meaning; additions don't."""


READY = answers(200, Health) | {503: answers(503, Health, "Not now: the server ends.")[503]}


@router.get("/health/live", openapi_extra=OPEN, responses=answers(200, Health), response_model=None)
async def health_live() -> Response:
    """Whether the process answers at all. Needs no key."""
    return reply(Health("live"))


@router.get("/health/ready", openapi_extra=OPEN, responses=READY, response_model=None)
async def health_ready(request: Request) -> Response:
    """Whether new work is taken: 503 while the server ends. Needs no key."""
    if server_of(request).is_draining:
        return reply(Health("draining"), 503)
    return reply(Health("ready"))


@router.get("/version", openapi_extra=OPEN, responses=answers(200, Version), response_model=None)
async def version() -> Response:
    """Name and version. Needs no key."""
    return reply(Version("palaver", __version__))

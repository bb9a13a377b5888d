"""Turns over HTTP: start one, follow it, cancel it, decide its calls."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from palaver.domain.ids import ConversationId, TurnId
from palaver.server.core import Reader, Writer
from palaver.server.schema import answers, body, read, reply
from palaver.server.sse import TurnStream
from palaver.service.conversation import OnBusy, OnUnreachable
from palaver.service.turn_status import TurnStatus
from palaver.streams.cursor import Cursor

router = APIRouter(tags=["turns"])


class NewTurn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a caller says."""

    text: str
    on_busy: OnBusy = "reject"
    on_unreachable: OnUnreachable | None = None
    stream: bool = False


class TurnStarted(msgspec.Struct, frozen=True):
    """The turn was accepted; it runs whether or not somebody follows it."""

    turn: TurnId
    conversation: ConversationId
    events: str
    """Where it can be followed."""


@router.post(
    "/conversations/{conversation}/turns",
    status_code=202,
    openapi_extra=body(NewTurn, example={"text": "What is 17 * 23?"}),
    responses=answers(202, TurnStarted, errors=(404, 409)),
    response_model=None,
)
async def start(
    request: Request,
    caller: Writer,
    conversation: str,
    idempotency_key: Annotated[str | None, Header()] = None,
) -> Response:
    """Say something. Answers 202 at once, or the turn's events where `stream` is set."""
    wanted = await read(request, NewTurn)
    opened = await caller.manager.open(conversation)
    session = await opened.start(
        wanted.text,
        on_busy=wanted.on_busy,
        on_unreachable=wanted.on_unreachable,
        idempotency_key=idempotency_key,
    )
    place = f"/api/turns/{session.turn}/events"
    if wanted.stream:
        return _streamed(TurnStream(caller.server, session, headers={"location": place}))
    return reply(
        TurnStarted(session.turn, session.conversation, place), 202, headers={"location": place}
    )


class _Streamed(Response):
    """A TurnStream as a route gives it back."""

    def __init__(self, stream: TurnStream) -> None:
        super().__init__()
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._stream(scope, receive, send)


def _streamed(stream: TurnStream) -> Response:
    return _Streamed(stream)


@router.get(
    "/turns/{turn}/events",
    responses=answers(200, None, "Server-sent events.", errors=(404, 410)),
    response_model=None,
)
async def events(
    request: Request,
    caller: Reader,
    turn: str,
    after: Annotated[str | None, Query(description="A number, or `epoch:number`.")] = None,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """Follow a turn from behind `after` (or `Last-Event-ID`) to its end."""
    session = await caller.manager.session(turn)
    at = Cursor.of(last_event_id or after or 0)
    return _streamed(TurnStream(caller.server, session, after=at))


@router.get("/turns/{turn}", responses=answers(200, TurnStatus, errors=(404,)), response_model=None)
async def status(caller: Reader, turn: str) -> Response:
    """Whether a turn is open, what it waits for, how it ended."""
    return reply(await caller.manager.turn(turn))


@router.post(
    "/turns/{turn}/cancel", responses=answers(200, TurnStatus, errors=(404,)), response_model=None
)
async def cancel(caller: Writer, turn: str) -> Response:
    """End a turn, running or held; what came is kept. One that has ended stays as it is."""
    found = await caller.manager.turn(turn)
    conversation = await caller.manager.open(found.conversation)
    opened = conversation.state.turn
    if opened is not None and opened.id == found.id:
        await conversation.cancel()
    return reply(await caller.manager.turn(turn))

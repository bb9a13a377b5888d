"""Turns over HTTP: start one, follow it, cancel it, decide its calls."""

import asyncio
from collections.abc import Sequence
from typing import Annotated

import msgspec
from fastapi import APIRouter, Header, Query, Request
from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import replace
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from palaver.domain.errors import InvalidInput
from palaver.domain.ids import CallId, ConversationId, TurnId
from palaver.domain.messages import File, Image, Text, ToolResult
from palaver.domain.stream import StreamEvent
from palaver.domain.values import ErrorInfo, TurnOutcome
from palaver.server.core import Approver, Caller, Reader, Writer
from palaver.server.errors import Draining, NotPossibleNow, about_the_state
from palaver.server.following import Snapshot
from palaver.server.given import (
    AnyId,
    Content,
    GivenBlock,
    GivenOutput,
    GivenTool,
    Key,
    Line,
    Long,
    Said,
    said,
    tools_of,
)
from palaver.server.schema import (
    EVENTS,
    STORED,
    answers,
    body,
    either,
    events,
    link,
    problems,
    read,
    reply,
)
from palaver.server.sse import TurnStream
from palaver.service.conversation import OnBusy
from palaver.service.output import OutputInvalid, OutputType, shape_of
from palaver.service.reply import Collector, Reply
from palaver.service.turn_status import TurnStatus
from palaver.settings import OnUnreachable
from palaver.streams.cursor import Cursor
from palaver.streams.session import StreamSession

router = APIRouter(tags=["turns"])
PLACE = r"^([0-9]{1,9}:)?[0-9]{1,15}$"
WAIT_S = 60.0
"""A caller that waits for an answer is told where to find it after so long at most."""
Wait = Annotated[
    float | None,
    Query(
        ge=0,
        le=WAIT_S,
        allow_inf_nan=False,
        description="Seconds to wait for the whole answer (200); 202 when it takes longer.",
    ),
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        description="The same message with the same key is accepted once; asking again leads to "
        "the same turn.",
    ),
]
Accept = Annotated[str | None, Header(include_in_schema=False)]


@either("text", "content")
class NewTurn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a caller says: `text`, or `content` with pictures and files."""

    text: Said | UnsetType = UNSET
    content: Content | UnsetType = UNSET
    on_busy: OnBusy = "reject"
    """While another turn is open: 409, wait for it, or cancel it."""
    on_unreachable: OnUnreachable | None = None
    output: GivenOutput | None = None
    client_tools: tuple[GivenTool, ...] = ()
    """Tools that the caller runs; their calls wait for `results`."""
    own_tools: bool = True
    """Whether the server's tools are offered beside them."""
    idempotency_key: Key | None = None
    """The same as the header of that name."""
    stream: bool = False
    """Answer with the turn's events, as `Accept: text/event-stream` does."""


class AcceptedTurn(msgspec.Struct, frozen=True):
    """The turn was accepted; it runs whether or not somebody follows it."""

    turn: TurnId
    conversation: ConversationId
    events: str
    """Where it can be followed."""


LINKS = {
    name: link(operation, turn="$response.body#/turn")
    for name, operation in {
        "status": "get_turn",
        "follow": "follow_turn",
        "cancel": "cancel_turn",
        "decide": "decide_calls",
        "provide": "provide_results",
    }.items()
}


def opening(*errors: int) -> dict[int | str, dict[str, object]]:
    """`responses` of a route that opens a turn."""
    found = answers(
        202,
        AcceptedTurn,
        "The turn runs; follow it where `Location` leads.",
        errors=(404, 409, *STORED, *errors),
        location="The turn's events.",
        links=LINKS,
        example={
            "turn": "turn_01k0c8a",
            "conversation": "conv_01k0c8a",
            "events": "/api/turns/turn_01k0c8a/events",
        },
    )
    found[202]["content"] |= problems(202)[202]["content"]
    whole = answers(200, Reply, "The whole answer (`wait`), or the turn's events (`stream`).")[200]
    whole["content"] |= events(StreamEvent | Snapshot, ErrorInfo)
    return {200: whole, **found}


@router.post(
    "/conversations/{conversation}/turns",
    status_code=202,
    openapi_extra=body(NewTurn, example={"text": "What is 17 * 23?"}),
    responses=opening(),
    response_model=None,
)
async def start_turn(
    request: Request,
    caller: Writer,
    conversation: str,
    idempotency_key: IdempotencyKey = None,
    wait: Wait = None,
    accept: Accept = None,
) -> Response:
    """Say something. Answers 202 at once, with the turn's events where `stream` is set or asked for
    by `Accept`, or with the whole answer after `wait`."""
    wanted = await read(request, NewTurn)
    key = _one_key(idempotency_key, wanted.idempotency_key)
    if stream := is_streamed(accept, wanted.stream):
        caller.server.streams.check(caller.account)  # a turn begins only if it can be answered
    session = await begin(caller, conversation, replace(wanted, idempotency_key=key))
    shape = shape_of(None if wanted.output is None else wanted.output.checked())
    return await answered(caller, session, stream=stream, wait=wait, shape=shape)


async def begin(caller: Caller, conversation: str, wanted: NewTurn) -> StreamSession:
    """Say something, whatever transport it came by."""
    message = await said(caller, wanted)
    output = None if wanted.output is None else wanted.output.checked()
    check_taking(caller)
    opened = await caller.manager.open(conversation)
    return await opened.start(
        message,
        on_busy=wanted.on_busy,
        on_unreachable=wanted.on_unreachable,
        idempotency_key=wanted.idempotency_key,
        output=output,
        client_tools=tools_of(wanted.client_tools),
        own_tools=wanted.own_tools,
    )


def is_streamed(accept: str | None, field: bool) -> bool:
    """Whether the answer is to be the turn's events."""
    return field or EVENTS in (accept or "")


def check_taking(caller: Caller) -> None:
    """Raises Draining where no new turns are taken."""
    if caller.server.is_draining:
        raise Draining("the server is ending")


def _one_key(header: str | None, field: str | None) -> str | None:
    if header and field and header != field:
        raise InvalidInput("the header and the field have different idempotency keys")
    return header or field


async def answered(
    caller: Caller,
    session: StreamSession,
    *,
    stream: bool = False,
    wait: float | None = None,
    shape: OutputType | None = None,
) -> Response:
    """What a caller gets who has opened a turn."""
    place = f"/api/turns/{session.turn}/events"
    headers = {"location": place}
    if stream:
        return _Streamed(TurnStream(caller, session, headers=headers))
    if wait is not None and (whole := await _collected(session, wait, shape)) is not None:
        return reply(whole, headers=headers)
    return reply(AcceptedTurn(session.turn, session.conversation, place), 202, headers=headers)


async def _collected(session: StreamSession, wait: float, shape: OutputType | None) -> Reply | None:
    """The answer, or None where it takes longer. A turn that failed is an answer, too."""
    collector = Collector(session.turn)
    try:
        async with asyncio.timeout(wait):
            async for event in session.events(until_suspended=True):
                collector.add(event)
    except TimeoutError:
        return None
    made = collector.reply()
    if shape is None or made.outcome is not TurnOutcome.COMPLETED:
        return made
    try:
        said = "" if made.message is None else made.message.text
        return replace(made, output=shape.parse(said))
    except OutputInvalid as error:
        return replace(made, error=error.info())


class _Streamed(Response):
    """A TurnStream as a route gives it back."""

    def __init__(self, stream: TurnStream) -> None:
        super().__init__()
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._stream(scope, receive, send)


def _events() -> dict[int | str, dict[str, object]]:
    found = answers(200, None, "Server-sent events, to the turn's end.", errors=(404,))
    found[200]["content"] = events(StreamEvent | Snapshot, ErrorInfo)
    return found


@router.get("/turns/{turn}/events", responses=_events(), response_model=None)
async def follow_turn(
    request: Request,
    caller: Reader,
    turn: str,
    after: Annotated[
        str | None, Query(pattern=PLACE, description="A number, or `epoch:number`.")
    ] = None,
    last_event_id: Annotated[str | None, Header(pattern=PLACE)] = None,
) -> Response:
    """Follow a turn from behind `after` (or `Last-Event-ID`) to its end."""
    at = Cursor.of(last_event_id or after or 0)
    session = await caller.manager.session(turn, after=at)
    return _Streamed(TurnStream(caller, session, after=at))


@router.get("/turns/{turn}", responses=answers(200, TurnStatus, errors=(404,)), response_model=None)
async def get_turn(caller: Reader, turn: str) -> Response:
    """Whether a turn is open, what it waits for, how it ended."""
    return reply(await caller.manager.turn(turn))


@router.post(
    "/turns/{turn}/cancel",
    responses=answers(200, TurnStatus, errors=(404, 409, *STORED)),
    response_model=None,
)
async def cancel_turn(caller: Writer, turn: str) -> Response:
    """End a turn, running or held; what came is kept. One that has ended stays as it is."""
    return reply(await cancel(caller, turn))


async def cancel(caller: Caller, turn: str) -> TurnStatus:
    """End a turn, whatever transport that was asked by."""
    found = await caller.manager.turn(turn)
    conversation = await caller.manager.open(found.conversation)
    opened = conversation.state.turn
    if opened is not None and opened.id == found.id:
        await conversation.cancel()
    return await caller.manager.turn(turn)


class Decision(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether a call may run."""

    call: AnyId
    approve: bool
    note: Line = ""
    """Told to the model."""


class Decisions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """About some of the calls that wait, or all of them."""

    decisions: Annotated[tuple[Decision, ...], Meta(min_length=1, max_length=100)]


@router.post(
    "/turns/{turn}/decisions",
    openapi_extra=body(
        Decisions,
        example={"decisions": [{"call": "call_1", "approve": False, "note": "Not today."}]},
    ),
    responses=answers(200, TurnStatus, errors=(404, 409, *STORED)),
    response_model=None,
)
async def decide_calls(request: Request, caller: Approver, turn: str) -> Response:
    """Allow or refuse calls that wait. After the last one the turn goes on by itself."""
    wanted = await read(request, Decisions)
    return reply(await decide(caller, turn, wanted.decisions))


async def decide(caller: Caller, turn: str, decisions: Sequence[Decision]) -> TurnStatus:
    """Allow or refuse calls, whatever transport it came by. Raises NotPossibleNow where one of them
    does not wait; then nothing was decided."""
    found = await caller.manager.turn(turn)
    conversation = await caller.manager.open(found.conversation)
    opened = conversation.state.turn
    waiting = opened.waiting if opened is not None and opened.id == found.id else ()
    for each in decisions:
        if each.call not in waiting:
            raise NotPossibleNow(
                f"no call {each.call[:80]!r} waits for a decision",
                hint="The turn lists the calls that wait.",
            )
    for each in decisions:
        with about_the_state():
            await conversation.decide(each.call, approve=each.approve, note=each.note)
    return await caller.manager.turn(turn)


@either("text", "content")
class GivenResult(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a tool of the caller's gave: `text`, or `content` with pictures and files."""

    call: AnyId
    text: Long | UnsetType = UNSET
    content: Annotated[tuple[GivenBlock, ...], Meta(max_length=100)] | UnsetType = UNSET
    failed: bool = False


class Results(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of some of the calls that wait, or all of them."""

    results: Annotated[tuple[GivenResult, ...], Meta(min_length=1, max_length=100)]


@router.post(
    "/turns/{turn}/results",
    openapi_extra=body(Results, example={"results": [{"call": "call_1", "text": "17 °C"}]}),
    responses=answers(200, TurnStatus, errors=(404, 409, *STORED)),
    response_model=None,
)
async def provide_results(request: Request, caller: Writer, turn: str) -> Response:
    """Give the results of calls of the caller's own tools. After the last one the turn goes on by
    itself. The same results may be given again."""
    wanted = await read(request, Results)
    return reply(await provide(caller, turn, wanted.results))


async def provide(caller: Caller, turn: str, results: Sequence[GivenResult]) -> TurnStatus:
    """Give results of the caller's own tools, whatever transport they came by."""
    found = await caller.manager.turn(turn)
    conversation = await caller.manager.open(found.conversation)
    ours = [await _result(caller, each) for each in results]
    with about_the_state():
        await conversation.provide(ours)
    return await caller.manager.turn(turn)


async def _result(caller: Caller, given: GivenResult) -> ToolResult:
    content = await said(caller, given)
    blocks = (Text(content),) if isinstance(content, str) else content
    shown = tuple(b for b in blocks if isinstance(b, Text | Image | File))
    return ToolResult(CallId(given.call), "", shown, failed=given.failed)

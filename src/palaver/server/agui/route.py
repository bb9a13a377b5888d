"""A run of AG-UI: the client brings its thread's messages, and gets the events of the next answer.

A thread is a conversation, kept and compacted here like any other; what the client sends of it is
matched with what is known, and where the two part, a branch begins. Tools that the client names are
run by the client, beside the server's own. A run that is left by its client goes on.
"""

from collections.abc import AsyncGenerator
from hashlib import sha256

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from palaver.domain.errors import Conflict, InvalidInput, NotFound, PalaverError
from palaver.domain.ids import TurnId
from palaver.domain.stream import TERMINAL, TurnSuspended
from palaver.domain.values import ErrorInfo, SuspendReason
from palaver.server.agui.events import Shown, Translator
from palaver.server.agui.incoming import Incoming, incoming, parsed
from palaver.server.core import Caller, Writer
from palaver.server.schema import answers
from palaver.server.sse import EventStream
from palaver.server.turns import check_taking
from palaver.service.conversation import Conversation
from palaver.streams.session import StreamSession

router = APIRouter(tags=["ag-ui"])
_INPUT = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "description": "RunAgentInput of AG-UI 1.0",
                    "required": ["threadId", "runId", "messages"],
                    "properties": {
                        "threadId": {"type": "string"},
                        "runId": {"type": "string"},
                        "messages": {"type": "array", "items": {"type": "object"}},
                        "tools": {"type": ["array", "null"], "items": {"type": "object"}},
                        "context": {"type": ["array", "null"], "items": {"type": "object"}},
                        "resume": {"type": ["array", "null"], "items": {"type": "object"}},
                    },
                },
                "example": {
                    "threadId": "thread-1",
                    "runId": "run-1",
                    "messages": [{"id": "1", "role": "user", "content": "What is 17 * 23?"}],
                },
            }
        },
    }
}
ENDING = ErrorInfo("draining", "the server is ending", "Run the thread again.", retryable=True)


def _events() -> dict[int | str, dict[str, object]]:
    found = answers(200, None, "The run's events.", errors=(404, 409))
    event = {"type": "object", "properties": {"data": {"type": "string"}}, "required": ["data"]}
    found[200]["content"] = {"text/event-stream": {"schema": event}}
    return found


@router.post("/ag-ui", openapi_extra=_INPUT, responses=_events(), response_model=None)
async def run_agent(request: Request, caller: Writer) -> Response:
    """Run a thread on and stream the run's events (AG-UI 1.0)."""
    check_taking(caller)
    given = await incoming(parsed(await request.body()), caller.manager)
    conversation = await _thread(caller, given)
    session, after = await _answered(caller, conversation, given)
    return _Run(caller, given, session, after)


async def _thread(caller: Caller, given: Incoming) -> Conversation:
    """The conversation of a thread: the one that it names, else one of its own."""
    if given.thread.startswith("conv_"):
        return await caller.manager.open(given.thread)
    id = f"conv_ag{sha256(given.thread.encode()).hexdigest()[:24]}"
    try:
        return await caller.manager.open(id)
    except NotFound:
        pass
    try:
        return await caller.manager.create(id=id)
    except Conflict:  # two runs of a new thread at once
        return await caller.manager.open(id)


async def _answered(
    caller: Caller, conversation: Conversation, given: Incoming
) -> tuple[StreamSession, int]:
    """The turn that answers, and the event of it behind which this run begins."""
    if given.system and given.system != conversation.state.preferences.system:
        await conversation.set_preferences(system=given.system)
    if given.decisions:
        return await _decided(caller, conversation, given)
    aligned = await conversation.align(given.messages, on_busy="interrupt")
    if aligned.is_open:
        opened = conversation.state.turn
        assert opened is not None, "its calls wait"
        after = await _held_at(caller, opened.id)
        if not aligned.results:
            return await caller.manager.session(opened.id), max(0, after - 1)
        return await conversation.provide(aligned.results), after
    return await conversation.go_on(client_tools=given.tools), 0


async def _decided(
    caller: Caller, conversation: Conversation, given: Incoming
) -> tuple[StreamSession, int]:
    caller.principal.require("approve")
    opened = conversation.state.turn
    if opened is None or opened.held is not SuspendReason.APPROVAL:
        raise InvalidInput("no run of this thread waits for a decision")
    after = await _held_at(caller, opened.id)
    session = await caller.manager.session(opened.id)
    for decision in given.decisions:
        session = await conversation.decide(
            decision.call, approve=decision.approved, note=decision.note
        )
    return session, after


async def _held_at(caller: Caller, turn: TurnId) -> int:
    """The number of the event that says what a held turn waits for now."""
    waiting = {call.id for call in (await caller.manager.turn(turn)).waiting}
    session = await caller.manager.session(turn)
    async for batch in session.batches():
        last = batch.events[-1]
        if isinstance(last, TurnSuspended) and waiting <= {call.id for call in last.calls}:
            return batch.last
        if isinstance(last, TERMINAL):
            return batch.last
    return 0


class _Run(Response):
    """The run as a response."""

    def __init__(self, caller: Caller, given: Incoming, session: StreamSession, after: int) -> None:
        super().__init__()
        translator = Translator(given.thread, given.run, given.raw)
        self._stream = _RunStream(caller, _written(translator, session, after), translator)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._stream(scope, receive, send)


class _RunStream(EventStream):
    """Events without names or ids, and an error where the server ends before the run does."""

    def __init__(
        self, caller: Caller, chunks: AsyncGenerator[bytes, None], translator: Translator
    ) -> None:
        super().__init__(caller, chunks)
        self._translator = translator

    def _last_word(self) -> bytes:
        return _lines(self._translator.failed(ENDING))

    async def _write(self) -> None:
        async for chunk in self._chunks:
            await self._put(chunk)


async def _written(
    translator: Translator, session: StreamSession, after: int
) -> AsyncGenerator[bytes, None]:
    yield _lines(translator.begin())
    try:
        async for first, events, _ in session.batches(after):
            shown: list[Shown] = []
            for event in events:
                shown += translator.add(event)
            if shown:
                yield _lines(shown)
            newest = first + len(events) - 1 >= session.last
            if newest and isinstance(events[-1], TurnSuspended):
                return
    except PalaverError as error:
        yield _lines(translator.failed(error.info()))


def _lines(shown: list[Shown]) -> bytes:
    return b"".join(b"data: %b\n\n" % msgspec.json.encode(event) for event in shown)

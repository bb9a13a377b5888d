"""Responses out of the logs: the facts about one, its events as they were, and its last state."""

from collections.abc import AsyncGenerator, Iterator, Sequence

import msgspec

from palaver.domain.errors import NotFound
from palaver.domain.events import (
    AttemptMade,
    ConversationCreated,
    MessageAdded,
    MetadataChanged,
    PreferencesChanged,
    Recorded,
    TurnClosed,
    TurnHeld,
    TurnOpened,
)
from palaver.domain.messages import Message, Reasoning, Refusal, Role, StopReason, Text
from palaver.domain.stream import (
    MessageCompleted,
    ReasoningDelta,
    StreamEvent,
    TextDelta,
    TurnCancelled,
    TurnCompleted,
    TurnFailed,
    TurnInterrupted,
    TurnSuspended,
    UsageReported,
)
from palaver.domain.values import (
    ErrorInfo,
    SessionMetadata,
    SuspendReason,
    TurnOutcome,
    UserPreferences,
)
from palaver.server.core import Caller
from palaver.server.v1.responses_about import NOTE, About, Note, Part
from palaver.server.v1.responses_events import ResponseEvents
from palaver.server.v1.responses_shapes import Response
from palaver.server.v1.talk import is_end_of_part
from palaver.service.turn_status import TurnStatus
from palaver.streams.session import StreamSession

_FRAME = (
    "conversation.created",
    "preferences.changed",
    "metadata.changed",
    "turn.opened",
    "turn.held",
    "turn.closed",
)
_SAID = ("message.added", "attempt.made", "turn.held", "turn.closed")
_UNKNOWN = ErrorInfo("turn_failed", "the turn failed")


class Found(msgspec.Struct, frozen=True):
    """A response of the log: what it says of itself, and where its facts lie."""

    about: About
    status: TurnStatus
    first: int
    """The number of the fact behind which it begins."""
    last: int | None
    """The fact that ends it; None while it is in progress."""


async def find(caller: Caller, id: str) -> Found:
    """The response of this id. Costs a walk over the conversation's facts but its messages. Raises
    NotFound."""
    part = Part.of(id)
    status = await caller.manager.turn(part.turn)
    store, scope = caller.manager.store, caller.principal.scope
    facts = await store.read(scope, status.conversation, kinds=_FRAME)
    found = _framed(part, status, facts)
    if found is None:
        raise NotFound(f"no response {id!r}")
    return found


def _framed(part: Part, status: TurnStatus, facts: Sequence[Recorded]) -> Found | None:
    preferences, metadata = UserPreferences(), SessionMetadata()
    opened: TurnOpened | None = None
    about: About | None = None
    number, first = 0, 0
    for fact in facts:
        match fact.event:
            case ConversationCreated(preferences=preferences, metadata=metadata):
                pass
            case PreferencesChanged(preferences=preferences):
                pass
            case MetadataChanged(metadata=metadata) if opened is None or number:
                pass
            case TurnOpened(turn=part.turn) as opened:
                number, first = 1, fact.seq
            case _:
                pass
        if opened is None:
            continue
        if number == part.number and about is None:
            about = About(
                part=part,
                created_at=int(fact.at),
                preferences=preferences,
                tools=opened.tools,
                output=opened.output,
                note=Note.read(metadata.custom.get(NOTE, "")),
                conversation=status.conversation,
            )
        if _ends(fact, part):
            if number == part.number and about is not None:
                return Found(about, status, first, fact.seq)
            number, first = number + 1, fact.seq
    return None if about is None else Found(about, status, first, None)


def _ends(fact: Recorded, part: Part) -> bool:
    match fact.event:
        case TurnHeld(turn=part.turn, reason=SuspendReason.CLIENT_TOOL_RESULT):
            return True
        case TurnClosed(turn=part.turn):
            return True
        case _:
            return False


async def as_it_stands(caller: Caller, found: Found) -> Response:
    """The response as it is now. While it is in progress nothing is told of its output."""
    if found.last is None:
        return found.about.response("in_progress")
    events = ResponseEvents(found.about)
    facts = await caller.manager.store.read(
        caller.principal.scope,
        found.status.conversation,
        after=found.first,
        until=found.last,
        kinds=_SAID,
    )
    events.fed(list(_replayed(found.about.part, facts)))
    return events.response


def _replayed(part: Part, facts: Sequence[Recorded]) -> Iterator[StreamEvent]:
    """The events of a part of a turn, as far as its response tells of them, from its facts."""
    calls = {}
    stop = StopReason.END_TURN
    for fact in facts:
        match fact.event:
            case MessageAdded(message=message, turn=part.turn) if message.role is Role.ASSISTANT:
                stop = message.stop or stop
                calls = {call.id: call for call in message.tool_calls}
                yield from _said(message)
            case AttemptMade(turn=part.turn, usage=usage, model=model):
                yield UsageReported(usage, model)
            case TurnHeld(turn=part.turn, reason=reason, calls=waiting):
                yield TurnSuspended(reason, tuple(calls[id] for id in waiting if id in calls))
            case TurnClosed(turn=part.turn, outcome=outcome, error=error):
                yield _closed(part, outcome, error, stop)
            case _:
                pass


def _said(message: Message) -> Iterator[StreamEvent]:
    for block in message.content:
        match block:
            case Reasoning(text=text) if text:
                yield ReasoningDelta(text)
            case Text(text=text) | Refusal(text=text) if text:
                yield TextDelta(text)
            case _:
                pass
    yield MessageCompleted(message)


def _closed(
    part: Part, outcome: TurnOutcome, error: ErrorInfo | None, stop: StopReason
) -> StreamEvent:
    match outcome:
        case TurnOutcome.COMPLETED:
            return TurnCompleted(part.turn, stop)
        case TurnOutcome.FAILED:
            return TurnFailed(part.turn, error or _UNKNOWN)
        case TurnOutcome.CANCELLED:
            return TurnCancelled(part.turn)
        case TurnOutcome.INTERRUPTED:
            return TurnInterrupted(part.turn)


async def streamed(
    session: StreamSession, about: About, *, behind: int = -1
) -> AsyncGenerator[bytes, None]:
    """The events of a response behind number `behind`, as they come, to its end. Raises ResumeGap
    where the run log of its turn is no longer kept."""
    events, seen = ResponseEvents(about), 0
    parts = 1
    for told in events.begin():
        if seen > behind:
            yield told
        seen += 1
    async for batch in session.batches():
        fresh = list(batch.events)
        while parts < about.part.number and fresh:
            parts += is_end_of_part(fresh.pop(0))
        made = events.fed(_until_end_of_part(fresh))
        chunk = b"".join(made[max(0, behind + 1 - seen) :])
        seen += len(made)
        if chunk:
            yield chunk
        if events.is_over:
            return


def _until_end_of_part(events: list[StreamEvent]) -> list[StreamEvent]:
    end = next((i for i, event in enumerate(events) if is_end_of_part(event)), len(events))
    return events[: end + 1]

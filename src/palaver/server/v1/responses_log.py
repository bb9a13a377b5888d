"""Responses out of the logs: the facts about one, its events as they were, and its last state."""

from collections.abc import AsyncGenerator, Iterator, Sequence

import msgspec

from palaver.domain.branches import move
from palaver.domain.errors import Conflict, ConversationBusy, NotFound
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
from palaver.domain.ids import ConversationId, MessageId
from palaver.domain.messages import Message, Reasoning, Refusal, Role, StopReason, Text
from palaver.domain.state import ConversationState
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
from palaver.server.v1.responses_shapes import ResponseObject
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
NEWEST = 500
"""Facts that are looked at before all others."""
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
    found = _framed(part, status, facts, caller.server.parts.models.default)
    if found is None:
        raise NotFound(f"no response {id!r}")
    return found


def _framed(
    part: Part, status: TurnStatus, facts: Sequence[Recorded], default: str
) -> Found | None:
    """The response among facts. What its client said of it is noted before it begins, behind the
    end of the part before."""
    preferences, metadata = UserPreferences(), SessionMetadata()
    opened: TurnOpened | None = None
    number, first, last = 0, 0, None
    for fact in facts:
        match fact.event:
            case ConversationCreated(preferences=preferences, metadata=metadata):
                pass
            case PreferencesChanged(preferences=preferences):
                pass
            case MetadataChanged(metadata=metadata):
                pass
            case TurnOpened(turn=part.turn) as opened:
                number, first = 1, fact.seq
            case _:
                pass
        if opened is not None and _ends(fact, part):
            if number == part.number:
                last = fact.seq
                break
            number, first = number + 1, fact.seq
    if opened is None or number != part.number or (last is None and not status.open):
        return None
    about = About(
        part=part,
        created_at=int(status.started_at),
        model=preferences.model or default,
        preferences=preferences,
        tools=opened.tools,
        output=opened.output,
        note=Note.read(metadata.custom.get(NOTE, "")),
        conversation=status.conversation,
    )
    return Found(about, status, first, last)


def _ends(fact: Recorded, part: Part) -> bool:
    match fact.event:
        case TurnHeld(turn=part.turn, reason=SuspendReason.CLIENT_TOOL_RESULT):
            return True
        case TurnClosed(turn=part.turn):
            return True
        case _:
            return False


async def as_it_stands(caller: Caller, found: Found) -> ResponseObject:
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
    """The events of a response behind number `behind`, as they come, to its end. The first chunk is
    there as soon as the turn is read, and may be empty. Raises ResumeGap where the run log of its
    turn is no longer kept."""
    events, part, seen = ResponseEvents(about), 1, 0
    async for batch in session.batches():
        is_first = not seen
        made = events.begin() if is_first else []
        for run in _parted(batch.events):
            if part == about.part.number:
                made += events.fed(run)
            part += is_end_of_part(run[-1])
        chunk = b"".join(made[max(0, behind + 1 - seen) :])
        seen += len(made)
        if chunk or is_first:
            yield chunk
        if events.is_over:
            return


def _parted(events: Sequence[StreamEvent]) -> Iterator[Sequence[StreamEvent]]:
    """Events in runs that end where a part of the turn does."""
    begin = 0
    for at, event in enumerate(events, 1):
        if is_end_of_part(event) or at == len(events):
            yield events[begin:at]
            begin = at


async def given_to(caller: Caller, state: ConversationState, found: Found) -> Sequence[Message]:
    """The messages before a response: what its model was to answer."""
    said = await caller.manager.store.read(
        caller.principal.scope,
        state.id,
        after=found.first,
        until=found.last,
        kinds=("message.added",),
    )
    for fact in said:
        match fact.event:
            case MessageAdded(message=message) if message.role is Role.ASSISTANT:
                return () if message.parent is None else path_to(state, message.parent)
            case _:
                pass
    return state.messages


def path_to(state: ConversationState, at: MessageId) -> Sequence[Message]:
    """All messages from the first one to this one, on whatever branch. Raises NotFound."""
    if state.last is not None and state.last.id == at:
        return state.messages
    try:
        return move(state.messages, state.aside, at)[0]
    except KeyError:
        raise NotFound(f"no message {at!r} in this conversation") from None


async def end_of(caller: Caller, state: ConversationState, part: Part) -> MessageId:
    """The last message of a response, where one goes on behind it. Raises NotFound, and
    ConversationBusy while it is in progress.

    Looks at the newest facts first: clients mostly go on behind the newest answer.
    """
    for after in (max(0, state.seq - NEWEST), 0):
        found = await _range(caller, state.id, part, after)
        if found is not None:
            break
    else:
        raise NotFound(f"no response {part.id!r}")
    first, last = found
    said = await caller.manager.store.read(
        caller.principal.scope, state.id, after=first, until=last, kinds=("message.added",)
    )
    for fact in reversed(said):
        match fact.event:
            case MessageAdded(message=message, turn=part.turn):
                return message.id
            case _:
                pass
    raise Conflict(f"response {part.id!r} said nothing", hint="Go on behind the one before it.")


async def _range(
    caller: Caller, conversation: ConversationId, part: Part, after: int
) -> tuple[int, int] | None:
    """Between which facts a response lies, if its turn was opened behind fact `after`."""
    facts = await caller.manager.store.read(
        caller.principal.scope, conversation, after=after, kinds=_FRAME
    )
    number, first = 0, 0
    for fact in facts:
        match fact.event:
            case TurnOpened(turn=part.turn):
                # The question comes in the same append, before or behind it.
                number, first = 1, fact.seq - 1
            case _:
                pass
        if number and _ends(fact, part):
            if number == part.number:
                return first, fact.seq
            number, first = number + 1, fact.seq
    if number:
        raise ConversationBusy(f"response {part.id!r} is still in progress")
    return None

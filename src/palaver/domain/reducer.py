"""The one place where state changes: a pure fold over facts. No clock, no I/O, no chance.

`apply` raises `InvalidTransition` for a fact that cannot follow the ones before it, so running it
on trial before appending keeps nonsense out of the log.
"""

from collections.abc import Iterable
from typing import assert_never

from msgspec.structs import replace

from palaver.domain.branches import move
from palaver.domain.compaction import check
from palaver.domain.errors import InvalidTransition
from palaver.domain.events import (
    AttemptMade,
    CallDecided,
    Compacted,
    CompactionFailed,
    CompactionUndone,
    ConversationCreated,
    ConversationForked,
    Event,
    HeadMoved,
    MessageAdded,
    MessagePinned,
    MessageRedacted,
    MetadataChanged,
    PreferencesChanged,
    PromptEdited,
    PromptQueued,
    PromptSent,
    PromptWithdrawn,
    Recorded,
    SideRequestMade,
    ToolClaimed,
    ToolResolved,
    TurnClosed,
    TurnHeld,
    TurnOpened,
    UnknownEvent,
)
from palaver.domain.ids import MessageId, TurnId
from palaver.domain.messages import Role, ToolResult
from palaver.domain.outbox import REMEMBERED, QueuedPrompt, find
from palaver.domain.redaction import redact
from palaver.domain.state import (
    Anchor,
    ConversationState,
    OpenTurn,
    Origin,
    first_result,
    with_result,
)
from palaver.domain.values import SuspendReason, Usage


def fold(state: ConversationState, records: Iterable[Recorded]) -> ConversationState:
    """The state after `records`, which must follow `state.seq` without a gap."""
    for recorded in records:
        if recorded.seq != state.seq + 1:
            raise InvalidTransition(f"event {recorded.seq} cannot follow {state.seq}")
        state = replace(
            apply(state, recorded.event),
            seq=recorded.seq,
            updated_at=recorded.at,
            created_at=state.created_at or recorded.at,
        )
    return state


def apply(state: ConversationState, event: Event | UnknownEvent) -> ConversationState:
    """The state after one fact, numbers and times aside."""
    match event:
        case ConversationCreated(preferences=preferences, metadata=metadata):
            return replace(state, preferences=preferences, metadata=metadata)
        case PreferencesChanged(preferences=preferences):
            return replace(state, preferences=preferences)
        case MetadataChanged(metadata=metadata):
            return replace(state, metadata=metadata)
        case TurnOpened():
            return _open_turn(state, event)
        case MessageAdded():
            return _add_message(state, event)
        case ToolClaimed(turn=turn, call_id=call_id):
            opened = _open(state, turn)
            if call_id not in {call.id for call in state.pending_calls}:
                raise InvalidTransition(f"call {call_id} is not pending")
            if call_id in opened.claimed:
                raise InvalidTransition(f"call {call_id} was claimed before")
            return replace(state, turn=replace(opened, claimed=(*opened.claimed, call_id)))
        case ToolResolved():
            return _resolve(state, event)
        case TurnHeld(turn=turn, reason=reason, calls=calls):
            return replace(state, turn=replace(_open(state, turn), held=reason, waiting=calls))
        case CallDecided():
            return _decide(state, event)
        case AttemptMade():
            return _count(state, event)
        case TurnClosed(turn=turn):
            _open(state, turn)
            if state.pending_calls:
                raise InvalidTransition("a turn cannot end while a call has no result")
            return replace(state, turn=None)
        case HeadMoved():
            return _move(state, event)
        case MessagePinned(message=message, pinned=pinned):
            others = tuple(p for p in state.pins if p != message)
            return replace(state, pins=(*others, message) if pinned else others)
        case MessageRedacted(message=message):
            # What compactions wrote may quote it; the log's own copies were erased. And what was
            # counted is not what is there now.
            kept = replace(state.with_compactions(()), anchor=None)
            return kept.with_path(*redact(state.messages, state.aside, message))
        case Compacted() | CompactionUndone():
            return _fold_window(state, event)
        case CompactionFailed():
            return replace(state, ineffective=state.ineffective + 1)
        case SideRequestMade(usage=usage):
            return replace(state, usage=state.usage + usage)
        case ConversationForked(origin=origin, seq=seq):
            # What waits there is sent there, and once.
            return replace(state, origin=Origin(origin, seq), outbox=(), resent=())
        case PromptQueued() | PromptEdited() | PromptWithdrawn() | PromptSent():
            return _change_outbox(state, event)
        case UnknownEvent():
            return replace(state, read_only=True)
        case _:
            assert_never(event)


def _fold_window(
    state: ConversationState, event: Compacted | CompactionUndone
) -> ConversationState:
    if isinstance(event, Compacted):
        check(state.messages, event.compaction)
        state = state.with_compaction(event.compaction)
        return replace(state, is_compaction_held=False, ineffective=0)
    newest = state.compaction
    if newest is None or newest.id != event.compaction:
        raise InvalidTransition("only the newest compaction of the path can be undone")
    others = tuple(c for c in state.compactions if c is not newest)
    return replace(state.with_compactions(others), is_compaction_held=True)


def _change_outbox(
    state: ConversationState, event: PromptQueued | PromptEdited | PromptWithdrawn | PromptSent
) -> ConversationState:
    if isinstance(event, PromptQueued):
        if find(state.outbox, event.prompt.id) is not None:
            raise InvalidTransition(f"prompt {event.prompt.id} waits already")
        there, new = state.outbox, (event.prompt,)
        return replace(state, outbox=(*new, *there) if event.is_first else (*there, *new))
    prompt = _waiting(state, event.prompt)
    if isinstance(event, PromptEdited):
        said = replace(prompt, message=replace(prompt.message, content=event.content))
        return replace(state, outbox=tuple(said if p is prompt else p for p in state.outbox))
    if isinstance(event, PromptSent):
        if state.outbox[0] is not prompt:
            raise InvalidTransition("prompts are sent in the order in which they were accepted")
        if prompt.tried is not None:
            state = replace(state, resent=(*state.resent, (prompt.tried, event.turn))[-REMEMBERED:])
    return replace(state, outbox=tuple(p for p in state.outbox if p is not prompt))


def _waiting(state: ConversationState, prompt: MessageId) -> QueuedPrompt:
    found = find(state.outbox, prompt)
    if found is None:
        raise InvalidTransition(f"no prompt {prompt} waits")
    return found


def _move(state: ConversationState, event: HeadMoved) -> ConversationState:
    if state.turn is not None:
        raise InvalidTransition("the head cannot move while a turn is open")
    left = state.last
    try:
        path, aside = move(state.messages, state.aside, event.head)
    except KeyError:
        raise InvalidTransition(f"there is no message {event.head}") from None
    undone: tuple[MessageId, ...] = ()
    if event.reason == "undo" and left is not None:
        undone = (*state.undone, left.id)
    elif event.reason == "redo":
        undone = state.undone[:-1]
    state = replace(state.with_path(path, aside), undone=undone)
    if state.pending_calls:
        raise InvalidTransition("the head cannot stand between a call and its result")
    return state


def _open_turn(state: ConversationState, event: TurnOpened) -> ConversationState:
    if state.turn is not None:
        raise InvalidTransition(f"turn {state.turn.id} is still open")
    opened = OpenTurn(event.turn, output=event.output, tools=event.tools, own_tools=event.own_tools)
    return replace(state, turn=opened)


def _open(state: ConversationState, turn: TurnId) -> OpenTurn:
    if state.turn is None or state.turn.id != turn:
        raise InvalidTransition(f"turn {turn} is not open")
    return state.turn


def _add_message(state: ConversationState, event: MessageAdded) -> ConversationState:
    message = event.message
    if event.turn is not None:
        opened = _open(state, event.turn)
        if message.role is Role.ASSISTANT:
            state = replace(state, turn=replace(opened, steps=opened.steps + 1))
    if state.pending_calls and message.role is not Role.TOOL:
        raise InvalidTransition("the calls of the last message have no results yet")
    ids = [call.id for call in message.tool_calls]
    if len(set(ids)) != len(ids):
        raise InvalidTransition("two calls of one message have the same id")
    if state.undone:
        state = replace(state, undone=())
    return state.with_message(message)


def _resolve(state: ConversationState, event: ToolResolved) -> ConversationState:
    opened = _open(state, event.turn)
    call_id = event.result.call_id
    if call_id not in {call.id for call in state.pending_calls}:
        raise InvalidTransition(f"call {call_id} is not pending")
    turn = replace(
        opened,
        claimed=tuple(c for c in opened.claimed if c != call_id),
        waiting=tuple(c for c in opened.waiting if c != call_id),
    )
    if turn.held is not None and not turn.waiting:
        turn = replace(turn, held=None)
    return replace(_with_result(state, event.result), turn=turn)


def _with_result(state: ConversationState, result: ToolResult) -> ConversationState:
    last = state.messages[-1]
    if last.role is Role.ASSISTANT:
        return state.with_message(first_result(last, result))
    return state.with_last_message(with_result(last, result, state.messages[-2]))


def _decide(state: ConversationState, event: CallDecided) -> ConversationState:
    opened = _open(state, event.turn)
    if event.call_id not in opened.waiting or opened.held is SuspendReason.CLIENT_TOOL_RESULT:
        raise InvalidTransition(f"call {event.call_id} does not wait for a decision")
    waiting = tuple(c for c in opened.waiting if c != event.call_id)
    turn = replace(opened, waiting=waiting, held=opened.held if waiting else None)
    if event.approved:
        turn = replace(turn, approved=(*opened.approved, event.call_id))
    else:
        turn = replace(turn, denied=(*opened.denied, (event.call_id, event.note)))
    return replace(state, turn=turn)


def _count(state: ConversationState, event: AttemptMade) -> ConversationState:
    opened = _open(state, event.turn)
    turn = replace(
        opened,
        attempts=opened.attempts + 1,
        usage=opened.usage + event.usage,
        by_model=_with_usage(opened.by_model, event),
    )
    state = replace(state, turn=turn, usage=state.usage + event.usage)
    if event.error is None and not event.usage.estimated and event.usage.total:
        # The request held all messages but the answer, and the answer has just been added.
        state = replace(state, anchor=Anchor(len(state.window), event.usage.total))
    return state


def _with_usage(
    before: tuple[tuple[str, Usage], ...], event: AttemptMade
) -> tuple[tuple[str, Usage], ...]:
    spent = dict(before)
    spent[event.model] = spent.get(event.model, Usage()) + event.usage
    return tuple(spent.items())

"""What a reader of a turn is told: its events, or what stands of it where they are gone."""

from collections.abc import AsyncGenerator
from typing import TypeAlias

import msgspec

from palaver.domain.events import MessageAdded
from palaver.domain.messages import Message, Role
from palaver.domain.stream import (
    Terminal,
    TurnCancelled,
    TurnCompleted,
    TurnFailed,
    TurnInterrupted,
)
from palaver.domain.values import ErrorInfo, TurnOutcome
from palaver.server.core import Caller
from palaver.service.turn_status import TurnStatus
from palaver.streams.cursor import After, Batch
from palaver.streams.session import ResumeGap, StreamSession

_ADDED = ("message.added",)
_LOST = ErrorInfo("unknown", "how the turn ended is not known any more")


class Snapshot(msgspec.Struct, frozen=True, tag="resume_gap"):
    """What a reader saw of the turn does not go on. It holds from now on: these messages, and
    behind them the events that follow.

    A turn that is open is told again from its first event on. Of one that has ended there are all
    messages, and its terminal event follows.
    """

    turn: TurnStatus
    messages: tuple[Message, ...]
    error: ErrorInfo
    """Why."""


class Ended(msgspec.Struct, frozen=True):
    """The terminal event of a turn whose events are gone; it has no number."""

    event: Terminal


Told: TypeAlias = Batch | Snapshot | Ended


async def told(caller: Caller, session: StreamSession, after: After) -> AsyncGenerator[Told, None]:
    """Everything behind `after`, to the terminal event; see `StreamSession.batches`.

    Where events behind `after` are gone, a Snapshot stands for them. Raises ResumeGap where even
    that is not to be had, StoreError.
    """
    try:
        async for batch in session.batches(after):
            yield batch
    except ResumeGap as gap:
        error = gap.info()
    else:
        return
    status = await caller.manager.turn(session.turn)
    yield Snapshot(status, await _messages(caller, status), error)
    if status.open:
        anew = await caller.manager.session(session.turn)
        async for batch in anew.batches():
            yield batch
    else:
        yield Ended(_end(status))


async def _messages(caller: Caller, turn: TurnStatus) -> tuple[Message, ...]:
    """Costs a walk over the conversation's messages: it is rare."""
    facts = await caller.manager.store.read(caller.principal.scope, turn.conversation, kinds=_ADDED)
    added = (fact.event for fact in facts if isinstance(fact.event, MessageAdded))
    of_turn = (each.message for each in added if each.turn == turn.id)
    return tuple(m for m in of_turn if not turn.open or m.role is Role.USER)


def _end(turn: TurnStatus) -> Terminal:
    match turn.outcome:
        case TurnOutcome.COMPLETED:
            return TurnCompleted(turn.id)
        case TurnOutcome.CANCELLED:
            return TurnCancelled(turn.id)
        case TurnOutcome.INTERRUPTED:
            return TurnInterrupted(turn.id)
        case _:
            return TurnFailed(turn.id, turn.error or _LOST)

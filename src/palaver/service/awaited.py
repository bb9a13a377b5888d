"""What a held turn waits for, and whether what somebody says about it fits. Pure."""

from collections.abc import Sequence
from itertools import islice

from msgspec.structs import replace

from palaver.domain.errors import AlreadyAnswered, ConversationBusy, InvalidInput
from palaver.domain.ids import CallId, TurnId
from palaver.domain.messages import Role, ToolResult
from palaver.domain.state import ConversationState, OpenTurn
from palaver.domain.stream import ToolFinished
from palaver.domain.values import SuspendReason

LOOKED_AT = 1000
"""Newest messages among which a result that was given before is looked for."""


def held_error(opened: OpenTurn) -> ConversationBusy:
    """Why nothing else can begin while this turn is held."""
    if opened.held is SuspendReason.APPROVAL:
        return ConversationBusy(
            "the open turn waits for an approval",
            hint="Allow or deny its calls, or cancel it, before sending another message.",
        )
    return ConversationBusy(
        "the open turn waits for results of tools that its client runs",
        hint="Provide them, or cancel it, before sending another message.",
    )


def check_undecided(state: ConversationState, call_id: str) -> OpenTurn:
    """The turn in which a call waits for a decision. Raises InvalidInput."""
    opened = state.turn
    if opened is None or opened.held is not SuspendReason.APPROVAL or call_id not in opened.waiting:
        raise InvalidInput(
            f"no call {call_id!r} waits for a decision",
            hint="The conversation's open turn lists the calls that wait.",
        )
    return opened


def awaited(state: ConversationState) -> tuple[CallId, ...]:
    """Calls that wait for a client's result."""
    opened = state.turn
    if opened is None or opened.held is not SuspendReason.CLIENT_TOOL_RESULT:
        return ()
    return opened.waiting


def unprovided(
    state: ConversationState, turn: TurnId, results: Sequence[ToolResult]
) -> tuple[ToolResult, ...]:
    """Those of `results` that are new, with the names of their tools.

    Raises InvalidInput for a call that does not wait in this turn and has no result either, and
    AlreadyAnswered for one that has another result.
    """
    is_open = state.turn is not None and state.turn.id == turn
    waiting = set(awaited(state)) if is_open else set()
    names = {call.id: call.name for call in state.pending_calls}
    new: dict[CallId, ToolResult] = {}
    for result in results:
        known = new.get(result.call_id) or _result_of(state, result.call_id)
        if result.call_id in waiting and result.call_id not in new:
            new[result.call_id] = replace(result, name=names[result.call_id])
        elif known is None:
            raise _not_awaited(state, result.call_id)
        elif (known.content, known.failed) != (result.content, result.failed):
            raise AlreadyAnswered(f"call {result.call_id!r} has another result already")
    return tuple(new.values())


def provided(state: ConversationState) -> list[ToolFinished]:
    """The results that the client gave for the newest message with calls, in call order."""
    last = state.last
    given = () if last is None else last.tool_results
    return [ToolFinished(r.call_id, r.name, r) for r in given if r.by_client]


def check_open_ended(state: ConversationState) -> None:
    """Raise InvalidInput unless the history ends with something that a model can answer."""
    if state.last is None:
        raise InvalidInput("nothing has been said yet", hint="Send a message.")
    if state.last.role not in (Role.USER, Role.TOOL):
        raise InvalidInput(
            "the last message is an answer already", hint="Send a message, or regenerate it."
        )


def _result_of(state: ConversationState, call_id: CallId) -> ToolResult | None:
    for message in islice(reversed(state.messages), LOOKED_AT):
        for result in message.tool_results:
            if result.call_id == call_id:
                return result
    return None


def _not_awaited(state: ConversationState, call_id: CallId) -> InvalidInput:
    waiting = awaited(state)
    listed = ", ".join(waiting[:20]) or "none"
    return InvalidInput(
        f"no call {call_id[:80]!r} waits for a client's result", hint=f"Waiting: {listed}."
    )

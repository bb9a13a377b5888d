"""How a turn ends with valid history, whatever happened: every call gets exactly one result."""

from collections.abc import Mapping

from palaver.domain.events import Event, ToolResolved, TurnClosed
from palaver.domain.ids import CallId, TurnId
from palaver.domain.messages import Block, Reasoning, Text, ToolCall, ToolResult
from palaver.domain.state import ConversationState
from palaver.domain.values import ErrorInfo, TurnOutcome

UNKNOWN_OUTCOME = (
    "The outcome of this call is unknown: it was running when the turn was stopped, and it may or "
    "may not have taken effect. It was not run again. Check before you repeat it."
)


def synthetic_result(call: ToolCall, text: str, *, unknown: bool = False) -> ToolResult:
    """A result written by Palaver because the tool did not give one."""
    return ToolResult(call.id, call.name, (Text(text),), failed=True, unknown=unknown)


def close_turn(
    state: ConversationState,
    turn: TurnId,
    outcome: TurnOutcome,
    *,
    why: str,
    error: ErrorInfo | None = None,
    results: Mapping[CallId, ToolResult] | None = None,
) -> tuple[Event, ...]:
    """The facts that end an open turn: a result for each pending call, then TurnClosed.

    Calls take their result from `results`; an effect that was claimed and has none is of unknown
    outcome; the others did not run, which `why` explains to the model.
    """
    known = results or {}
    claimed = state.turn.claimed if state.turn is not None else ()
    facts: list[Event] = []
    for call in state.pending_calls:
        if call.id in known:
            result = known[call.id]
        elif call.id in claimed:
            result = synthetic_result(call, UNKNOWN_OUTCOME, unknown=True)
        else:
            result = synthetic_result(call, why)
        facts.append(ToolResolved(turn, result))
    return (*facts, TurnClosed(turn, outcome, error))


def storable_partial(blocks: tuple[Block, ...]) -> tuple[Block, ...]:
    """What of an unfinished message may stand in history.

    Reasoning that nothing follows is left out: providers refuse a message that ends with it.
    """
    kept = list(blocks)
    while kept and isinstance(kept[-1], Reasoning):
        kept.pop()
    return tuple(b for b in kept if not (isinstance(b, Text) and not b.text))

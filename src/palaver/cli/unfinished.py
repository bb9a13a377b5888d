"""What a person must know of an answer that was interrupted: what is kept, what is not known."""

from typing import TYPE_CHECKING

from palaver.cli.safe import one_line
from palaver.cli.words import arguments_line
from palaver.domain.events import TurnClosed
from palaver.domain.messages import Flag, Role
from palaver.domain.state import ConversationState
from palaver.domain.values import Scope, TurnOutcome

if TYPE_CHECKING:
    from palaver.service.manager import ConversationManager

ARGUMENTS = 60
"""Columns of a call's arguments."""


async def unfinished(manager: "ConversationManager", state: ConversationState) -> list[str]:
    """Lines about the last answer, where another program makes it, where its program stopped before
    it was complete, or where nobody knows whether a tool took effect; none where all is well."""
    lines: list[str] = []
    last, opened = state.last, state.turn
    if opened is not None and opened.held is None and not manager.streams.is_running(opened.id):
        return ["another program is making the answer; what you say here waits for its end"]
    if last is None or opened is not None:
        return lines
    closed = await manager.store.read(Scope(), state.id, kinds=("turn.closed",))
    end = closed[-1].event if closed else None
    is_open_ended = last.role is not Role.ASSISTANT or Flag.PARTIAL in last.flags
    if isinstance(end, TurnClosed) and end.outcome is TurnOutcome.INTERRUPTED and is_open_ended:
        kept = "; what had come of it is kept" if Flag.PARTIAL in last.flags else ""
        lines.append(f"the last answer was interrupted: its program stopped{kept}")
    lines += _calls(state)
    if lines:
        lines.append(
            "to go on, say something; `palaver retry` (/retry in a chat) has the question answered"
            " anew"
        )
    return lines


def _calls(state: ConversationState) -> list[str]:
    last = state.last
    if last is None or last.role is not Role.TOOL:
        return []
    calls = {call.id: call for call in state.messages[-2].tool_calls}
    lines: list[str] = []
    for result in last.tool_results:
        call = calls.get(result.call_id)
        if result.unknown and call is not None:
            named = f"{one_line(call.name, 40)} {arguments_line(call.arguments, ARGUMENTS)}"
            lines.append(
                f"{named.strip()}: it had begun, and nobody knows whether it was done. It was not"
                " repeated. Look before you ask for it again."
            )
    return lines


def recovered(manager: "ConversationManager") -> list[str]:
    """A line for each turn whose program had died, when this one began."""
    lines: list[str] = []
    for each in manager.recovered:
        short = each.conversation[-8:]
        if each.runs_on:
            lines.append(f"conversation {short}: an answer whose program stopped goes on now")
        else:
            lines.append(
                f"conversation {short}: an answer was interrupted when its program stopped;"
                f" `palaver show {short}` tells what is known"
            )
    if len(lines) > 5:
        lines[5:] = [f"… and {len(lines) - 5} more"]
    return lines

"""What happens to a tool call: decided purely, from the conversation and the tool's definition."""

from typing import TypeAlias

import msgspec

from palaver.domain.messages import Message, Role, StopReason, ToolCall, ToolResult
from palaver.domain.state import ConversationState
from palaver.engine.closing import UNKNOWN_OUTCOME, synthetic_result
from palaver.tools.definition import ToolDefinition

CUT_MESSAGE = "This call was not run: the model's message was cut before it was complete."
DENIED = "The user did not allow this call."
WITHHELD = "This call was not run: there is no such tool here. Use the tools that were offered."
NOBODY_TO_ASK = "This call was not run: it needs a person's approval, and nobody can be asked here."


class Answer(msgspec.Struct, frozen=True):
    """The call has its result already."""

    result: ToolResult


class Start(msgspec.Struct, frozen=True):
    """Run it now."""


class Ask(msgspec.Struct, frozen=True):
    """A person has to allow it first."""


class AwaitClient(msgspec.Struct, frozen=True):
    """The client runs it and gives the result."""


Route: TypeAlias = Answer | Start | Ask | AwaitClient


def route(
    state: ConversationState, call: ToolCall, definition: ToolDefinition | None, *, is_valid: bool
) -> Route:
    """Where a pending call that neither runs nor has run goes.

    A call of an unknown or disabled tool, or with invalid arguments, is started too: the tool
    manager answers it with an error that the model can use. What a client's tool takes is the
    client's business.
    """
    opened = state.turn
    if opened is not None and call.id in opened.claimed:
        return Answer(synthetic_result(call, UNKNOWN_OUTCOME, unknown=True))
    stop = stop_of_last_answer(state)
    if stop is not None and not stop.is_good:
        return Answer(synthetic_result(call, CUT_MESSAGE))
    if opened is not None and opened.is_clients(call.name):
        return AwaitClient()
    if is_withheld(state, definition):
        return Answer(synthetic_result(call, WITHHELD))
    if definition is None or not definition.asks or not is_valid:
        return Start()
    if opened is not None:
        if call.id in opened.approved:
            return Start()
        notes = dict(opened.denied)
        if call.id in notes:
            said = notes[call.id]
            return Answer(synthetic_result(call, f"{DENIED} They said: {said}" if said else DENIED))
    match state.preferences.approvals:
        case "allow":
            return Start()
        case "deny":
            return Answer(synthetic_result(call, NOBODY_TO_ASK))
        case _:
            return Ask()


def is_withheld(state: ConversationState, definition: ToolDefinition | None) -> bool:
    """Whether the open turn does not have this tool of ours, although there is one."""
    if definition is None or state.turn is None:
        return False
    return not state.turn.own_tools and not definition.only_compacted


def last_answer(state: ConversationState) -> Message | None:
    """The newest assistant message, when nothing but its results follow it."""
    last = state.last
    if last is not None and last.role is Role.TOOL and len(state.messages) > 1:
        last = state.messages[-2]
    return last if last is not None and last.role is Role.ASSISTANT else None


def stop_of_last_answer(state: ConversationState) -> StopReason | None:
    """Why that message ended."""
    answer = last_answer(state)
    return None if answer is None else answer.stop


def goes_on(state: ConversationState, stop: StopReason) -> bool:
    """Whether the model is to be asked again behind its newest message."""
    answered_calls = state.last is not None and state.last.role is Role.TOOL
    return stop is StopReason.PAUSE or (answered_calls and stop.is_good)

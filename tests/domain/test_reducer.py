import pytest
from hypothesis import given, strategies as st

from palaver.domain import snapshot
from palaver.domain.errors import InvalidTransition
from palaver.domain.events import (
    Event,
    MessageAdded,
    Recorded,
    ToolClaimed,
    ToolResolved,
    TurnClosed,
    TurnOpened,
    UnknownEvent,
)
from palaver.domain.ids import CallId, ConversationId, MessageId, TurnId
from palaver.domain.messages import Message, Role, Text, ToolCall, ToolResult
from palaver.domain.reducer import apply, fold
from palaver.domain.state import ConversationState
from palaver.domain.values import Effect, TurnOutcome
from palaver.testing import valid_history
from tests.domain.strategies import logs

EMPTY = ConversationState(ConversationId("c"))
TURN = TurnId("t")


def state_with_calls(*ids: str) -> ConversationState:
    calls = tuple(ToolCall(CallId(i), "tool") for i in ids)
    question, answer = Message.user("?", id="m1"), Message.assistant(calls, id="m2")
    state = EMPTY
    for fact in (TurnOpened(TURN), MessageAdded(question, TURN), MessageAdded(answer, TURN)):
        state = apply(state, fact)
    return state


def result(call: str, text: str = "") -> ToolResolved:
    return ToolResolved(TURN, ToolResult(CallId(call), "tool", (Text(text),)))


@given(logs(), st.data())
def test_folding_in_parts_is_folding_at_once(log: list[Recorded], data: st.DataObject) -> None:
    """A state may be taken up anywhere: replay equals having lived it."""
    cut = data.draw(st.integers(0, len(log)))
    assert fold(fold(EMPTY, log[:cut]), log[cut:]) == fold(EMPTY, log)


@given(logs(), st.data())
def test_a_snapshot_gives_the_state_it_was_taken_of(
    log: list[Recorded], data: st.DataObject
) -> None:
    """A snapshot and the message-bearing facts before it are the state, also within a turn."""
    cut = data.draw(st.integers(1, len(log)))
    lived = fold(EMPTY, log[:cut])
    assert snapshot.restore(snapshot.take(lived), log[:cut]) == lived
    assert fold(snapshot.restore(snapshot.take(lived), log[:cut]), log[cut:]) == fold(EMPTY, log)


@given(logs())
def test_every_closed_turn_leaves_valid_history(log: list[Recorded]) -> None:
    """Where no turn is open, every call has its one result, in call order."""
    state = EMPTY
    for recorded in log:
        state = fold(state, [recorded])
        if state.turn is None:
            assert not state.pending_calls
    calls = [p for p in valid_history(list(state.messages)) if "call" in p]
    assert calls == []


@given(st.permutations(["a", "b", "c"]))
def test_results_stand_in_call_order(order: list[str]) -> None:
    """Whichever tool is done first, the history is the same."""
    state = state_with_calls("a", "b", "c")
    for call in order:
        state = apply(state, result(call, call))
    assert [r.call_id for r in state.messages[-1].tool_results] == ["a", "b", "c"]
    in_order = state_with_calls("a", "b", "c")
    for call in "abc":
        in_order = apply(in_order, result(call, call))
    assert state.content_hash == in_order.content_hash


def test_the_hash_is_of_content_only() -> None:
    """Ids, numbers and times do not change it; a word does."""
    one = EMPTY.with_message(Message.user("hi", id="m1"))
    other = ConversationState(ConversationId("d"), seq=9).with_message(Message.user("hi", id="x"))
    assert one.content_hash == other.content_hash
    assert one.content_hash != EMPTY.with_message(Message.user("ho")).content_hash


@pytest.mark.parametrize(
    "state, event",
    [
        (state_with_calls("a"), TurnOpened(TurnId("u"))),
        (EMPTY, TurnClosed(TURN, TurnOutcome.COMPLETED)),
        (state_with_calls("a"), TurnClosed(TURN, TurnOutcome.COMPLETED)),
        (state_with_calls("a"), result("b")),
        (apply(state_with_calls("a"), result("a")), result("a")),
        (state_with_calls("a"), MessageAdded(Message.user("too early"), TURN)),
        (state_with_calls("a"), ToolClaimed(TURN, CallId("b"), "tool", Effect.EFFECT)),
        (
            apply(state_with_calls("a"), ToolClaimed(TURN, CallId("a"), "tool", Effect.EFFECT)),
            ToolClaimed(TURN, CallId("a"), "tool", Effect.EFFECT),
        ),
    ],
)
def test_what_cannot_follow_is_refused(state: ConversationState, event: Event) -> None:
    """The reducer keeps impossible facts out: a second result, an end with open calls, …"""
    with pytest.raises(InvalidTransition):
        apply(state, event)


def test_one_message_cannot_hold_one_id_twice() -> None:
    """Two calls of one message need two ids, or their results could not be told apart."""
    twice = Message(
        Role.ASSISTANT, (ToolCall(CallId("a"), "x"), ToolCall(CallId("a"), "y")), MessageId("m")
    )
    with pytest.raises(InvalidTransition):
        apply(EMPTY, MessageAdded(twice))


def test_a_newer_event_makes_the_conversation_read_only() -> None:
    """What this version does not know, it does not write behind."""
    assert apply(EMPTY, UnknownEvent("branch.made", 3, b"{}")).read_only


def test_a_gap_in_the_numbers_is_refused() -> None:
    """Folding never skips a fact."""
    with pytest.raises(InvalidTransition):
        fold(EMPTY, [Recorded(2, 0.0, TurnOpened(TURN))])

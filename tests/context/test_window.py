"""What the window promises: a turn that would not fit is refused before anything is sent."""

from typing import NamedTuple

import pytest
from msgspec.structs import replace

from palaver.context.window import DEFAULT_RESERVE, ContextWindowManager
from palaver.domain.errors import ContextWindowExceeded, InvalidInput
from palaver.domain.ids import ConversationId
from palaver.domain.messages import Message, Text
from palaver.domain.state import Anchor, ConversationState
from palaver.domain.values import GenerationSettings, UserPreferences
from palaver.settings import CompactionSettings


class Bounds(NamedTuple):
    window: int | None
    max_output: int | None = None
    name: str = "anthropic:claude-sonnet-4-5"


def _state(text: str = "Hello", *, tokens: int | None = None) -> ConversationState:
    state = ConversationState(ConversationId("c")).with_message(Message.user(text))
    return state if tokens is None else replace(state, anchor=Anchor(1, tokens))


def test_measure() -> None:
    """A reading holds what is used, what is kept free, and the share of the window."""
    measured = ContextWindowManager().measure(_state(tokens=50_000), Bounds(200_000, 64_000))
    assert (measured.used, measured.window, measured.reserve) == (50_000, 200_000, DEFAULT_RESERVE)
    assert measured.share == 0.25
    assert not measured.estimated
    assert not measured.is_full


def test_a_turn_that_does_not_fit_is_refused() -> None:
    """Input and reserve beyond the window raise an error with both numbers and what to do."""
    manager = ContextWindowManager()
    with pytest.raises(ContextWindowExceeded) as caught:
        manager.check(_state(tokens=199_000), Bounds(200_000, 64_000))
    assert caught.value.tokens == 199_000 + DEFAULT_RESERVE
    assert caught.value.window == 200_000
    assert caught.value.hint
    manager.check(_state(tokens=200_000 - DEFAULT_RESERVE), Bounds(200_000, 64_000))


def test_the_reserve_follows_the_settings() -> None:
    """An asked length is kept free; else at most what the model can write."""
    manager = ContextWindowManager()
    preferences = UserPreferences(generation=GenerationSettings(max_tokens=20_000))
    asked = replace(_state(), preferences=preferences)
    assert manager.measure(asked, Bounds(128_000, 16_384)).reserve == 20_000
    assert manager.measure(_state(), Bounds(8_192, 1_000)).reserve == 1_000


def test_an_unknown_window_is_not_checked() -> None:
    """Where the window is not known nothing is refused, and no share is made up."""
    measured = ContextWindowManager().check(_state(tokens=10**9), Bounds(None))
    assert measured.share is None
    assert not measured.is_full


def test_unreported_usage_is_estimated() -> None:
    """Where a provider reported nothing, usage is the last reading and the answer, so marked."""
    manager = ContextWindowManager()
    state = _state("Hello there")
    used = manager.measure(state, Bounds(1_000), system="Be brief.").used
    usage = manager.estimated_usage(state, (Text("Hi, how can I help?"),))
    assert (usage.input, usage.estimated) == (used, True)
    assert 3 < usage.output < 12
    assert ContextWindowManager().estimated_usage(state, ()).input > 0


def test_many_conversations() -> None:
    """A manager serves any number of conversations, and another model of the same one."""
    manager = ContextWindowManager()
    for i in range(200):
        state = ConversationState(ConversationId(f"c{i}")).with_message(Message.user("x" * i))
        first = manager.measure(state, Bounds(1_000))
        assert manager.measure(state, Bounds(1_000, name="openai:gpt-4o")).used <= first.used


def _long() -> ConversationState:
    state = ConversationState(ConversationId("c"))
    for number in range(40):
        asked = Message.user(f"Question {number} about order #{number}?", id=f"q{number}")
        answered = Message.assistant(f"It costs {number} euros. " * 30, id=f"a{number}")
        state = state.with_message(asked).with_message(answered)
    return state


def test_plan_preview_apply_undo() -> None:
    """Each is a function of a state: the same state gives the same, and none is changed."""
    manager = ContextWindowManager(settings=CompactionSettings(window=4_000, minimum=500))
    state, bounds = _long(), Bounds(200_000, 1_000)
    need = manager.should_compact(state, manager.measure(state, bounds))
    assert need is not None
    assert manager.plan(state, need, bounds.name) == manager.plan(state, need, bounds.name)
    preview = manager.preview(state, need, bounds.name)
    assert preview is not None
    assert all(fact.survives for fact in preview.facts)
    smaller = manager.apply(state, preview)
    assert list(state.window) == list(state.messages) == list(smaller.messages)
    assert manager.measure(smaller, bounds).used <= 0.6 * 4_000
    assert manager.auto_compact(state, bounds) == smaller
    assert manager.auto_compact(smaller, bounds) is smaller
    assert list(manager.undo(smaller).window) == list(state.messages)
    with pytest.raises(InvalidInput):
        manager.undo(state)


def test_the_largest_part_is_named() -> None:
    """What cannot fit names the part that no compaction takes off, with its tokens."""
    manager = ContextWindowManager()
    long, short = "obey " * 4_000, "hi"
    for system, said, name in ((long, short, "system prompt"), (short, long, "newest message")):
        with pytest.raises(ContextWindowExceeded) as caught:
            manager.check(_state(said), Bounds(3_000, 500), system=system)
        assert name in caught.value.hint


def test_pinned_messages_that_fill_the_window_are_named() -> None:
    """Where what a person pinned takes the room, the error says so, and what to do."""
    state = _long()
    pins = tuple(message.id for message in state.messages)
    with pytest.raises(ContextWindowExceeded) as caught:
        ContextWindowManager().check(replace(state, pins=pins), Bounds(3_000, 500))
    assert "what is pinned" in caught.value.hint

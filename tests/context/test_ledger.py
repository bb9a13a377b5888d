"""What the ledger promises: the same reading as counting anew, at the cost of what is new."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings, strategies as st
from msgspec.structs import replace

from palaver.context.ledger import Calibration, TokenLedger
from palaver.context.tokens import Parts, message_tokens, text_tokens
from palaver.domain.compaction import Compaction, Kept, Span, Written
from palaver.domain.ids import CallId, CompactionId, ConversationId, MessageId
from palaver.domain.messages import Message, Role, Text, ToolCall, ToolResult
from palaver.domain.state import Anchor, ConversationState
from palaver.tools.definition import ToolDefinition

TOOL = ToolDefinition(name="t", description="A tool.", parameters_schema={"type": "object"})


@dataclass
class Counter:
    """An estimate that counts how often it is asked."""

    calls: int = 0
    seen: list[Message] = field(default_factory=list)

    def __call__(self, message: Message) -> Parts:
        self.calls += 1
        return message_tokens(message)


def _state(*messages: Message, anchor: Anchor | None = None) -> ConversationState:
    state = ConversationState(ConversationId("c"))
    for message in messages:
        state = state.with_message(message)
    return replace(state, anchor=anchor)


def _results(*texts: str) -> Message:
    return Message(
        Role.TOOL,
        tuple(ToolResult(CallId(f"c{i}"), "t", (Text(text),)) for i, text in enumerate(texts)),
    )


def _calls(number: int) -> Message:
    return Message.assistant(tuple(ToolCall(CallId(f"c{i}"), "t") for i in range(number)))


_texts = st.text(alphabet="ab c1{\n", max_size=40)
_messages = st.one_of(
    _texts.map(Message.user),
    _texts.map(Message.assistant),
    st.lists(_texts, max_size=4).map(lambda texts: _results(*texts)),
)
_steps = st.one_of(
    st.tuples(st.just("add"), st.lists(_messages, max_size=4)),
    st.tuples(st.just("grow"), _messages),
    st.tuples(st.just("cut"), st.integers(0, 6)),
    st.tuples(st.just("branch"), _messages),
    st.tuples(st.just("anchor"), st.integers(1, 5_000)),
    st.tuples(st.just("look"), st.none()),
)


def _after(state: ConversationState, kind: str, value: object) -> ConversationState:
    messages = list(state.messages)
    if kind == "add" and isinstance(value, list):
        for message in value:
            state = state.with_message(message)
    elif kind == "grow" and isinstance(value, Message) and messages:
        state = state.with_last_message(value)
    elif kind == "cut" and isinstance(value, int):
        state = _state(*messages[: max(0, len(messages) - value)], anchor=state.anchor)
    elif kind == "branch" and isinstance(value, Message):
        state = _state(*messages[: len(messages) // 2], value, anchor=state.anchor)
    elif kind == "anchor" and isinstance(value, int):
        state = replace(state, anchor=Anchor(len(messages), value))
    return state


class _Fixed(Calibration):
    """Learns nothing, so that two ledgers with different pasts can be compared."""

    def learn(self, model: str, *, estimated: int, reported: int) -> None:
        pass


@settings(deadline=None)
@given(st.lists(_steps, max_size=12))
def test_incremental_equals_from_scratch(steps: list[tuple[str, object]]) -> None:
    """Whatever states are observed in whatever order, each reading is that of a new ledger."""
    ledger = TokenLedger(calibration=_Fixed())
    state = _state()
    for kind, value in steps:
        state = _after(state, kind, value)
        if kind != "look" and len(state.messages) % 2:
            continue  # some states go by unseen
        fresh = TokenLedger(calibration=_Fixed())
        expected = fresh.observe(state, system="Be brief.", tools=(TOOL,))
        reading = ledger.observe(state, system="Be brief.", tools=(TOOL,))
        assert reading == expected
        assert reading.by_category.total == reading.tokens


def test_cost_is_what_is_new() -> None:
    """Of a thousand messages each is estimated once, however often the conversation is observed."""
    counter = Counter()
    ledger = TokenLedger(estimate=counter)
    state = _state()
    for i in range(1_000):
        state = state.with_message(Message.user(f"message {i}"))
        ledger.observe(state)
        ledger.observe(state)
    assert counter.calls == 1_000


def test_growing_results_cost_one_estimate_each() -> None:
    """A tool message that gathers results is estimated anew, and nothing before it."""
    counter = Counter()
    ledger = TokenLedger(estimate=counter)
    state = _state(*(Message.user("x") for _ in range(100)), _calls(3), _results("one"))
    ledger.observe(state)
    before = counter.calls
    state = state.with_last_message(_results("one", "two"))
    ledger.observe(state)
    state = state.with_last_message(_results("one", "two", "three"))
    state = state.with_message(Message.assistant("done"))
    reading = ledger.observe(state)
    assert counter.calls == before + 3
    assert reading == TokenLedger().observe(state)


def test_another_branch_is_counted_anew() -> None:
    """A history of the same length and other content is not taken for the known one."""
    ledger = TokenLedger()
    ledger.observe(_state(Message.user("a"), Message.user("b" * 400)))
    other = _state(Message.user("c " * 400), Message.user("d"), Message.user("e"))
    assert ledger.observe(other) == TokenLedger().observe(other)


def test_reported_usage_anchors_the_count() -> None:
    """What a provider counted is taken as it is; only later messages are estimated."""
    messages = (Message.user("Hello there"), Message.assistant("Hi, how can I help?"))
    exact = TokenLedger().observe(_state(*messages, anchor=Anchor(2, 1_234)), system="Be brief.")
    assert (exact.tokens, exact.estimated) == (1_234, False)
    more = Message.user("What is the weather in Oslo today?")
    later = TokenLedger().observe(_state(*messages, more, anchor=Anchor(2, 1_234)))
    assert later.estimated
    assert later.tokens == 1_234 + message_tokens(more).total


def test_an_anchor_beyond_the_history_is_ignored() -> None:
    """After an undo the old report says nothing."""
    state = _state(Message.user("Hello"), anchor=Anchor(5, 9_999))
    assert TokenLedger().observe(state).tokens == message_tokens(Message.user("Hello")).total


def test_the_factor_is_learned_and_bounded() -> None:
    """Reports teach a model's factor, smoothly; small ones and odd ones teach nothing."""
    calibration = Calibration()
    calibration.learn("m", estimated=10, reported=100)
    assert calibration.factor("m") == 1.0
    calibration.learn("m", estimated=1_000, reported=1_200)
    assert calibration.factor("m") == pytest.approx(1.2)
    calibration.learn("m", estimated=1_000, reported=1_000)
    assert calibration.factor("m") == pytest.approx(1.14)
    calibration.learn("m", estimated=1_000, reported=90_000)
    assert calibration.factor("m") == pytest.approx(1.14)
    assert calibration.factor("other") == 1.0
    assert calibration.factor("anthropic:new") > 1.0


def test_a_new_conversation_profits_from_what_was_learned() -> None:
    """A factor learned in one conversation scales the estimate of the next, of that model only."""
    calibration = Calibration()
    text = Message.assistant("word " * 400)
    raw = message_tokens(text).total
    reported = _state(replace(text, model="m"), anchor=Anchor(1, raw * 3 // 2))
    TokenLedger("m", calibration=calibration).observe(reported)
    TokenLedger("other", calibration=calibration).observe(reported)
    reading = TokenLedger("m", calibration=calibration).observe(_state(text))
    assert reading.tokens == pytest.approx(raw * 1.5, rel=0.01)
    assert calibration.factor("other") == 1.0


def test_categories() -> None:
    """System prompt, schemas and each kind of message are told apart."""
    state = _state(Message.user("Hello"), _calls(1), _results("42"), Message.assistant("It is 42."))
    parts = TokenLedger().observe(state, system="Be brief.", tools=(TOOL,)).by_category
    assert parts.system == text_tokens("Be brief.")
    assert min(parts.tool_schemas, parts.user, parts.assistant) > 0
    assert min(parts.tool_calls, parts.tool_results) > 0
    changed = TokenLedger().observe(state, system="Be very, very brief.").by_category
    assert changed.system > parts.system
    assert changed.tool_schemas == 0


def test_what_lies_between_two_reports_teaches() -> None:
    """An overhead that nobody told us of, counted in every report, does not spoil the factor."""
    calibration, hidden = Calibration(), 5_000
    ledger = TokenLedger("m", calibration=calibration)
    state, tokens = _state(), hidden
    for _ in range(20):
        message = replace(Message.assistant("word " * 400), model="m")
        state = state.with_message(message)
        tokens += round(message_tokens(message).total * 1.3)
        state = replace(state, anchor=Anchor(len(state.messages), tokens))
        ledger.observe(state)
    assert calibration.factor("m") == pytest.approx(1.3, abs=0.02)


def test_the_window_is_what_counts() -> None:
    """Behind a compaction only what stands in the window is counted, what was written apart from
    what was said; a stub of a result stays a result, and an undo brings the old count back."""
    state = _state(Message.user("question " * 50), _calls(1), _results("row " * 500))
    state = state.with_message(replace(Message.assistant("answer " * 50), id=MessageId("a")))
    stub = _results("[cleared]")
    items = (
        Written(Message.user("summary " * 10), (Span(0, 1),)),
        Kept(1, 2),
        Written(stub, (Span(2, 3),)),
        Kept(3, 4),
    )
    made = Compaction(
        id=CompactionId("x"), covers=4, upto=MessageId("a"), items=items, strategy="test"
    )
    ledger = TokenLedger()
    before = ledger.observe(state)
    smaller = ledger.observe(state.with_compaction(made))
    parts = smaller.by_category
    assert parts.summaries == message_tokens(Message.user("summary " * 10)).total
    assert parts.user == 0
    assert parts.tool_results == message_tokens(stub).total
    assert parts.assistant == before.by_category.assistant
    assert smaller == TokenLedger().observe(state.with_compaction(made))
    assert ledger.observe(state) == before

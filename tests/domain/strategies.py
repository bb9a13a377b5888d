"""Facts in orders that can happen, for property tests."""

from typing import Literal

from hypothesis import strategies as st

from palaver.domain.events import (
    AttemptMade,
    ConversationCreated,
    Event,
    HeadMoved,
    MessageAdded,
    MessagePinned,
    MetadataChanged,
    PreferencesChanged,
    Recorded,
    ToolClaimed,
    ToolResolved,
    TurnClosed,
    TurnOpened,
)
from palaver.domain.ids import CallId, MessageId, TurnId
from palaver.domain.messages import (
    Block,
    File,
    Flag,
    Image,
    Message,
    Reasoning,
    Refusal,
    Role,
    StopReason,
    Text,
    ToolCall,
    ToolResult,
    Unknown,
)
from palaver.domain.values import (
    Effect,
    ErrorInfo,
    GenerationSettings,
    SessionMetadata,
    TurnOutcome,
    Usage,
    UserPreferences,
)

texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=40)
short = st.text("abcXYZ09_-", min_size=1, max_size=8)
reasons: st.SearchStrategy[Literal["undo", "switch", "edit"]] = st.sampled_from(
    ["undo", "switch", "edit"]
)
usages = st.builds(Usage, *[st.integers(0, 10_000)] * 5, st.booleans())
user_blocks: st.SearchStrategy[Block] = st.one_of(
    st.builds(Text, texts),
    st.builds(Image, st.just("image/png"), url=st.just("https://example.org/a.png")),
    st.builds(File, st.just("text/plain"), name=texts, url=st.just("https://example.org/a")),
)
model_blocks: st.SearchStrategy[Block] = st.one_of(
    st.builds(Text, texts, texts),
    st.builds(Reasoning, texts, texts, texts, short, st.just("anthropic.messages"), texts),
    st.builds(Refusal, texts),
    st.builds(Unknown, short, short, st.just('{"type":"new","x":[1,2]}')),
)


@st.composite
def turns(draw: st.DrawFn, number: int) -> list[Event]:
    """One whole turn: a message, some steps with calls, an end."""
    turn = TurnId(f"t{number}")
    question = Message(
        Role.USER,
        tuple(draw(st.lists(user_blocks, min_size=1, max_size=3))),
        MessageId(f"m{number}"),
        flags=tuple(draw(st.lists(st.sampled_from(Flag), max_size=2))),
    )
    facts: list[Event] = [TurnOpened(turn), MessageAdded(question, turn)]
    for step in range(draw(st.integers(0, 3))):
        facts += draw(_step(turn, number, step))
    outcome = draw(st.sampled_from(TurnOutcome))
    error = ErrorInfo("overloaded", "busy", "wait", True, 1.5) if draw(st.booleans()) else None
    return [*facts, TurnClosed(turn, outcome, error)]


@st.composite
def _step(draw: st.DrawFn, turn: TurnId, number: int, step: int) -> list[Event]:
    ids = draw(st.lists(short, unique=True, max_size=4))
    calls = [ToolCall(CallId(i), draw(short), '{"a": 1.0}') for i in ids]
    blocks = (*draw(st.lists(model_blocks, min_size=1, max_size=3)), *calls)
    answer = Message(
        Role.ASSISTANT,
        blocks,
        MessageId(f"m{number}.{step}"),
        model="scripted:m",
        stop=draw(st.sampled_from(StopReason)),
    )
    facts: list[Event] = [
        MessageAdded(answer, turn),
        AttemptMade(turn, 1, "scripted:m", draw(usages), answer.stop, request_id="r"),
    ]
    for call in draw(st.permutations(calls)):
        if draw(st.booleans()):
            facts.append(ToolClaimed(turn, call.id, call.name, Effect.EFFECT))
        result = ToolResult(call.id, call.name, (Text(draw(texts)),), draw(st.booleans()))
        facts.append(ToolResolved(turn, result, 0.25))
    return facts


@st.composite
def logs(draw: st.DrawFn) -> list[Recorded]:
    """A log from its beginning, with numbers and times."""
    settings = GenerationSettings(temperature=0.5, stop=("x",))
    facts: list[Event] = [ConversationCreated(UserPreferences("offline", generation=settings))]
    for number in range(draw(st.integers(0, 4))):
        facts += draw(turns(number))
        if draw(st.integers(0, 2)) == 0:
            heads = [None, *(MessageId(f"m{n}") for n in range(number + 1))]
            facts.append(HeadMoved(draw(st.sampled_from(heads)), draw(reasons)))
        if draw(st.booleans()):
            facts.append(MessagePinned(MessageId(f"m{number}"), draw(st.booleans())))
        if draw(st.booleans()):
            facts.append(MetadataChanged(SessionMetadata(draw(texts), custom={"k": "v"})))
        if draw(st.booleans()):
            facts.append(PreferencesChanged(UserPreferences(system=draw(texts))))
    return [Recorded(n, 1_000.0 + n, fact) for n, fact in enumerate(facts, 1)]

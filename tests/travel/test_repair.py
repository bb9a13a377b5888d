"""Whatever a source holds, the repaired history is one that every provider takes."""

from collections import Counter

from hypothesis import given, settings, strategies as st

from palaver.domain.ids import BlobId, CallId, MessageId
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
from palaver.testing import valid_history
from palaver.travel.base import RepairKind
from palaver.travel.repair import BEGINNING, repair

TEXTS = st.sampled_from(["", " \n", "hello", "größer 👩‍🚀", "a\x00b", "half \ud83d"])
IDS = st.sampled_from(["a", "b", "c", "", "x:y", "long" * 20, "bad \udc00"])
NAMES = st.sampled_from(["look", "", "a.b", "größe", "n" * 80])
ARGUMENTS = st.sampled_from(
    ["", "{}", '{"x": 1}', "[1]", "text", '{"cut": ', '"\\ud800"', "[" * 2000, "\x00"]
)
PICTURE = Image("image/png", blob=BlobId("sha256:" + "0" * 64))
FILE = File("text/plain", url="https://example.org/a", name="a\x00")
BLOCKS: st.SearchStrategy[Block] = st.one_of(
    st.builds(Text, TEXTS),
    st.builds(Refusal, TEXTS),
    st.builds(Reasoning, TEXTS, st.sampled_from(["", "signed"])),
    st.builds(lambda id, name, args: ToolCall(CallId(id), name, args), IDS, NAMES, ARGUMENTS),
    st.builds(
        lambda id, name, text: ToolResult(CallId(id), name, (Text(text), PICTURE)),
        IDS,
        NAMES,
        TEXTS,
    ),
    st.sampled_from([PICTURE, FILE, Unknown("other", "new", '{"type":"new"}')]),
)
MESSAGES = st.builds(
    lambda role, blocks, stop, flags, id: Message(
        role, tuple(blocks), MessageId(id), stop=stop, flags=flags
    ),
    st.sampled_from(list(Role)),
    st.lists(BLOCKS, max_size=4),
    st.sampled_from([None, StopReason.ABORTED, StopReason.PAUSE, StopReason.END_TURN]),
    st.sampled_from([(), (Flag.PARTIAL,), (Flag.SYNTHETIC,)]),
    st.sampled_from(["", "", "m1"]),
)


def call(id: str, arguments: str = "{}") -> ToolCall:
    return ToolCall(CallId(id), "look", arguments)


def result(id: str, text: str = "seen") -> Message:
    return Message(Role.TOOL, (ToolResult(CallId(id), "look", (Text(text),)),))


def assistant(*blocks: Block, stop: StopReason | None = None) -> Message:
    return Message(Role.ASSISTANT, blocks, stop=stop)


def kinds(messages: list[Message]) -> tuple[tuple[Message, ...], Counter[RepairKind]]:
    repaired, repairs = repair(messages)
    assert valid_history(repaired) == []
    return repaired, Counter(entry.kind for entry in repairs)


@settings(deadline=None, max_examples=200)
@given(st.lists(MESSAGES, max_size=8))
def test_anything_becomes_valid_history_and_nothing_is_left_to_repair(
    messages: list[Message],
) -> None:
    """The result is valid, or empty where nothing was said; a second repair changes nothing."""
    repaired, _ = repair(messages)
    assert not repaired or valid_history(repaired) == []
    assert repair(repaired) == (repaired, ())
    calls = [call.id for message in repaired for call in message.tool_calls]
    assert len(set(calls)) == len(calls)
    for message in repaired:
        for wanted in message.tool_calls:
            assert isinstance(wanted.parsed(), dict)


@settings(deadline=None, max_examples=200)
@given(st.lists(MESSAGES, max_size=8))
def test_no_visible_text_is_lost(messages: list[Message]) -> None:
    """Every word that somebody said is still said, as often as before."""
    repaired, _ = repair(messages)
    for word in ("hello", "größer 👩‍🚀"):
        said = sum(message.text.count(word) for message in messages)
        assert sum(message.text.count(word) for message in repaired) >= said


@given(st.lists(st.sampled_from(["one", "two"]), min_size=1, max_size=6))
def test_valid_history_stays_as_it_is(texts: list[str]) -> None:
    """What is valid is given back unchanged, without repairs."""
    messages: list[Message] = []
    for number, text in enumerate(texts):
        messages += (
            Message.user(text),
            assistant(Text(text), call(f"c{number}")),
            result(f"c{number}"),
            Message.assistant(text),
        )
    assert repair(messages) == (tuple(messages), ())


def test_a_reused_id_gets_another_one_in_call_and_result() -> None:
    """Results go with their calls by position, also where two calls share an id."""
    repaired, found = kinds(
        [
            Message.user("go"),
            assistant(call("x")),
            result("x", "first"),
            assistant(call("x")),
            result("x", "second"),
        ]
    )
    assert found == {RepairKind.REUSED_ID: 1}
    assert [m.tool_results[0].text for m in repaired if m.tool_results] == ["first", "second"]
    assert repaired[3].tool_calls[0].id == repaired[4].tool_results[0].call_id != "x"


def test_results_are_put_behind_their_calls_in_call_order() -> None:
    """Late results are moved, missing ones written, doubles left out, strangers kept as text."""
    repaired, found = kinds(
        [
            Message.user("go"),
            assistant(call("a"), call("b"), call("c")),
            result("b"),
            Message.user("meanwhile"),
            result("a"),
            result("a", "again"),
            result("z", "from nowhere"),
        ]
    )
    assert found == {
        RepairKind.MISPLACED: 1,
        RepairKind.DOUBLE_RESULT: 1,
        RepairKind.ORPHANED_RESULT: 1,
        RepairKind.UNANSWERED_CALL: 1,
    }
    assert [r.call_id for r in repaired[2].tool_results] == ["a", "b", "c"]
    assert repaired[2].tool_results[2].failed
    assert Flag.SYNTHETIC in repaired[2].flags
    assert "from nowhere" in repaired[-1].text


def test_an_aborted_turn_is_flagged_and_its_calls_are_answered() -> None:
    """Nobody takes the beginning of an answer for the whole of it."""
    cut = assistant(Text("I will"), call("a"), stop=StopReason.ABORTED)
    repaired, found = kinds([Message.user("go"), cut, Message.user("stop")])
    assert found == {RepairKind.ABORTED_TURN: 1, RepairKind.UNANSWERED_CALL: 1}
    assert Flag.PARTIAL in repaired[1].flags
    assert "aborted" in repaired[2].tool_results[0].text


def test_two_answers_in_a_row_become_one() -> None:
    """The joined message says both and keeps what the second one ended with."""
    repaired, found = kinds(
        [Message.user("go"), assistant(Text("one ")), assistant(Text("two"), call("a"))]
    )
    assert found == {RepairKind.MERGED_MESSAGES: 1, RepairKind.UNANSWERED_CALL: 1}
    assert repaired[1].text == "one two"


def test_thinking_without_an_answer_goes() -> None:
    """Thinking before something stays; behind everything, or alone, it goes."""
    think = Reasoning("hm", signature="s", origin="anthropic.messages")
    repaired, found = kinds(
        [Message.user("a"), assistant(think), Message.user("b"), assistant(think, Text("c"), think)]
    )
    assert found == {RepairKind.DROPPED_REASONING: 2}
    assert repaired[-1].content == (think, Text("c"))


def test_the_user_comes_first() -> None:
    """A greeting of the assistant gets a user before it; system text before an answer is theirs."""
    system = Message(Role.SYSTEM, (Text("be kind"),))
    repaired, found = kinds([system, Message.assistant("Hello!"), system, Message.assistant("Yes")])
    assert found == {RepairKind.MISSING_USER: 1, RepairKind.MISPLACED: 1}
    assert [m.role for m in repaired][:3] == [Role.SYSTEM, Role.USER, Role.ASSISTANT]
    assert repaired[1].text == BEGINNING


def test_odd_names_ids_and_arguments_get_a_form_that_passes() -> None:
    """Arguments that are no object are wrapped, not dropped."""
    odd = ToolCall(CallId("a|b"), "functions.run", "ls -l", origin="openai.responses", native="{}")
    repaired, found = kinds([Message.user("go"), assistant(odd), result("a|b")])
    assert found == {RepairKind.INVALID_NAME: 2, RepairKind.INVALID_ARGUMENTS: 1}
    made = repaired[1].tool_calls[0]
    assert made.parsed() == {"input": "ls -l"}
    assert made.name == "functions_run"
    assert repaired[2].tool_results[0].text == "seen"


def test_unstorable_text_is_replaced_and_flagged() -> None:
    """NUL and half characters become U+FFFD; two halves become one character, without a flag."""
    repaired, found = kinds([Message.user("a\x00"), Message.assistant("\ud83d\ude00")])
    assert found == {RepairKind.SANITISED_TEXT: 1}
    assert repaired[0].text == "a\ufffd"
    assert repaired[0].flags == (Flag.SANITISED,)
    assert repaired[1] == Message.assistant("😀")


def test_repairs_name_the_record_of_the_source() -> None:
    """`records` says where each message stood."""
    _, repairs = repair([Message.user("a"), Message.user(" ")], records=[10, 20])
    assert [entry.record for entry in repairs] == [20]

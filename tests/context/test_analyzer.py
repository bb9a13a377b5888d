"""What an analysis promises: it grows with the conversation, and equals one from scratch."""

from collections.abc import Iterator

import pytest
from hypothesis import given, strategies as st

from palaver.context.analysis import ConversationAnalysis
from palaver.context.analyzer import ConversationAnalyzer
from palaver.context.tokens import Parts, message_tokens
from palaver.domain.history import History
from palaver.domain.ids import CallId, MessageId
from palaver.domain.messages import Flag, Message, Role, Text, ToolCall, ToolResult


def calling(number: int, *calls: tuple[str, str, str]) -> Message:
    """An assistant message with calls `(id, tool, arguments)`."""
    blocks = tuple(ToolCall(CallId(id), name, arguments) for id, name, arguments in calls)
    return Message(Role.ASSISTANT, blocks, MessageId(f"a{number}"))


def answering(number: int, *results: tuple[str, str, str, bool]) -> Message:
    """A tool message with results `(id, tool, text, failed)`."""
    blocks = tuple(
        ToolResult(CallId(id), name, (Text(text),), failed=failed)
        for id, name, text, failed in results
    )
    return Message(Role.TOOL, blocks, MessageId(f"t{number}"))


def analysed(*messages: Message) -> ConversationAnalysis:
    return ConversationAnalyzer().analyse(messages)


def test_tools_are_matched() -> None:
    """Each use has its call and its result, with error flag; the map goes by id."""
    found = analysed(
        Message.user("Read both", id="u"),
        calling(1, ("x", "read", '{"path":"a"}'), ("y", "read", '{"path":"b"}')),
        answering(1, ("x", "read", "content", False), ("y", "read", "no such file", True)),
    )
    assert found.tool_requests == 2
    (one,), (other,) = found.tool_results[CallId("x")], found.tool_results[CallId("y")]
    assert (one.requested, one.answered, one.failed) == (1, 2, False)
    assert other.failed
    assert found.errors == [other]
    assert found.critical.unresolved_errors == (other,)


def test_reused_ids_are_told_apart() -> None:
    """Two calls of one id are two uses, each with its own result."""
    found = analysed(
        Message.user("Go", id="u"),
        calling(1, ("x", "read", "{}")),
        answering(1, ("x", "read", "one", False)),
        calling(2, ("x", "list", "{}")),
        answering(2, ("x", "list", "two", False)),
    )
    assert [use.name for use in found.tool_results[CallId("x")]] == ["read", "list"]
    assert [use.answered for use in found.tools] == [2, 4]
    assert list(found.reused_ids) == ["x"]


def test_what_waits_and_what_was_never_answered() -> None:
    """Calls at the end are pending; calls that the conversation left behind are unanswered."""
    found = analysed(
        Message.user("Go", id="u"),
        calling(1, ("x", "read", "{}")),
        Message.user("Never mind, list instead", id="v"),
        calling(2, ("y", "list", "{}"), ("z", "list", "{}")),
        answering(2, ("y", "list", "ok", False)),
    )
    assert list(found.unanswered) == [0]
    assert [use.call_id for use in found.critical.pending] == ["z"]
    assert found.tool_requests == 3


def test_an_error_is_resolved_by_a_later_success() -> None:
    """A failed call counts until a later one with the same aim goes well."""
    failed = calling(1, ("x", "shell", '{"command":"pytest tests/a.py"}'))
    again = calling(2, ("y", "shell", '{"command":"pytest tests/a.py -x"}'))
    before = (Message.user("Go", id="u"), failed, answering(1, ("x", "shell", "1 failed", True)))
    assert len(analysed(*before).critical.unresolved_errors) == 1
    after = (*before, again, answering(2, ("y", "shell", "ok", False)))
    assert not analysed(*after).critical.unresolved_errors


def test_a_read_is_superseded_by_the_same_read() -> None:
    """The same call again makes the earlier result out of date; a failed one does not."""
    read = ("read", '{"path":"a"}')
    found = analysed(
        Message.user("Go", id="u"),
        calling(1, ("x", *read)),
        answering(1, ("x", "read", "old", False)),
        calling(2, ("y", *read)),
        answering(2, ("y", "read", "gone", True)),
        calling(3, ("z", *read)),
        answering(3, ("z", "read", "new", False)),
    )
    assert [(each.earlier, each.later) for each in found.superseded] == [(0, 2)]


def test_requests_and_pins() -> None:
    """First and latest request are the user's own; pinned and system messages by position."""
    found = ConversationAnalyzer().analyse(
        [
            Message(Role.SYSTEM, (Text("Be brief."),), MessageId("s")),
            Message.user("First", id="u"),
            Message.assistant("Yes", id="a"),
            Message.user("Latest", id="v"),
            Message(Role.USER, (Text("Stub"),), MessageId("w"), flags=(Flag.SYNTHETIC,)),
        ],
        pins={MessageId("a"), MessageId("elsewhere")},
    )
    critical = found.critical
    assert critical.system == (0,)
    assert (critical.first_request, critical.latest_request) == (1, 3)
    assert critical.pinned == (2,)
    assert list(found.by_role[Role.USER]) == [1, 3, 4]


def test_tokens_by_category() -> None:
    """Tokens are the sum of the messages', by what they are for."""
    messages = [Message.user("Hello"), calling(1, ("x", "read", '{"path":"a"}'))]
    found = analysed(*messages)
    assert found.tokens == message_tokens(messages[0]) + message_tokens(messages[1])
    assert found.total_tokens == found.tokens.total
    assert 0 < found.tool_share < 1


class Counted:
    """Counts the messages that are read."""

    def __init__(self) -> None:
        self.read = 0

    def __call__(self, message: Message) -> Parts:
        self.read += 1
        return message_tokens(message)


def conversation(length: int, *, mark: str = "") -> Iterator[Message]:
    """Questions, calls, results and answers in turn."""
    for i in range(length):
        kind, name = i % 4, f"{mark}{i}"
        if kind == 0:
            yield Message.user(f"Always look at file_{i % 5}.py, please.", id=f"u{name}")
        elif kind == 1:
            yield calling(i, (f"c{i % 3}", "read", f'{{"path":"file_{i % 5}.py"}}'))
        elif kind == 2:
            yield answering(i, (f"c{(i - 1) % 3}", "read", f"text {i}", i % 3 == 0))
        else:
            yield Message.assistant(f"Let's go with number {i}.", id=f"b{name}")


def test_each_message_is_read_once() -> None:
    """A message more costs one reading, at any length."""
    counted = Counted()
    analyzer = ConversationAnalyzer(estimate=counted)
    path: History[Message] = History()
    for number, message in enumerate(conversation(600), 1):
        path = path.append(message)
        analyzer.analyse(path)
        assert counted.read == number


def test_a_switch_reads_from_the_divergence() -> None:
    """An undo reads nothing; another branch is read from where it leaves the known one."""
    counted = Counted()
    analyzer = ConversationAnalyzer(estimate=counted)
    whole = History(conversation(400))
    analyzer.analyse(whole)
    shorter = whole.first(300)
    assert analyzer.analyse(shorter) == ConversationAnalyzer().analyse(shorter)
    assert counted.read == 400
    other = shorter
    for message in conversation(20, mark="other"):
        other = other.append(message)
    assert analyzer.analyse(other) == ConversationAnalyzer().analyse(other)
    assert counted.read == 420


def test_a_redacted_message_is_read_again() -> None:
    """A message that was exchanged in the middle is seen, although the newest one is the same."""
    path = list(conversation(200))
    analyzer = ConversationAnalyzer()
    before = analyzer.analyse(path)
    path[40] = Message.user("[redacted]", id=path[40].id)
    after = analyzer.analyse(path)
    assert after != before
    assert after == ConversationAnalyzer().analyse(path)


def test_an_equal_history_is_not_read_again() -> None:
    """Messages that were loaded anew are known by their content."""
    counted = Counted()
    analyzer = ConversationAnalyzer(estimate=counted)
    analyzer.analyse(list(conversation(100)))
    analyzer.analyse(list(conversation(100)))
    assert counted.read == 100


def test_results_come_one_by_one() -> None:
    """A tool message that grows gives the same as one that came whole."""
    start = [Message.user("Go", id="u"), calling(1, ("x", "a", "{}"), ("y", "b", "{}"))]
    one = answering(1, ("y", "b", "second", True))
    both = answering(1, ("x", "a", "first", False), ("y", "b", "second", True))
    analyzer = ConversationAnalyzer()
    for path in (start, [*start, one], [*start, both], [*start, both, Message.user("And?")]):
        assert analyzer.analyse(path) == ConversationAnalyzer().analyse(path)


def test_what_was_given_out_does_not_change() -> None:
    """An analysis is a value: what the conversation does later does not reach it."""
    analyzer = ConversationAnalyzer()
    path = History(conversation(50))
    kept = analyzer.analyse(path)
    for message in conversation(30, mark="x"):
        path = path.append(message)
        analyzer.analyse(path)
    analyzer.analyse(path.first(10))
    assert kept == ConversationAnalyzer().analyse(History(conversation(50)))


@st.composite
def histories(draw: st.DrawFn) -> list[list[Message]]:
    """Paths that a person goes through: longer ones, shorter ones, other branches."""
    whole = list(conversation(draw(st.integers(1, 40))))
    found = [whole]
    for _ in range(draw(st.integers(1, 4))):
        before = draw(st.sampled_from(found))
        cut = draw(st.integers(0, len(before)))
        mark = draw(st.sampled_from(["", "x", "y"]))
        more = list(conversation(draw(st.integers(0, 12)), mark=mark))
        found.append([*before[:cut], *more])
    return found


@given(histories())
def test_incremental_is_the_same_as_from_scratch(paths: list[list[Message]]) -> None:
    """Whatever was analysed before, the analysis is that of the path alone."""
    analyzer = ConversationAnalyzer()
    for path in paths:
        assert analyzer.analyse(path) == ConversationAnalyzer().analyse(path)


@pytest.mark.long
@given(histories())
def test_incremental_is_the_same_as_from_scratch_long(paths: list[list[Message]]) -> None:
    """As above, in the long run."""
    test_incremental_is_the_same_as_from_scratch.hypothesis.inner_test(paths)  # type: ignore[attr-defined]

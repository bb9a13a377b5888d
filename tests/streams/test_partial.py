"""What a run log tells of an answer that its process did not live to end."""

from msgspec.structs import replace

from palaver.domain.ids import CallId, ConversationId, TurnId
from palaver.domain.stream import (
    AttemptStarted,
    BlockReset,
    ReasoningDelta,
    RetryScheduled,
    StreamEvent,
    TextDelta,
    ToolRequested,
)
from palaver.domain.values import ErrorInfo
from palaver.streams.partial import Unfinished, unfinished_attempt
from palaver.streams.session import StreamSession

CUT = ErrorInfo("stream_truncated", "cut")


def left(*events: StreamEvent) -> Unfinished | None:
    session = StreamSession(TurnId("t"), ConversationId("c"))
    session.publish(events)
    return unfinished_attempt(session.unwritten())


def test_an_answer_that_was_being_continued_is_kept_whole() -> None:
    """Both halves, and while it waited for the second one, the first."""
    first = (AttemptStarted(1, "a:1"), TextDelta("half "), RetryScheduled(1, 1.0, CUT, True))
    second = (AttemptStarted(2, "b:2", continues=True), TextDelta("and half"))
    assert left(*first) == Unfinished(1, "a:1", "half ")
    assert left(*first, *second) == Unfinished(2, "b:2", "half and half", joins=1)


def test_what_was_under_way_beside_text_is_known() -> None:
    """Reasoning before the text is over with its process; behind it, and in a call, the attempt was
    at something that nobody else can end. What was reset is forgotten."""
    begun = (AttemptStarted(1, "a"), ReasoningDelta("Hm"), TextDelta("So: "))
    call = ToolRequested(CallId("c"), "look")
    resets = (BlockReset("tool_call", CallId("c")), BlockReset("reasoning"))
    told = Unfinished(1, "a", "So: ", has_reasoned=True)
    assert left(*begun) == told
    assert left(*begun, ReasoningDelta("Hm")) == replace(told, is_elsewhere=True)
    assert left(*begun, call) == replace(told, is_elsewhere=True)
    assert left(*begun, call, *resets) == Unfinished(1, "a", "So: ")
    assert left(*begun, call, RetryScheduled(1, 0, CUT), AttemptStarted(2, "b")) == Unfinished(
        2, "b", ""
    )


def test_an_attempt_that_said_nothing_leaves_nothing() -> None:
    """It failed, and the next one had not begun."""
    assert left(AttemptStarted(1, "a:1"), RetryScheduled(1, 1.0, CUT)) is None

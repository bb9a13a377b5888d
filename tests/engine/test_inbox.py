from palaver.domain.ids import CallId
from palaver.engine.inbox import Inbox, Progressed, Waited


async def test_of_a_calls_progress_only_the_newest_waits() -> None:
    """A tool that reports in a tight loop fills no memory; other calls and events keep their
    place."""
    inbox = Inbox()
    for n in range(100_000):
        inbox.put(Progressed(CallId("a"), f"{n}", None))
        if n == 5:
            inbox.put(Waited())
            inbox.put(Progressed(CallId("b"), "other", None))
    assert await inbox.get() == Progressed(CallId("a"), "99999", None)
    assert await inbox.get() == Waited()
    inbox.put(Progressed(CallId("a"), "again", None))
    assert inbox.drain() == [
        Progressed(CallId("b"), "other", None),
        Progressed(CallId("a"), "again", None),
    ]
    inbox.put(Progressed(CallId("a"), "after", None))
    assert await inbox.get() == Progressed(CallId("a"), "after", None)

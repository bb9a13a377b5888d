import asyncio
import threading
from typing import Any

import pytest

import palaver
from palaver import SessionMetadata, TextDelta, TurnCompleted, sync, tool
from palaver.domain.errors import PalaverError, StoreError
from palaver.testing import Call, Pause, Say, ScriptedModel


def test_what_is_closed_says_so() -> None:
    """A conversation behind the end of its `with` is refused, also one that was not read out."""
    with sync.open(":memory:", model=ScriptedModel(["Hello there"])) as manager:
        conversation = manager.create()
        for event in conversation.stream("hi"):
            if isinstance(event, TextDelta):
                break
    with pytest.raises(StoreError):
        conversation.say("and?")


def test_an_error_inside_closes_everything() -> None:
    """The caller's own error comes out, and no thread is left."""
    before = threading.active_count()

    def fail() -> None:
        with sync.open(":memory:", model=ScriptedModel()) as manager:
            manager.create()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert threading.active_count() == before


def test_closing_wakes_other_threads() -> None:
    """A thread that waits for an answer is told; it does not wait for ever."""
    told: list[object] = []
    spoke = threading.Event()

    def listen(conversation: sync.Conversation) -> None:
        try:
            for event in conversation.stream("hi"):
                told.append(event)
                if isinstance(event, TextDelta):
                    spoke.set()
            conversation.say("more")
        except PalaverError as error:
            told.append(error)

    model = ScriptedModel([[Say("a"), Pause(until=asyncio.Event())]])
    with sync.open(":memory:", model=model) as manager:
        thread = threading.Thread(target=listen, args=(manager.create(),))
        thread.start()
        assert spoke.wait(60)
    thread.join(60)
    assert not thread.is_alive()
    assert isinstance(told[-1], StoreError)


@tool(effect="effect")
async def send(to: str) -> str:
    """Send a letter."""
    return f"sent to {to}"


def test_everything_that_async_has() -> None:
    """Decisions, branches, forks, documents and blobs, one after another."""
    lines: list[Any] = [[Call("send", {"to": "bob"})], "Sent.", "again", "edited", '{"a": 1}']
    with sync.open(":memory:", model=ScriptedModel(lines), tools=[send]) as manager:
        talk = manager.create(tags=["a"])
        assert talk.tag("b") == ("a", "b")
        talk.set_metadata(SessionMetadata("Letters"))
        (call,) = talk.say("write").waiting
        turn = talk.decide(call.id, approve=True)
        numbered = list(talk.follow(turn))
        assert isinstance(numbered[-1].event, TurnCompleted)
        assert list(manager.follow(turn, after=numbered[-2].cursor)) == numbered[-1:]
        assert manager.turn(turn).conversation == talk.id
        list(talk.follow(talk.regenerate()))
        list(talk.follow(talk.edit(talk.messages[0].id, "else")))
        assert [b.is_active for b in talk.branches()] == [True, False, False]
        talk.undo()
        talk.redo()
        talk.switch(talk.branches()[1].head)
        fork = manager.fork(talk.id)
        assert [m.text for m in fork.messages] == [m.text for m in talk.messages]
        assert list(fork.stream("shape", output={"type": "object"}))
        (report,) = manager.import_conversations(manager.export(talk.id, "jsonl"))
        assert manager.open(report.conversation).messages[0].text == talk.messages[0].text
        blob = manager.attach(b"hello", name="a.txt").blob
        assert blob is not None
        assert manager.read_blob(blob) == b"hello"


def test_marks_and_time_travel() -> None:
    """Naming, pinning, looking back, erasing and putting away, without an event loop in sight."""
    with sync.open(":memory:", model=ScriptedModel(["A"])) as manager:
        conversation = manager.create(title="T")
        began = conversation.state.seq
        conversation.say("a word")
        assert conversation.name() == "a word"
        conversation.pin(conversation.messages[0].id)
        assert len(conversation.at(began).messages) == 0
        assert len(conversation.diff(began, conversation.state.seq).added) == 2
        assert conversation.redact(conversation.messages[0].id).facts
        conversation.archive()
        assert manager.list().items == ()


def test_methods_are_the_async_ones() -> None:
    """What a conversation and a manager can do, they can do without `async`; the rest is named."""
    hooks = {"start", "states", "collect"}
    assert _public(palaver.Conversation) - _public(sync.Conversation) <= hooks
    hooks = {"aclose", "use", "subscribe", "store", "streams", "recover", "purge", "collect_blobs"}
    hooks |= {"keep_sending", "session", "tenant"}
    assert _public(palaver.ConversationManager) - _public(sync.ConversationManager) <= hooks


def _public(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}

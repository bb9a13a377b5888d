import asyncio
import threading

import pytest

from palaver import TextDelta, sync
from palaver.domain.errors import PalaverError, StoreError
from palaver.testing import Pause, Say, ScriptedModel


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
        assert spoke.wait(5)
    thread.join(5)
    assert not thread.is_alive()
    assert isinstance(told[-1], StoreError)

"""Many readers at once."""

import asyncio

from palaver.testing import Pause, Say, ScriptedModel
from tests.server.conftest import Serving
from tests.server.streaming import Whole
from tests.server.test_drops import over_sse, over_ws


async def test_a_hundred_readers_of_one_turn(serving: Serving) -> None:
    """They come one after the other while it speaks; each has the same whole, byte for byte."""
    begin = asyncio.Event()
    text = "This is what all of them are told, piece by piece. " * 8
    served = await serving(ScriptedModel([[Pause(until=begin), Say(text, piece=4)]]))
    session = await served.turn()
    wholes = [Whole() for _ in range(100)]
    async with asyncio.TaskGroup() as readers:
        for number, whole in enumerate(wholes):
            read = over_ws if number % 3 == 0 else over_sse
            readers.create_task(read(served, session.turn, whole, drop=lambda: 0))
            if number == 50:
                begin.set()
    assert {whole.text for whole in wholes} == {text}
    assert len({whole.bytes for whole in wholes}) == 1
    assert all(whole.is_done for whole in wholes)


async def test_many_turns_of_many_readers(serving: Serving) -> None:
    """Forty turns at once, each with a reader over a stream and one over a socket."""
    model = ScriptedModel(piece=6)
    for number in range(40):
        model.when(f"question {number}.", f"This is answer {number}, and it goes on a little.")
    served = await serving(model)

    async def both(number: int) -> None:
        session = await served.turn(f"question {number}.")
        one, other = Whole(), Whole()
        await asyncio.gather(
            over_sse(served, session.turn, one, drop=lambda: 0),
            over_ws(served, session.turn, other, drop=lambda: 0),
        )
        assert one.text == f"This is answer {number}, and it goes on a little."
        assert one.bytes == other.bytes

    async with asyncio.TaskGroup() as all_of_them:
        for number in range(40):
            all_of_them.create_task(both(number))

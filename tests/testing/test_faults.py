"""Faults at every named point: whatever fails, what is left can be gone on with."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import pytest

import palaver
from palaver import ConversationManager, PalaverError, Tool, tool
from palaver.domain.errors import StoreFull
from palaver.settings import RetrySettings, Settings, ToolSettings
from palaver.store.blobs import MemoryBlobStore
from palaver.store.memory import MemoryStore
from palaver.testing import Call, Say, ScriptedModel, ToldClock, valid_history
from palaver.testing.faults import POINTS, Delay, Fault, Faults, Hang, Raise, each_passing

SETTINGS = Settings(
    retry=RetrySettings(network_attempts=1, network_base_s=0.001),
    tools=ToolSettings(output_chars=50),
)
_UNUSED = (
    *("fork", "sharing", "rewrite", "blob_references", "delete", "take_turn", "statistics"),
    *("close", "append_run", "read_run", "turn"),
)
ELSEWHERE = {
    *(f"store.{name}.{side}" for name in _UNUSED for side in ("before", "after")),
    *(
        f"blob.{n}.{side}"
        for n in ("get", "size", "delete", "collect")
        for side in ("before", "after")
    ),
    *("clock.sleep.before", "clock.sleep.after"),
}
"""Points that this scenario need not come by."""


@tool(effect="read")
async def look() -> str:
    """Look."""
    return "long output " * 20


@tool(effect="effect", needs_approval=False)
async def pay() -> str:
    """Pay."""
    return "paid"


class World:
    """A conversation in memory, with faults all around."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.store, self.blobs = MemoryStore(), MemoryBlobStore()
        self.errors: list[Exception] = []

    def opened(self, *script: object) -> AbstractAsyncContextManager[ConversationManager]:
        """A manager on what there is, with a model that says `script`."""
        tools: list[Tool] = [look, pay]
        return palaver.open(
            store=self.faults.store(self.store),
            blobs=self.faults.blobs(self.blobs),
            model=self.faults.model(ScriptedModel(script, piece=4)),  # type: ignore[arg-type]
            tools=self.faults.tools(tools),
            settings=SETTINGS,
        )

    async def live(self) -> None:
        """Talk, and note what goes wrong."""
        calls = [Say("I pay."), Call("look"), Call("pay")]
        try:
            async with self.opened(calls, "Paid.") as manager:
                conversation = await manager.create()
                await conversation.say("go")
                await manager.list()
                await manager.search("paid")
        except PalaverError as error:
            self.errors.append(error)

    async def go_on(self) -> None:
        """With all faults healed the conversation is there, valid, and answers."""
        self.faults.heal()
        async with self.opened("Yes.") as manager:
            page = await manager.list()
            found = [await manager.open(item.id) for item in page.items]
            conversation = found[0] if found else await manager.create()
            assert (await conversation.say("still there?")).text == "Yes."
            assert valid_history(list(conversation.messages)) == []
            effects = [r for m in conversation.messages for r in m.tool_results if r.name == "pay"]
            assert len(effects) <= 1


async def test_a_scenario_knows_which_points_it_passes() -> None:
    """None is forgotten: what is not passed is listed, and passed elsewhere."""
    faults = Faults()
    world = World(faults)
    await world.live()
    assert world.errors == []
    assert set(POINTS) - set(faults.passed) <= ELSEWHERE
    assert set(faults.passed) <= set(POINTS)


@pytest.mark.parametrize("point", sorted(set(POINTS) - ELSEWHERE))
async def test_every_passing_may_fail(point: str) -> None:
    """The error is a typed one, and the conversation goes on."""

    async def scenario(faults: Faults) -> None:
        world = World(faults)
        async with asyncio.timeout(60):
            await world.live()
            await world.go_on()

    assert await each_passing(point, Raise(), scenario, most=30) >= 1


async def test_a_fault_says_when_and_what() -> None:
    """At the n-th passing only, or at all later ones, too."""
    faults = Faults({"model.mid": Fault(Raise(lambda: StoreFull("no")), nth=2)})
    await faults.at("model.mid")
    with pytest.raises(StoreFull):
        await faults.at("model.mid")
    await faults.at("model.mid")
    faults = Faults({"model.mid": Fault(Raise(), nth=2, lasts=True)})
    await faults.at("model.mid")
    assert await _failures(lambda: faults.at("model.mid"), 3) == 3


async def _failures(work: Callable[[], Awaitable[None]], times: int) -> int:
    failed = 0
    for _ in range(times):
        try:
            await work()
        except PalaverError:
            failed += 1
    return failed


async def test_a_point_may_take_longer_or_for_ever() -> None:
    """By the clock that was given; a cancel ends what hangs."""
    clock = ToldClock()
    faults = Faults({"model.end": Fault(Delay(60.0)), "model.mid": Fault(Hang())}, clock=clock)
    slow = asyncio.create_task(faults.at("model.end"))
    stuck = asyncio.create_task(faults.at("model.mid"))
    await clock.advance(59.0)
    assert not slow.done()
    await clock.advance(2.0)
    await slow
    assert not stuck.done()
    stuck.cancel()


def test_a_plan_may_be_one_line() -> None:
    """For another process; a point that does not exist is refused."""
    faults = Faults.parse("tool.after_claim:2:kill,model.mid:1:0.5")
    assert faults.plan["tool.after_claim"].nth == 2
    assert faults.plan["model.mid"].action == Delay(0.5)
    with pytest.raises(ValueError, match="no point"):
        Faults.parse("tool.somewhere:1:raise")

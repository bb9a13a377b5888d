"""Several real processes on one file, and processes that are killed."""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from palaver.domain.events import MessageAdded
from palaver.domain.ids import TurnId
from palaver.store.sqlite import SqliteStore
from palaver.testing.store_contract.base import CHAT, ME, begin, said

APPENDER = Path(__file__).with_name("appender.py")


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    store = await SqliteStore.open(tmp_path / "chat.db")
    await begin(store)
    await store.close()
    return tmp_path / "chat.db"


@asynccontextmanager
async def process(path: Path, mode: str, name: str, count: int = 0) -> AsyncIterator[Process]:
    command = (sys.executable, str(APPENDER), str(path), mode, name, str(count))
    running = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
    try:
        yield running
    finally:
        if running.returncode is None:
            running.kill()
        await running.communicate()


async def lines(running: Process, count: int) -> list[str]:
    assert running.stdout is not None
    return [(await running.stdout.readline()).decode().strip() for _ in range(count)]


async def texts(store: SqliteStore) -> list[str]:
    records = await store.read(ME, CHAT)
    assert [r.seq for r in records] == list(range(1, len(records) + 1))
    return [r.event.message.text for r in records if isinstance(r.event, MessageAdded)]


async def test_two_processes_share_a_file(path: Path) -> None:
    """Two processes append to one conversation: nothing is lost, doubled or out of order."""
    async with process(path, "append", "a", 25) as one, process(path, "append", "b", 25) as two:
        acknowledged = await asyncio.gather(lines(one, 25), lines(two, 25))
        await one.wait()
        await two.wait()
    store = await SqliteStore.open(path)
    said_here = await texts(store)
    for line in (*acknowledged[0], *acknowledged[1]):
        number, text = line.split(" ", 1)
        assert said_here[int(number) - 2] == text
    assert len(said_here) == 50
    assert [t for t in said_here if t.startswith("a")] == [f"a {i}" for i in range(25)]
    await store.close()


async def test_killed_process_loses_nothing(path: Path) -> None:
    """What a process acknowledged before SIGKILL is there; another one goes on meanwhile."""
    beside = await SqliteStore.open(path)
    acknowledged: list[str] = []
    for round_ in range(3):
        async with process(path, "append", f"r{round_}", 10_000) as running:
            acknowledged += await lines(running, 4 + round_)
            running.kill()
            await running.wait()
            assert running.stdout is not None
            rest = (await running.stdout.read()).decode().splitlines()
            acknowledged += [line for line in rest if len(line.split(" ")) == 3]
        at = len(await beside.read(ME, CHAT))
        await beside.append(ME, CHAT, [said("beside")], expected=at)
    await beside.close()
    store = await SqliteStore.open(path)
    said_here = await texts(store)
    for line in acknowledged:
        number, text = line.split(" ", 1)
        assert said_here[int(number) - 2] == text
    assert said_here.count("beside") == 3
    await store.close()


async def test_turn_of_a_killed_process_is_adopted(path: Path) -> None:
    """A turn belongs to its process while that lives; after SIGKILL exactly one adopts it."""
    one, two = await SqliteStore.open(path), await SqliteStore.open(path)
    async with process(path, "hold", "turn_1") as running:
        assert await lines(running, 1) == ["held"]
        assert await one.adopt_orphans() == ()
        first_owner = (await one.turn(ME, TurnId("turn_1"))).owner
        running.kill()
        await running.wait()
    adopted = await asyncio.gather(one.adopt_orphans(), two.adopt_orphans())
    ((turn,),) = [found for found in adopted if found]
    assert turn.owner in {one.owner, two.owner} - {first_owner}
    assert (turn.id, turn.epoch) == ("turn_1", 1)
    locks = {p.stem for p in path.with_name("chat.db-owners").glob("owner_*")}
    assert locks == {one.owner, two.owner}
    await one.close()
    await two.close()


async def test_turn_survives_a_restart_after_a_crash(path: Path) -> None:
    """A process that starts after a crash checks the file and still finds the open turn."""
    async with process(path, "hold", "turn_1") as running:
        await lines(running, 1)
    store = await SqliteStore.open(path)
    assert [turn.id for turn in await store.adopt_orphans()] == ["turn_1"]
    await store.close()


@pytest.mark.long
async def test_many_processes_and_kills(path: Path) -> None:
    """Six writers at a time, all killed at odd moments, ten times over: the log stays whole."""
    acknowledged: list[str] = []
    for round_ in range(10):

        async def until_killed(name: str, after: int) -> None:
            async with process(path, "append", name, 10_000) as running:
                acknowledged.extend(await lines(running, after))

        names = [f"r{round_}w{i}" for i in range(6)]
        await asyncio.gather(*(until_killed(name, 1 + i) for i, name in enumerate(names)))
    store = await SqliteStore.open(path)
    said_here = await texts(store)
    for line in acknowledged:
        number, text = line.split(" ", 1)
        assert said_here[int(number) - 2] == text
    assert len(acknowledged) == 10 * 21
    await store.close()

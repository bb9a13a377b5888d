"""Killing a program again and again; `make crash` does the same 500 times."""

import random
import sys

import pytest

from tests.crash.loop import Loop

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kill -9")


@pytest.mark.parametrize("kills", [12, pytest.param(120, marks=pytest.mark.long)])
async def test_nothing_is_lost_and_nothing_is_done_twice(kills: int) -> None:
    """No accepted message is lost or answered twice, no effect runs twice, history stays valid."""
    seed = random.randrange(1 << 30)
    loop = Loop(kills=kills, seed=seed, limit_s=float("inf"))
    await loop.run()
    assert not loop.tally.problems, f"seed {seed}\n{loop.told()}"
    assert loop.kills >= kills

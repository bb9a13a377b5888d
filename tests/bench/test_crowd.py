import time
from pathlib import Path

import pytest

from bench.contestants.base import Heard
from bench.crowd import MAX_CONVERSATIONS, crowd
from bench.pacing import STAMP_CHARS


class Echo:
    """A contestant that hears two deltas at once, 5 ms after they were sent; every third fails."""

    def __init__(self) -> None:
        self.made: list[Echo] = []
        self.number = 0

    async def begin(self, api: str, url: str, folder: Path, *, tools: bool) -> None: ...

    async def another(self) -> "Echo":
        made = Echo()
        self.made.append(made)
        made.number = len(self.made)
        return made

    async def say(self, text: str, heard: Heard) -> None:
        if self.number % 3 == 0:
            raise RuntimeError("it broke")
        sent = time.monotonic_ns() - 5_000_000
        heard(f"{sent:0{STAMP_CHARS}d}" * 2)

    async def fill(self, turns: int) -> None: ...

    async def aclose(self) -> None: ...


async def test_every_delta_of_every_conversation_counts() -> None:
    """Merged deltas are told apart, failed turns are counted and named."""
    seen = await crowd(Echo(), 6, 2, limit_s=60.0, settle_s=0.0)
    assert (seen["complete"], seen["deltas"]) == (4, 8)
    assert "it broke" in seen["failure"]
    assert 5.0 <= seen["p50_ms"] <= seen["p99_ms"] <= seen["max_ms"]


async def test_crowds_are_bounded() -> None:
    """More conversations than a machine should be asked for are refused."""
    with pytest.raises(ValueError, match="more than"):
        await crowd(Echo(), MAX_CONVERSATIONS + 1, 1, limit_s=1.0)

"""The whole service under many seeds: whatever happens, all is as promised when all is healed.

A failure names its seed; `simulate(seed)` lives that world again.
"""

from pathlib import Path

import pytest

from palaver.testing.simulation import Figures, simulate
from palaver.testing.simulation_loop import Stuck, run_virtual

WORLDS = 60
"""Some seconds of processor time; the same worlds on every machine."""


def test_many_worlds() -> None:
    """Every turn ends, nothing is lost or done twice."""
    total = sum((simulate(seed) for seed in range(WORLDS)), Figures())
    assert total.accepted == 6 * WORLDS
    assert min(total.kills, total.faults, total.restarts, total.cancels, total.paid) > 0
    assert min(total.kept, total.compactions, total.taken) > 0
    assert total.read > 0.9 * total.accepted
    assert {"completed", "cancelled", "interrupted"} <= set(total.outcomes)


def test_worlds_on_a_file(tmp_path: Path) -> None:
    """The same with a database in an SQLite file."""
    total = sum((simulate(seed, folder=tmp_path) for seed in range(4)), Figures())
    assert total.accepted == 24
    assert total.kills > 0


def test_a_seed_is_one_world(tmp_path: Path) -> None:
    """The same things happen in it each time, in memory and in a file."""
    assert simulate(3) == simulate(3) == simulate(3, folder=tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("block", range(10))
def test_ten_thousand_worlds(block: int, tmp_path: Path) -> None:
    """Ten thousand seeds in memory, and each fiftieth in a file, too."""
    for seed in range(block * 1000, (block + 1) * 1000):
        simulate(seed)
        if not seed % 50:
            simulate(seed, folder=tmp_path)


def test_what_can_never_end_is_said() -> None:
    """Virtual time does not hide a hang: a loop with nothing left to do says so."""

    async def wait_for_nobody() -> None:
        import asyncio

        await asyncio.Event().wait()

    with pytest.raises(Stuck):
        run_virtual(wait_for_nobody())


def test_a_world_that_breaks_names_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who reads the failure can live it again."""
    monkeypatch.setattr("palaver.testing.simulation.HEALED_S", 0.0)
    with pytest.raises(AssertionError, match=r"^seed 7: "):
        simulate(7)


def test_a_turn_that_is_ended_while_its_store_fails() -> None:
    """A delta that was shown and never stored is replaced under a later epoch, so that its reader
    learns of it. This world found it otherwise."""
    simulate(9935)

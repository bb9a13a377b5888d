"""Compaction without a model on conversations of others: valid at any cut, for any target."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from palaver.context import offline
from palaver.context.draft import Task
from palaver.context.groups import groups
from palaver.context.validate import problems, window_of
from palaver.domain.errors import ContextWindowExceeded
from palaver.domain.messages import Message
from palaver.testing import valid_history
from palaver.travel import detect
from tests.context.histories import by_estimate
from tests.travel.collected import files, path_of

pytestmark = pytest.mark.skipif(not files(), reason="no collected conversations here")


def conversations(some: list[Path], each: int) -> Iterator[tuple[str, list[Message]]]:
    """Every `each`-th conversation of every file."""
    for file in some:
        for number, made in enumerate(detect.read(file.read_bytes(), name=file.name)):
            path = path_of(made)
            if number % each == 0 and len(path) > 3:
                yield f"{file.name}#{number}", path


def compacted(some: list[Path], *, each: int, cuts: int) -> int:
    """How many were compacted; each gave a sound window."""
    found = 0
    for name, path in conversations(some, each):
        chance = random.Random(name)
        starts = [group.stop for group in groups(path)]
        for cut in {len(path), *chance.sample(starts, min(cuts, len(starts)))}:
            found += is_sound(name, path[:cut], chance)
    return found


def is_sound(name: str, prefix: list[Message], chance: random.Random) -> bool:
    full = sum(map(by_estimate, prefix))
    share = chance.choice((0.1, 0.2, 0.4, 0.6, chance.random()))
    task = Task(messages=prefix, target=int(full * share), count=by_estimate)
    try:
        draft = offline.compact(task)
    except ContextWindowExceeded:
        return False
    assert problems(task, draft) == (), name
    assert valid_history(window_of(task, draft)) == [], name
    return True


def test_real_conversations_stay_valid() -> None:
    """A sample of them, cut and shortened: every provider takes the window."""
    assert compacted(files(), each=12, cuts=1) > 100


@pytest.mark.long
@pytest.mark.parametrize("file", files(), ids=lambda file: file.name)
def test_all_real_conversations_stay_valid(file: Path) -> None:
    """All of them, at more cuts."""
    compacted([file], each=1, cuts=2)

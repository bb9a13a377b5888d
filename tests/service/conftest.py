"""Managers over stores that the test may share between them."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any, TypeAlias

import pytest

import palaver
from palaver import ConversationManager
from palaver.testing import ToldClock

Opened: TypeAlias = Callable[..., Any]


@pytest.fixture
async def clock() -> ToldClock:
    """A clock that stands still until it is told."""
    return ToldClock()


@pytest.fixture
async def opened(clock: ToldClock) -> AsyncIterator[Opened]:
    """`await opened(model, path=…)` gives a manager on the told clock."""
    async with AsyncExitStack() as stack:

        async def open_with(
            model: Any, *, path: Any = ":memory:", **options: Any
        ) -> ConversationManager:
            options.setdefault("clock", clock)
            return await stack.enter_async_context(palaver.open(path, model=model, **options))

        yield open_with

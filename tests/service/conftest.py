"""Managers over stores that the test may share between them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any, TypeAlias

import pytest

import palaver
from palaver import ConversationManager, ConversationStore, Scope, TextDelta
from palaver.streams.session import Numbered, StreamSession
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


async def first_text(session: StreamSession) -> Numbered:
    """Wait until the answer has begun."""
    async for numbered in session.numbered():
        if isinstance(numbered.event, TextDelta):
            return numbered
    raise AssertionError("the turn ended without a word")


async def first_text_on_disk(session: StreamSession, store: ConversationStore) -> None:
    """Wait until its beginning is in the run log, too."""
    text = await first_text(session)
    while not await store.read_run(Scope(), session.turn, after=text.number - 1):  # noqa: ASYNC110
        await asyncio.sleep(0.01)

"""A conversation in memory with a scripted model, which is all that a turn needs."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any, TypeAlias

import pytest

import palaver
from palaver import Conversation, ConversationManager
from palaver.domain.stream import StreamEvent
from palaver.testing import ScriptedModel, ToldClock

Opened: TypeAlias = Callable[..., Any]


@pytest.fixture
async def clock() -> ToldClock:
    """A clock that stands still until it is told."""
    return ToldClock()


@pytest.fixture
async def opened(clock: ToldClock) -> AsyncIterator[Opened]:
    """`await opened(model, tools=[…])` gives a manager on the told clock."""
    async with AsyncExitStack() as stack:

        async def open_with(model: ScriptedModel, **options: Any) -> ConversationManager:
            options.setdefault("clock", clock)
            door = palaver.open(":memory:", model=model, **options)
            return await stack.enter_async_context(door)

        yield open_with


async def told(conversation: Conversation, text: str) -> list[StreamEvent]:
    """Every event of one turn."""
    return [event async for event in conversation.stream(text)]


def kinds(events: list[StreamEvent]) -> list[str]:
    """The types of events, adjacent equal ones once."""
    names = [str(event.__struct_config__.tag) for event in events]
    return [name for i, name in enumerate(names) if i == 0 or names[i - 1] != name]

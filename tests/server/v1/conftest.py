"""Clients of OpenAI's API, as their makers ship them, against a server that listens."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, Protocol

import pytest

from palaver.server.core import Server
from tests.server.conftest import Served, Serving


class Connected:
    """A server and the SDK's client of it."""

    def __init__(self, served: Served, client: Any) -> None:
        self.served, self.client = served, client

    @property
    def server(self) -> Server:
        """The server."""
        return self.served.server

    @property
    def url(self) -> str:
        """Its base address, as clients are told it."""
        return f"{self.served.address}/v1"


class Connecting(Protocol):
    """See `connected`."""

    async def __call__(self, model: Any = None, **options: Any) -> Connected:
        """A server with this model, and a client that sends `key`."""
        ...


@pytest.fixture
async def connected(serving: Serving) -> AsyncIterator[Connecting]:
    """`await connected(model)` gives a server with the SDK's client of it."""
    openai = pytest.importorskip("openai")
    async with AsyncExitStack() as stack:

        async def connect(model: Any = None, *, key: str = "none", **options: Any) -> Connected:
            served = await serving(model, **options)
            client = openai.AsyncOpenAI(
                api_key=key, base_url=f"{served.address}/v1", max_retries=0, timeout=60
            )
            return Connected(served, await stack.enter_async_context(client))

        yield connect

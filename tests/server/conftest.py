"""Servers on real sockets, in the loop of the test."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import pytest
from msgspec.structs import replace

from palaver.domain.access import Permission
from palaver.domain.clock import Clock
from palaver.environment import Environment
from palaver.server.core import Server
from palaver.server.run import listening, open_server
from palaver.service.access import new_key
from palaver.settings import ServerSettings, Settings
from palaver.streams.session import StreamSession
from palaver.testing import ScriptedModel
from tests.server.npm import installed


class Served:
    """A server that listens. `http` is a client of it; `address` is `http://127.0.0.1:port`."""

    def __init__(self, server: Server, address: str, http: aiohttp.ClientSession) -> None:
        self.server, self.address, self.http = server, address, http

    async def key(
        self,
        *scopes: Permission,
        tenant: str = "local",
        expires_at: float | None = None,
    ) -> dict[str, str]:
        """A new key, as headers. From now on nobody comes in without one."""
        chosen = scopes or ("read", "write", "approve", "admin")
        made = new_key("test", tenant=tenant, scopes=chosen, expires_at=expires_at)
        await self.server.access.add_key(made.key, made.digest)
        return {"authorization": f"Bearer {made.text}"}

    async def turn(self, text: str = "hello", *, tenant: str = "local") -> StreamSession:
        """A turn in a new conversation."""
        async with self.server.tenants.use(tenant) as manager:
            return await (await manager.create()).start(text)

    async def conversation(self, *, tenant: str = "local") -> str:
        """A new conversation's id."""
        async with self.server.tenants.use(tenant) as manager:
            return (await manager.create()).id


class Serving(Protocol):
    """See `serving`."""

    async def __call__(
        self,
        model: Any = None,
        *,
        path: Path | None = None,
        settings: Settings = ...,
        tools: Sequence[Any] = (),
        clock: Clock | None = None,
        **server: Any,
    ) -> Served:
        """A server with this model, by default one that answers nothing; in memory, or at `path`.
        `server` are `ServerSettings` by name."""
        ...


@pytest.fixture
async def serving(tmp_path: Path) -> AsyncIterator[Serving]:
    """`await serving(model, tools=…, heartbeat_s=…)` gives a server; it ends with the test."""
    async with AsyncExitStack() as stack:

        async def serve(
            model: Any = None,
            *,
            path: Path | None = None,
            settings: Settings | None = None,
            tools: Sequence[Any] = (),
            clock: Clock | None = None,
            **server: Any,
        ) -> Served:
            server = {"port": 0, "drain_s": 0.0, **server}
            chosen = replace(settings or Settings(), server=ServerSettings(**server))
            opened = await stack.enter_async_context(
                open_server(
                    ":memory:" if path is None else str(path),
                    environment=Environment(home=tmp_path, model="offline", settings=chosen),
                    model=model or ScriptedModel(),
                    tools=tools,
                    clock=clock,
                    builtin_tools=False,
                )
            )
            address = await stack.enter_async_context(listening(opened))
            http = await stack.enter_async_context(
                aiohttp.ClientSession(address, connector=aiohttp.TCPConnector(limit=0))
            )
            return Served(opened, address, http)

        yield serve


@pytest.fixture
async def clients() -> Path:
    """The folder in which clients from npm are."""
    return await installed()

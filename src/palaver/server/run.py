"""Starting and ending: from settings to a listening server, and from SIGTERM to its last turn."""

import asyncio
import errno
import ipaddress
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from types import FrameType
from typing import Any

import uvicorn
from msgspec.structs import replace
from starlette.types import ASGIApp, Receive, Scope as AsgiScope, Send

from palaver import log
from palaver.domain.errors import ConfigurationError
from palaver.environment import Environment
from palaver.server.app import create_app
from palaver.server.connections import SocketConnection, endable
from palaver.server.core import Server
from palaver.server.tenants import Tenants
from palaver.server.wire import bounded
from palaver.service.access import Authenticator, Quotas
from palaver.settings import ServerSettings
from palaver.store.access import KeepsAccess
from palaver.wiring import parts


@asynccontextmanager
async def open_server(
    path: str | None = None,
    *,
    environment: Environment,
    tools: Any = (),
    builtin_tools: bool = True,
    **more: Any,
) -> AsyncIterator[Server]:
    """Everything but the socket. `path`, `tools` and `more` are as for `palaver.open`; the settings
    say the rest. What dead processes left open is decided before it is yielded.

    Raises ConfigurationError where it would be open to the world, InvalidInput and StoreError.
    """
    settings = environment.settings
    turn = replace(settings.turn, on_restart=settings.server.on_restart)
    environment = replace(environment, settings=replace(settings, turn=turn))
    async with parts(path, environment=environment, **more) as shared:
        store = shared.store
        if not isinstance(store, KeepsAccess):
            raise ConfigurationError("this store keeps no keys, so no server can use it")
        authenticator = Authenticator(store.access, clock=shared.clock, settings=settings.access)
        server = Server(
            shared,
            tenants=Tenants(
                lambda scope: shared.manager(scope, tools=tools, builtin_tools=builtin_tools),
                limit=settings.server.tenants,
                keeps_sending=settings.outbox.automatic,
            ),
            access=store.access,
            authenticator=authenticator,
            quotas=Quotas(store.access, clock=shared.clock, defaults=settings.access.limits),
        )
        await _check_guarded(server)
        try:
            await server.tenants.recover(await store.tenants())
            yield server
        finally:
            await server.tenants.aclose()
            await server.spending.aclose()
            await authenticator.aclose()


async def _check_guarded(server: Server) -> None:
    host = server.settings.host
    if not _is_local(host) and not await server.asks_for_keys():
        raise ConfigurationError(
            f"a server on {host} would be open to everybody who reaches it",
            hint="Make a key first: palaver keys create --name mine. Or listen on 127.0.0.1.",
        )


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def lifelong(path: str | None, **options: Any) -> ASGIApp:
    """The app for a server that is started by somebody else and tells by ASGI's lifespan when it
    begins and ends. `options` as for `open_server`."""
    opened: list[ASGIApp] = []

    async def app(scope: AsgiScope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await opened[0](scope, receive, send)
            return
        await receive()
        async with open_server(path, **options) as server:
            opened.append(create_app(server))
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await server.drain()
        await send({"type": "lifespan.shutdown.complete"})

    return app


async def serve(
    server: Server, *, announce: Any = None, on_wait: Callable[[float], None] | None = None
) -> None:
    """Listen until a signal asks for the end, and end well: ready no more, running turns have
    `drain_s`, streams are closed with the word to come back, what still runs is left to the next
    start. `announce(address)` is called when clients can connect, `on_wait(drain_s)` when the end
    waits for running turns.

    Raises ConfigurationError where the address cannot be listened on.
    """
    _allow_connections()
    listener = _Listener(server, announce, on_wait=on_wait)
    await listener.serve()
    if not listener.started:
        raise _cannot_listen(server, listener.refusal)


@asynccontextmanager
async def listening(server: Server) -> AsyncIterator[str]:
    """The same for a program that has its own loop and its own signals: it listens until the end
    of the block, and ends then as after a signal. Yields the address, such as
    `http://127.0.0.1:8642`. Raises ConfigurationError."""
    address = asyncio.get_running_loop().create_future()
    listener = _Listener(server, address.set_result, takes_signals=False)
    running = asyncio.ensure_future(listener.serve())
    try:
        await asyncio.wait((running, address), return_when=asyncio.FIRST_COMPLETED)
        if not address.done():
            raise _cannot_listen(server, listener.refusal)
        yield address.result()
    finally:
        await listener.end()
        await running


def _cannot_listen(server: Server, refusal: OSError | None) -> ConfigurationError:
    place = f"{_written(server.settings.host)}:{server.settings.port}"
    if refusal is None or refusal.errno == errno.EADDRINUSE:
        hint = "Another program uses the port: choose one with --port."
        return ConfigurationError(f"cannot listen on {place}", hint=hint)
    # asyncio puts more words around what the system says; a name that nobody knows has no number.
    number = refusal.errno or 0
    why = os.strerror(number) if number > 0 else refusal.strerror
    return ConfigurationError(
        f"cannot listen on {place}: {why}", hint="Choose another --host or --port."
    )


def _allow_connections() -> None:
    """Open as many connections as the system lets this process: many systems begin with 1,024,
    fewer than the streams and sockets that the settings allow."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        if now != resource.RLIM_INFINITY:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def configuration(server: Server) -> uvicorn.Config:
    """How uvicorn is run: its fast parts, no compression of frames, no headers that tell of it."""
    settings: ServerSettings = server.settings
    return uvicorn.Config(
        create_app(server),
        host=settings.host,
        port=settings.port,
        loop="auto",
        http=endable(bounded(settings.header_bytes, settings.receive_s)),
        ws=SocketConnection,
        ws_max_size=settings.frame_bytes,
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.forwarded_by),
        forwarded_allow_ips=list(settings.forwarded_by),
        timeout_keep_alive=75,
        timeout_graceful_shutdown=5,
        backlog=2048,
    )


class _Listener(uvicorn.Server):
    def __init__(
        self,
        server: Server,
        announce: Any,
        *,
        takes_signals: bool = True,
        on_wait: Callable[[float], None] | None = None,
    ) -> None:
        super().__init__(configuration(server))
        self._server, self._announce, self._takes_signals = server, announce, takes_signals
        self._on_wait = on_wait
        self.refusal: OSError | None = None
        self._ending: asyncio.Task[None] | None = None

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        with super().capture_signals() if self._takes_signals else nullcontext():
            yield

    async def startup(self, sockets: Any = None) -> None:
        try:
            with _untold():
                await super().startup(sockets)
        except SystemExit as gone:
            self.refusal = gone.__context__ if isinstance(gone.__context__, OSError) else None
            self.should_exit = True
            return
        if self.started and self._announce is not None:
            port = self.servers[0].sockets[0].getsockname()[1]
            self._announce(f"http://{_written(self.config.host)}:{port}")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._ending is not None or sig == signal.SIGQUIT:
            self.should_exit = self.force_exit = True
            return
        loop = asyncio.get_event_loop()
        self._ending = loop.create_task(self.end())

    async def end(self) -> None:
        """Drain, then stop listening."""
        log.get("server").info("draining")
        if self._on_wait is not None and self._server.tenants.is_busy():
            self._on_wait(self._server.settings.drain_s)
        await self._server.drain()
        self.should_exit = True


@contextmanager
def _untold() -> Generator[None, None, None]:
    """uvicorn logs why it cannot listen, to a terminal that nobody has set up; we raise it."""
    logger = logging.getLogger("uvicorn.error")
    was, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = was


def _written(host: str) -> str:
    return f"[{host}]" if ":" in host else host

"""A TCP proxy on the loopback that has bad days: between a program and any server of a test.

`FaultProxy` passes bytes on until a fault is switched on by name, for connections to come and for
those that live:

    async with FaultProxy(server.port) as proxy:
        await proxy.set("cut", Reset(after=400, times=1))
        ...
        await proxy.heal()

Faults act on what the server answers; `Blackhole` acts on both ways. Several may be on at a time.
"""

import asyncio
import socket
import struct
from contextlib import suppress
from types import TracebackType
from typing import TypeAlias

import msgspec

from palaver.domain.clock import Clock
from palaver.system import SystemClock

_CHUNK = 65_536
_TICK_S = 0.02
"""How often a narrow line passes something on, where its bytes allow."""
_CROWD = 4
"""Connections that fill a backlog of none, so that the kernel leaves later ones without answer."""


class Latency(msgspec.Struct, frozen=True):
    """Each piece of the answer comes `seconds` later."""

    seconds: float


class Bandwidth(msgspec.Struct, frozen=True):
    """At most so many bytes in a second."""

    bytes_per_s: float


class Slicer(msgspec.Struct, frozen=True):
    """The answer comes in pieces of `size` bytes, each in a packet of its own."""

    size: int = 1


class Reset(msgspec.Struct, frozen=True):
    """The connection is reset when `after` bytes of answer have come since this was switched on.
    `times`: over all connections; 0: every time."""

    after: int = 0
    times: int = 0


class Close(msgspec.Struct, frozen=True):
    """The connection is closed properly behind `after` bytes; `times` as in `Reset`."""

    after: int = 0
    times: int = 0


class Stall(msgspec.Struct, frozen=True):
    """Nothing comes behind `after` bytes, until this is switched off."""

    after: int = 0


class Blackhole(msgspec.Struct, frozen=True):
    """Nothing gets through, and whoever connects is not answered at all."""


class Refuse(msgspec.Struct, frozen=True):
    """Nobody listens; connections that live go on."""


NetworkFault: TypeAlias = Latency | Bandwidth | Slicer | Reset | Close | Stall | Blackhole | Refuse


class _Switch:
    """One fault that is on, and how often it has struck."""

    def __init__(self, fault: NetworkFault) -> None:
        self.fault = fault
        self.struck = 0


class FaultProxy:
    """`async with FaultProxy(port) as proxy:` listens on a free port of 127.0.0.1 and passes
    everything on to `port`. `connections` counts those that were accepted."""

    def __init__(self, target: int, *, clock: Clock | None = None) -> None:
        self.port = 0
        self.connections = 0
        self._target, self._clock = target, clock or SystemClock()
        self._on: dict[str, _Switch] = {}
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._deaf: list[socket.socket] = []
        self._links: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The root of what is behind it, for HTTP."""
        return f"http://127.0.0.1:{self.port}"

    async def set(self, name: str, fault: NetworkFault) -> None:
        """Switch a fault on, or another one in place of the one of this name."""
        self._on[name] = _Switch(fault)
        await self._apply()

    async def heal(self, name: str | None = None) -> None:
        """Switch one off, or all of them."""
        if name is None:
            self._on.clear()
        else:
            self._on.pop(name, None)
        await self._apply()

    async def __aenter__(self) -> "FaultProxy":
        await self._apply()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._listen_not()
        for link in self._links:
            link.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)

    # Who connects.

    async def _apply(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
        is_deaf, is_shut = self._has(Blackhole), self._has(Refuse)
        if (self._server is None) == (is_deaf or is_shut) and bool(self._deaf) == is_deaf:
            return
        await self._listen_not()
        if is_deaf:
            self._be_deaf()
        elif not is_shut:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _listen_not(self) -> None:
        for each in self._deaf:
            each.close()
        self._deaf.clear()
        if self._server is not None:
            self._server.close()
            self._server = None
            await asyncio.sleep(0)

    def _be_deaf(self) -> None:
        ear = socket.socket()
        ear.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        ear.bind(("127.0.0.1", self.port))
        ear.listen(0)
        self._deaf.append(ear)
        for _ in range(_CROWD):
            waiting = socket.socket()
            waiting.setblocking(False)
            waiting.connect_ex(ear.getsockname())
            self._deaf.append(waiting)

    def _has(self, kind: type[NetworkFault]) -> bool:
        return any(isinstance(each.fault, kind) for each in self._on.values())

    # What goes through.

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        link = asyncio.ensure_future(self._link(reader, writer))
        self._links.add(link)
        link.add_done_callback(self._links.discard)

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._joined(reader, writer)
        finally:
            writer.close()

    async def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            return
        asking = asyncio.ensure_future(self._asked(reader, back))
        try:
            with suppress(OSError):
                await _Answer(self, there, writer).run()
        finally:
            asking.cancel()
            back.transport.abort()
            await asyncio.gather(asking, return_exceptions=True)

    async def _asked(self, reader: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        while data := await reader.read(_CHUNK):
            await self.until_not(Blackhole)
            back.write(data)
            await back.drain()
        back.transport.abort()  # the client has left: so does the server's reader

    async def until_not(self, kind: type[NetworkFault]) -> None:
        """Wait while a fault of this kind is on."""
        while self._has(kind):
            await self._changed.wait()

    def switched(self) -> list[_Switch]:
        """The faults that are on, and may still strike."""
        return [each for each in self._on.values() if not _is_spent(each)]

    async def pause(self, seconds: float) -> None:
        """Wait by the clock."""
        await self._clock.sleep(seconds)


def _is_spent(switch: _Switch) -> bool:
    fault = switch.fault
    return isinstance(fault, Reset | Close) and 0 < fault.times <= switch.struck


class _Answer:
    """What a server says on one connection, on its way to the client."""

    def __init__(
        self, proxy: FaultProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._proxy, self._reader, self._writer = proxy, reader, writer
        self._passed: dict[_Switch, int] = {}
        """Bytes that came since each fault was on."""

    async def run(self) -> None:
        """Pass all of it on, until its end or a fault's."""
        while data := await self._reader.read(_CHUNK):
            for each in self._proxy.switched():
                if isinstance(each.fault, Latency):
                    await self._proxy.pause(each.fault.seconds)
            while data:
                await self._proxy.until_not(Blackhole)
                size = await self._room(len(data))
                if not size:
                    return
                self._writer.write(data[:size])
                await self._writer.drain()
                data = data[size:]

    async def _room(self, size: int) -> int:
        """How many bytes may pass now; 0 where the connection has ended."""
        for each in self._proxy.switched():
            match each.fault:
                case Slicer(size=most):
                    size = min(size, most)
                    await asyncio.sleep(0)
                case Bandwidth(bytes_per_s=rate):
                    size = min(size, max(1, int(rate * _TICK_S)))
                    await self._proxy.pause(size / rate)
                case Reset(after=after) | Close(after=after) | Stall(after=after):
                    size = min(size, after - self._passed.get(each, 0))
                    if size <= 0:
                        return await self._strike(each)
                case _:
                    pass
        for each in self._proxy.switched():
            self._passed[each] = self._passed.get(each, 0) + size
        return size

    async def _strike(self, switch: _Switch) -> int:
        switch.struck += 1
        if isinstance(switch.fault, Stall):
            await self._proxy.until_not(Stall)
            return await self._room(1)
        if isinstance(switch.fault, Reset):
            with suppress(OSError):
                made = self._writer.get_extra_info("socket")
                made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return 0

"""Many paced streams at once, cheaply: one timer for all of them, bytes made beforehand.

Every delta says when it was sent: 18 digits, the nanoseconds of the system's monotonic clock, which
all processes share. Whoever reads it knows the way's length without knowing the schedule, and a
provider that is late makes no reader look slow.
"""

import asyncio
import time
from collections import defaultdict
from functools import cache

from bench.wire import Api, chunk, frames

STAMP_CHARS = 18
TICK_S = 0.001
MAX_STREAMS, MAX_DELTAS, MAX_GAP_MS = 4000, 10_000, 1000
APIS: tuple[Api, ...] = ("anthropic", "openai")
"""Wires on which no later frame repeats a delta."""
_BLANK = "0" * STAMP_CHARS


class Pacer:
    """A timer wheel with a slot for each millisecond; it turns only while something streams."""

    def __init__(self) -> None:
        self._slots: defaultdict[int, list[_Stream]] = defaultdict(list)
        self._began = time.monotonic()
        self._turned = 0
        self._count = self._started = 0

    def add(
        self, api: Api, transport: asyncio.Transport, deltas: int, gap_ms: int, *, head: bytes
    ) -> None:
        """Send `head`, so many deltas with these gaps, and the end. Raises ValueError beyond the
        bounds, before anything is sent.
        """
        if self._count >= MAX_STREAMS or deltas > MAX_DELTAS or not 0 < gap_ms <= MAX_GAP_MS:
            raise ValueError("more than this provider paces")
        if api not in APIS:
            raise ValueError(f"deltas on the wire {api!r} are not stamped")
        opening, pieces = _pieces(api)
        transport.write(head + opening)
        if not self._count:
            self._turned = self._now()
            self._wait()
        # Streams that were asked for together do not speak in the same millisecond.
        first = self._now() + 1 + self._started % gap_ms
        self._slots[first].append(_Stream(transport, pieces, deltas, gap_ms))
        self._count += 1
        self._started += 1

    def _now(self) -> int:
        return int((time.monotonic() - self._began) / TICK_S)

    def _turn(self) -> None:
        """Send what is due. What was missed is sent late, one delta of each stream in a slot."""
        for tick in range(self._turned + 1, self._now() + 1):
            self._turned = tick
            for stream in self._slots.pop(tick, ()):
                if stream.step():
                    self._slots[tick + stream.gap].append(stream)
                else:
                    self._count -= 1
            if tick % 16 == 0:
                break  # a look at other connections
        if self._count:
            self._wait()

    def _wait(self) -> None:
        due = self._began + (self._turned + 1) * TICK_S
        loop = asyncio.get_running_loop()
        loop.call_later(max(due - time.monotonic(), 0.0), self._turn)


class _Stream:
    __slots__ = ("_closing", "_head", "_left", "_tail", "_transport", "gap")

    def __init__(
        self,
        transport: asyncio.Transport,
        pieces: tuple[bytes, bytes, bytes],
        deltas: int,
        gap: int,
    ) -> None:
        self._transport = transport
        self._head, self._tail, self._closing = pieces
        self._left, self.gap = deltas, gap

    def step(self) -> bool:
        """Send one delta, or the end. Returns whether something is left."""
        if self._transport.is_closing():
            return False
        if not self._left:
            self._transport.write(self._closing)
            return False
        self._left -= 1
        self._transport.write(b"%b%018d%b" % (self._head, time.monotonic_ns(), self._tail))
        return True


def delays_ns(text: str, now_ns: int) -> list[int]:
    """How long each delta of `text` was on its way."""
    ends = range(STAMP_CHARS, len(text) + 1, STAMP_CHARS)
    return [now_ns - int(text[end - STAMP_CHARS : end]) for end in ends]


@cache
def _pieces(api: Api) -> tuple[bytes, tuple[bytes, bytes, bytes]]:
    """What opens a stream; then what stands before a stamp, behind it, and at the end."""
    wire = frames(api)
    opening = chunk(wire.start() + wire.open_text())
    head, tail = chunk(wire.text(_BLANK)).split(_BLANK.encode())
    closing = chunk(wire.close() + wire.end(calls=False)) + chunk(b"")
    return opening, (head, tail, closing)

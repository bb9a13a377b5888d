"""What the server received and what became of it, for tests to assert on."""

import asyncio
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

_SECRET = {"x-api-key", "authorization", "cookie", "api-key"}


@dataclass(slots=True)
class Received:
    """One request. Times are `time.monotonic()`; None means: not yet, or not at all.

    `said`: the last user message; `results`: tool results behind it; `tools`: name and schema of
    the offered ones. `error` says why a request was refused.
    """

    api: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    size: int
    started: float
    status: int = 0
    finished: float | None = None
    client_gone_at: float | None = None
    sent_bytes: int = 0
    sent_frames: int = 0
    request_id: str = ""
    error: str = ""
    said: str = ""
    results: tuple[str, ...] = ()
    tools: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def is_over(self) -> bool:
        """Whether it was answered to the end, or the client left."""
        return self.finished is not None

    @property
    def stream(self) -> bool:
        """Whether a stream was asked for."""
        return self.body.get("stream") is True


class Journal:
    """Requests in the order of their arrival. Behaves as a sequence."""

    def __init__(self) -> None:
        self._records: list[Received] = []
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Received:
        return self._records[index]

    def __iter__(self) -> Iterator[Received]:
        return iter(self._records)

    def add(self, record: Received) -> None:
        """A request has come."""
        self._records.append(record)
        self._tell()

    def close(self, record: Received, *, client_gone: bool) -> None:
        """A request is over."""
        record.finished = time.monotonic()
        if client_gone:
            record.client_gone_at = record.finished
        self._tell()

    def clear(self) -> None:
        """Forget what came so far."""
        self._records.clear()

    async def wait_for(self, count: int, *, over: bool = True, timeout_s: float = 60.0) -> None:
        """Until `count` requests have come, and are over. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while sum(r.is_over or not over for r in self._records) < count:
                self._changed.clear()
                await self._changed.wait()

    def _tell(self) -> None:
        self._changed.set()


def redacted(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers with lower-case names, secrets replaced by their length."""
    return {
        name.lower(): f"<{len(value)} characters>" if name.lower() in _SECRET else value
        for name, value in headers.items()
    }

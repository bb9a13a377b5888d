"""A model that has bad days, on purpose and repeatably: for tests of what is built on Palaver.

`ChaosModel` passes another model's answers on, and now and then fails as providers do: before the
stream, in the middle of it, by ending it early, by answering nothing, by being slow. The same seed
gives the same days.
"""

import random
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec

from palaver.domain.clock import Clock
from palaver.domain.errors import (
    ConnectionFailed,
    Overloaded,
    ProviderError,
    RateLimited,
    ServerFailure,
    StreamTruncated,
)
from palaver.domain.messages import Block
from palaver.domain.values import Usage
from palaver.providers.base import Finished, Model, ModelEvent, ModelInfo, ModelRequest, ModelStream
from palaver.system import SystemClock

FAILURES: tuple[Callable[[], ProviderError], ...] = (
    lambda: Overloaded("chaos: overloaded", status=529),
    lambda: RateLimited("chaos: slow down", status=429, retry_after_s=0.01),
    lambda: ServerFailure("chaos: it broke", status=500),
    lambda: ConnectionFailed("chaos: connection reset"),
)


class Weather(msgspec.Struct, frozen=True):
    """How likely each thing is at each request, from 0 to 1; they exclude each other."""

    refused: float = 0.1
    """A failure before the stream."""
    broken: float = 0.1
    """A failure in the middle of it."""
    cut: float = 0.05
    """The stream ends without its end marker."""
    silent: float = 0.02
    """The answer is complete and empty."""
    slow_s: float = 0.0
    """Seconds before each batch at most, by chance."""


class ChaosModel:
    """A `Model` around another one. `mishaps` counts what happened, by name."""

    def __init__(
        self,
        model: Model,
        *,
        seed: int = 0,
        weather: Weather | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._model, self._chance = model, random.Random(seed)
        self._weather, self._clock = weather or Weather(), clock or SystemClock()
        self.mishaps: dict[str, int] = {}

    @property
    def name(self) -> str:
        """The other model's."""
        return self._model.name

    @property
    def info(self) -> ModelInfo:
        """The other model's."""
        return self._model.info

    def stream(self, request: ModelRequest) -> "ChaosStream":
        """Begin an attempt under today's weather."""
        kinds = ("refused", "broken", "cut", "silent")
        rates = [getattr(self._weather, kind) for kind in kinds]
        (kind,) = self._chance.choices((*kinds, ""), [*rates, max(0.0, 1.0 - sum(rates))])
        if kind:
            self.mishaps[kind] = self.mishaps.get(kind, 0) + 1
        after = self._chance.randint(1, 6)
        failure = self._chance.choice(FAILURES)()
        return ChaosStream(self._model.stream(request), kind, after, failure, self._pause)

    async def _pause(self) -> None:
        if self._weather.slow_s:
            await self._clock.sleep(self._chance.uniform(0.0, self._weather.slow_s))

    async def aclose(self) -> None:
        """Close the other model."""
        await self._model.aclose()


class ChaosStream:
    """One attempt; what comes after a mishap is never seen."""

    def __init__(
        self,
        stream: ModelStream,
        kind: str,
        after: int,
        failure: ProviderError,
        pause: Callable[[], Awaitable[None]],
    ) -> None:
        self._stream, self._kind, self._after = stream, kind, after
        self._failure, self._pause = failure, pause

    @property
    def request_id(self) -> str:
        """The other stream's."""
        return self._stream.request_id

    def partial(self) -> tuple[Block, ...]:
        """What the reader was given."""
        return () if self._kind in ("refused", "silent") else self._stream.partial()

    def usage(self) -> Usage | None:
        """What was reported so far."""
        return self._stream.usage()

    async def aclose(self) -> None:
        """Close the other stream."""
        await self._stream.aclose()

    async def __aiter__(self) -> AsyncIterator[list[ModelEvent]]:
        if self._kind == "refused":
            raise self._failure
        number = 0
        async for batch in self._stream:
            await self._pause()
            number += 1
            finished = next((e for e in batch if isinstance(e, Finished)), None)
            if self._kind == "silent":
                if finished is not None:
                    yield [msgspec.structs.replace(finished, content=())]
                continue
            is_due = number > self._after or finished is not None
            if self._kind in ("broken", "cut") and is_due:
                raise self._mishap()
            yield batch

    def _mishap(self) -> ProviderError:
        if self._kind == "cut":
            return StreamTruncated("chaos: the stream ended early", in_stream=True)
        self._failure.in_stream = True
        return self._failure

"""A context for calls, and a blob store that remembers."""

import hashlib
from collections.abc import Callable

import pytest

from palaver.domain.ids import BlobId, CallId, ConversationId, TurnId
from palaver.domain.values import Scope
from palaver.system import SystemClock
from palaver.tools.definition import ExecutionContext


class Blobs(dict[BlobId, bytes]):
    """Blobs by id."""

    async def keep(self, data: bytes) -> BlobId:
        name = BlobId("sha256:" + hashlib.sha256(data).hexdigest())
        self[name] = data
        return name


class Waits(SystemClock):
    """Real time, but sleeps are only noted."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@pytest.fixture
def blobs() -> Blobs:
    return Blobs()


@pytest.fixture
def waits() -> Waits:
    return Waits()


@pytest.fixture
def make_context(blobs: Blobs, waits: Waits) -> Callable[..., ExecutionContext]:
    def make(**changes: object) -> ExecutionContext:
        fields: dict[str, object] = {
            "scope": Scope(),
            "conversation": ConversationId("conv_1"),
            "turn": TurnId("turn_1"),
            "call_id": CallId("call_1"),
            "history": (),
            "clock": waits,
            "progress": lambda text, fraction=None: None,
            "keep": blobs.keep,
        }
        return ExecutionContext(**(fields | changes))  # type: ignore[arg-type]

    return make


@pytest.fixture
def context(make_context: Callable[..., ExecutionContext]) -> ExecutionContext:
    return make_context()

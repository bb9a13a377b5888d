"""What a turn needs from outside, and what it gives."""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

import msgspec

from palaver.context.need import Need
from palaver.context.window import ContextWindow, ContextWindowManager
from palaver.domain.clock import Clock
from palaver.domain.compaction import Compaction
from palaver.domain.degradation import DegradationLevel
from palaver.domain.errors import PalaverError
from palaver.domain.events import Event, SideRequestMade
from palaver.domain.ids import BlobId, MessageId
from palaver.domain.state import ConversationState
from palaver.domain.stream import StreamEvent
from palaver.domain.values import OutputSchema, Scope, Usage
from palaver.engine.inbox import Inbox
from palaver.providers.base import BlobReader, Model, ModelRequest, ModelStream
from palaver.recovery.degradation import Degradation
from palaver.recovery.manager import ErrorRecoveryManager
from palaver.settings import Settings
from palaver.tools.manager import ToolManager


class Commit(msgspec.Struct, frozen=True):
    """Facts to make durable, and events to show once they are."""

    facts: tuple[Event, ...]
    shown: tuple[StreamEvent, ...] = ()
    error: PalaverError | None = None
    """What ended the turn, as it was raised, for callers in this process."""
    answers: bytes = b""
    """The key of the request that its message answers well, so that it may be given again."""


Emission: TypeAlias = Commit | list[StreamEvent]
"""What `run_turn` yields. When it is resumed behind a Commit, the facts are durable; a plain list
is only shown and promises nothing."""


class Shrunk(msgspec.Struct, frozen=True):
    """What came of making a window smaller: a compaction, or the `reason` why there is none."""

    compaction: Compaction | None
    reason: str = ""
    paid: tuple[SideRequestMade, ...] = ()
    """Requests to models that it took, wasted ones among them."""


class Shrinker(Protocol):
    """Makes windows smaller; where the summaries come from is its business."""

    def due(self, state: ConversationState, measured: ContextWindow) -> Need | None:
        """What has to be reached before the next request; None while there is no need. Asked before
        each request, it may begin to make ready what will be needed soon."""
        ...

    def prepared(self, state: ConversationState, need: Need) -> Shrunk | None:
        """What was made ready before, if it still fits. Returns at once."""
        ...

    async def shrink(self, state: ConversationState, need: Need) -> Shrunk:
        """What it takes to meet the need, made now. Raises nothing: a failure is a reason."""
        ...


class StandIn(msgspec.Struct, frozen=True):
    """An answer that no model of the chain gives, under way. `name`: `cache` or `offline`."""

    name: str
    stream: ModelStream
    level: DegradationLevel


class StandsIn(Protocol):
    """What answers when nobody of the chain can be reached."""

    async def answer(self, request: ModelRequest) -> StandIn | None:
        """The answer; None where there is none for such a request."""
        ...


class TurnPorts(msgspec.Struct, frozen=True, kw_only=True):
    """The hands and eyes of a turn. The store is not among them: the driver persists."""

    scope: Scope
    latest: Callable[[], ConversationState]
    """The conversation as it is now, every fact yielded so far included."""
    models: tuple[Model, ...]
    """The conversation's own first, then the ones that stand in for it, in this order."""
    recovery: ErrorRecoveryManager
    degradation: Degradation
    stands_in: StandsIn | None
    """None: such a turn fails."""
    request_key: Callable[[ModelRequest], bytes]
    """What makes a request the same as another one; see `request_key`."""
    tools: ToolManager
    window: ContextWindowManager
    shrinker: Shrinker
    inbox: Inbox
    show: Callable[[list[StreamEvent]], None]
    """Shows what the model says at once, without a step of the turn; promises nothing."""
    clock: Clock
    settings: Settings
    chance: Callable[[], float]
    """A number from 0 to 1, for jitter."""
    new_message_id: Callable[[], MessageId]
    price: Callable[[str, Usage], float | None]
    """US dollars for usage of a model, or None."""
    keep: Callable[[bytes], Awaitable[BlobId]]
    read_blob: BlobReader
    output: OutputSchema | None = None

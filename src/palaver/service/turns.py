"""Running turns: the engine's ports filled in, its driver started, its orphans ended."""

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

from palaver import log
from palaver.context.window import ContextWindowManager
from palaver.domain.clock import Clock
from palaver.domain.errors import NotFound, PalaverError
from palaver.domain.events import Event, MessageAdded
from palaver.domain.ids import BlobId, MessageId, TurnId
from palaver.domain.messages import Flag, Message, Role, StopReason, Text
from palaver.domain.reducer import apply
from palaver.domain.state import ConversationState
from palaver.domain.stream import StreamEvent, TurnCancelled, TurnInterrupted
from palaver.domain.values import Scope, TurnOutcome, Usage
from palaver.engine.closing import close_turn
from palaver.engine.inbox import Inbox, Stop
from palaver.engine.ports import TurnPorts
from palaver.engine.turn import STOPPED, run_turn
from palaver.providers.base import Model
from palaver.service.actions import RecordFacts
from palaver.service.driver import TurnDriver
from palaver.service.output import OutputType
from palaver.service.state import StateManager
from palaver.settings import Settings
from palaver.store.base import BlobStore, ConversationStore, RunRow, TurnRecord
from palaver.streams.follow import follow_stored
from palaver.streams.manager import StreamManager
from palaver.streams.partial import unfinished_message
from palaver.streams.session import Numbered, StreamSession
from palaver.system import new_id
from palaver.tools.manager import ToolManager

PROGRAM_STOPPED = "This call did not finish: the program that ran it stopped."


class TurnRunner:
    """Starts, continues and ends turns for every conversation of one scope."""

    def __init__(
        self,
        *,
        store: ConversationStore,
        blobs: BlobStore,
        scope: Scope,
        model: Callable[[str], Model],
        tools: ToolManager,
        settings: Settings,
        clock: Clock,
        chance: Callable[[], float],
        price: Callable[[str, Usage], float | None],
        load: Callable[[TurnRecord], Awaitable[StateManager]],
    ) -> None:
        self.streams = StreamManager(clock, keep_s=settings.stream.keep_sessions_s)
        self.settings, self.clock, self.tools = settings, clock, tools
        self._store, self._blobs, self._scope = store, blobs, scope
        self._model, self._chance, self._price, self._load = model, chance, price, load
        self.window = ContextWindowManager()

    def check_ready(self, state: ConversationState) -> None:
        """Raise ConfigurationError when the conversation's model cannot be used."""
        self._model(state.preferences.model)

    def check_model(self, name: str) -> None:
        """Raise ConfigurationError when there is no such model."""
        self._model(name)

    def is_running(self, turn: TurnId) -> bool:
        """Whether this process works on the turn."""
        return self.streams.is_running(turn)

    async def is_ours(self, turn: TurnId) -> bool:
        """Whether the turn belongs to this process."""
        return (await self._store.turn(self._scope, turn)).owner == self._store.owner

    async def settled(self, turn: TurnId) -> None:
        """Return when no task of this process works on the turn."""
        await self.streams.settled(turn)

    def run(
        self, states: StateManager, turn: TurnId, question: MessageId, output: OutputType | None
    ) -> StreamSession:
        """Begin a turn that was just accepted."""
        session = self._new_session(states, turn)
        self._start(states, session, question, output)
        return session

    def run_on(self, states: StateManager, session: StreamSession, question: MessageId) -> None:
        """Continue a turn behind its suspension."""
        self._start(states, session, question, None)

    async def session(self, states: StateManager, turn: TurnId) -> StreamSession:
        """The turn's session, from memory or around its durable run log. Raises NotFound."""
        found = self.streams.find(turn)
        if found is not None:
            return found
        record = await self._store.turn(self._scope, turn)
        rows = await self._store.read_run(self._scope, turn)
        return self._new_session(
            states, turn, epoch=record.epoch, start=rows[-1].last if rows else 0
        )

    async def follow(
        self, states: StateManager, turn: TurnId, after: int
    ) -> AsyncIterator[Numbered]:
        """Every event of a turn behind `after`, wherever it runs."""
        found = self.streams.find(turn)
        if found is not None:
            async for numbered in found.numbered(after):
                yield numbered
            return
        record = await self._store.turn(self._scope, turn)
        if record.conversation != states.state.id:
            raise NotFound(f"no turn {turn!r} in this conversation")

        async def is_open() -> bool:
            return (await self._store.turn(self._scope, turn)).open

        read = partial(self._read_run, turn)
        async for numbered in follow_stored(
            read, is_open, self.clock, after=after, epoch=record.epoch
        ):
            yield numbered

    async def end_held(self, states: StateManager, turn: TurnId) -> None:
        """Cancel a turn that no task works on."""
        session = await self.session(states, turn)
        facts = close_turn(states.state, turn, TurnOutcome.CANCELLED, why=STOPPED)
        await self._end(states, session, facts, TurnCancelled(turn))

    async def recover(self) -> int:
        """End open turns whose process died, with valid history. Held turns stay held.

        Returns how many were ended. One that cannot be ended is logged and left for later.
        """
        ended = 0
        for record in await self._store.adopt_orphans():
            try:
                states = await self._load(record)
                ended += await self._end_orphan(states, record)
            except PalaverError as error:
                log.get("recovery").error("orphan_kept", turn=record.id, code=error.code)
        return ended

    async def _end_orphan(self, states: StateManager, record: TurnRecord) -> bool:
        opened = (await states.refresh()).turn
        if opened is None or opened.id != record.id or opened.held is not None:
            return False
        session = await self.session(states, record.id)
        said = await self._said_before(states.state, record)
        state = states.state if said is None else apply(states.state, said)
        closing = close_turn(state, record.id, TurnOutcome.INTERRUPTED, why=PROGRAM_STOPPED)
        facts = closing if said is None else (said, *closing)
        await self._end(states, session, facts, TurnInterrupted(record.id))
        log.get("recovery").info("turn_interrupted", turn=record.id)
        return True

    async def _said_before(
        self, state: ConversationState, record: TurnRecord
    ) -> MessageAdded | None:
        """The partial message that clients have seen and the log does not hold yet."""
        rows = await self._store.read_run(self._scope, record.id)
        found = None if state.pending_calls else unfinished_message(rows)
        if found is None:
            return None
        message = Message(
            Role.ASSISTANT,
            (Text(found.text),),
            MessageId(new_id("msg")),
            parent=state.messages[-1].id,
            model=found.model,
            stop=StopReason.ABORTED,
            flags=(Flag.PARTIAL,),
        )
        return MessageAdded(message, record.id)

    async def _end(
        self,
        states: StateManager,
        session: StreamSession,
        facts: tuple[Event, ...],
        last: StreamEvent,
    ) -> None:
        rows = session.unwritten((last,))
        await states.dispatch(RecordFacts(facts), run=(session.turn, rows))
        session.publish([last])
        session.written(session.last)

    async def aclose(self) -> None:
        """Cancel what runs and wait for it."""
        await self.streams.aclose()

    # Filling in the ports.

    def _new_session(
        self, states: StateManager, turn: TurnId, *, epoch: int = 0, start: int = 0
    ) -> StreamSession:
        return StreamSession(
            turn, states.state.id, read_run=partial(self._read_run, turn), epoch=epoch, start=start
        )

    async def _read_run(self, turn: TurnId, after: int) -> list[RunRow]:
        return await self._store.read_run(self._scope, turn, after=after)

    def _start(
        self,
        states: StateManager,
        session: StreamSession,
        question: MessageId,
        output: OutputType | None,
    ) -> None:
        ports = self._ports(states, output)
        session.on_cancel(lambda: ports.inbox.put(Stop()))
        driver = TurnDriver(
            states, self._store, self._scope, session, flush_s=self.settings.stream.flush_s
        )
        self.streams.start(session, lambda s: driver.drive(run_turn(ports, s.turn, question)))

    def _ports(self, states: StateManager, output: OutputType | None) -> TurnPorts:
        return TurnPorts(
            scope=self._scope,
            latest=lambda: states.state,
            model=self._model(states.state.preferences.model),
            tools=self.tools,
            window=self.window,
            inbox=Inbox(),
            clock=self.clock,
            settings=self.settings,
            chance=self._chance,
            new_message_id=lambda: MessageId(new_id("msg")),
            price=self._price,
            keep=self._keep,
            read_blob=self.read_blob,
            output=None if output is None else output.schema,
        )

    async def _keep(self, data: bytes) -> BlobId:
        return await self._blobs.put(self._scope, data)

    async def read_blob(self, blob: BlobId) -> bytes:
        """All bytes of a blob. Raises NotFound."""
        return b"".join([piece async for piece in self._blobs.get(self._scope, blob)])

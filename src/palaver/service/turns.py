"""Running turns: the engine's ports filled in, its driver started, its orphans ended."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Literal

from palaver import log
from palaver.context.window import ContextWindowManager
from palaver.domain.clock import Clock
from palaver.domain.errors import InvalidInput, NotFound, PalaverError, ProviderError, StoreError
from palaver.domain.events import Event, MessageAdded
from palaver.domain.ids import BlobId, MessageId, TurnId
from palaver.domain.messages import File, Flag, Image, Message, Role, StopReason, Text
from palaver.domain.reducer import apply
from palaver.domain.state import ConversationState
from palaver.domain.stream import StreamEvent, TurnCancelled, TurnInterrupted
from palaver.domain.values import Scope, TurnOutcome, Usage
from palaver.engine.closing import close_turn
from palaver.engine.commits import STOPPED
from palaver.engine.inbox import Inbox, Stop
from palaver.engine.ports import Emission, TurnPorts
from palaver.engine.turn import run_turn
from palaver.providers.base import Model
from palaver.service.actions import NameConversation, RecordFacts
from palaver.service.driver import TurnDriver
from palaver.service.output import OutputType
from palaver.service.redaction import RedactionReceipt
from palaver.service.state import StateManager
from palaver.service.titles import extractive_title, model_title
from palaver.settings import Settings
from palaver.store.base import BlobStore, ConversationStore, RunRow, TurnRecord
from palaver.streams.follow import StoredSession
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
        reload: Callable[[MessageId], Awaitable[None]],
    ) -> None:
        self.streams = StreamManager(clock, keep_s=settings.stream.keep_sessions_s)
        self.settings, self.clock, self.tools = settings, clock, tools
        self._store, self._blobs, self._scope = store, blobs, scope
        self._model, self._chance, self._price = model, chance, price
        self._load, self._reload = load, reload
        self.window = ContextWindowManager()
        self._beginning: dict[TurnId, asyncio.Event] = {}
        self._ending = asyncio.Lock()
        """Held while a turn that no task works on is ended: two who end it at once end it once."""
        self._closed = False

    def check_ready(self, state: ConversationState) -> None:
        """Raise ConfigurationError when the conversation's model cannot be used, and StoreError
        when this manager is closed."""
        if self._closed:
            raise StoreError("the conversations of this program are closed")
        self._model(state.preferences.model)

    def check_model(self, name: str) -> None:
        """Raise ConfigurationError when there is no such model."""
        self._model(name)

    def is_running(self, turn: TurnId) -> bool:
        """Whether this process works on the turn, or is about to."""
        return turn in self._beginning or self.streams.is_running(turn)

    @contextmanager
    def beginning(self, turn: TurnId) -> Iterator[None]:
        """Until the end of the block a task is about to work on the turn: between the durable fact
        and the start of the task nobody takes the turn for abandoned, or starts a second task."""
        begun = self._beginning[turn] = asyncio.Event()
        try:
            yield
        finally:
            if self._beginning.get(turn) is begun:
                del self._beginning[turn]
            begun.set()

    async def _begun(self, turn: TurnId) -> None:
        while (begun := self._beginning.get(turn)) is not None:
            await begun.wait()

    async def is_ours(self, turn: TurnId) -> bool:
        """Whether the turn belongs to this process."""
        return (await self._store.turn(self._scope, turn)).owner == self._store.owner

    async def settled(self, turn: TurnId) -> None:
        """Return when no task of this process works on the turn."""
        await self._begun(turn)
        await self.streams.settled(turn)

    async def finished(self, turn: TurnId) -> None:
        """Return when the task of a turn whose terminal event is shown has ended; else at once."""
        found = self.streams.find(turn)
        if found is not None and found.is_ended:
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
        """The open turn's session, from memory or around its durable run log. Raises NotFound."""
        await self._begun(turn)
        found = self.streams.find(turn)
        if found is not None:
            return found
        record = await self._store.turn(self._scope, turn)
        rows = await self._store.read_run(self._scope, turn)
        made = self._new_session(
            states, turn, epoch=record.epoch, start=rows[-1].last if rows else 0
        )
        return self.streams.keep(made)

    async def follow(
        self, states: StateManager, turn: TurnId, after: int
    ) -> AsyncIterator[Numbered]:
        """Every event of a turn behind `after`, wherever it runs."""
        session = await self.reading(states, turn)
        async for numbered in session.numbered(after):
            yield numbered

    async def reading(self, states: StateManager, turn: TurnId) -> StreamSession:
        """A session to read a turn from, wherever it runs or ran. Raises NotFound."""
        await self._begun(turn)
        found = self.streams.find(turn)
        if found is None:
            record = await self._store.turn(self._scope, turn)
            found = StoredSession(
                turn,
                record.conversation,
                read_run=partial(self._read_run, turn),
                is_open=partial(self._is_open, turn),
                clock=self.clock,
                epoch=record.epoch,
            )
        if found.conversation != states.state.id:
            raise NotFound(f"no turn {turn!r} in this conversation")
        return found

    async def _is_open(self, turn: TurnId) -> bool:
        return (await self._store.turn(self._scope, turn)).open

    async def end_held(self, states: StateManager, turn: TurnId) -> None:
        """Cancel a turn that no task works on."""
        async with self._ending:
            session = await self.session(states, turn)
            if self.is_running(turn):  # somebody has just decided its last call
                session.cancel()
                await self.settled(turn)
            if not _is_open(states, turn):
                return
            if session.is_ended:
                await self._close(states, session, TurnOutcome.INTERRUPTED, TurnInterrupted(turn))
            else:
                await self._close(states, session, TurnOutcome.CANCELLED, TurnCancelled(turn))

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
        await self.end_lost(states, record.id)
        log.get("recovery").info("turn_interrupted", turn=record.id)
        return True

    async def end_lost(self, states: StateManager, turn: TurnId) -> None:
        """End an open turn that nobody works on any more, with valid history: its process died, or
        the store failed while it ran. What its readers have seen is kept as a partial message."""
        async with self._ending:
            session = await self.session(states, turn)
            if _is_open(states, turn):
                await self._close(states, session, TurnOutcome.INTERRUPTED, TurnInterrupted(turn))

    async def _close(
        self, states: StateManager, session: StreamSession, outcome: TurnOutcome, last: StreamEvent
    ) -> None:
        said = await self._said_before(states.state, session)
        state = states.state if said is None else apply(states.state, said)
        why = STOPPED if outcome is TurnOutcome.CANCELLED else PROGRAM_STOPPED
        closing = close_turn(state, session.turn, outcome, why=why)
        await self._end(states, session, closing if said is None else (said, *closing), last)

    async def _said_before(
        self, state: ConversationState, session: StreamSession
    ) -> MessageAdded | None:
        """The partial message that clients have seen and the log does not hold yet."""
        rows = await self._store.read_run(self._scope, session.turn)
        found = None
        if not state.pending_calls:
            found = unfinished_message((*rows, *session.unwritten()))
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
        return MessageAdded(message, session.turn)

    async def _end(
        self,
        states: StateManager,
        session: StreamSession,
        facts: tuple[Event, ...],
        last: StreamEvent,
    ) -> None:
        # Where the store failed, readers have seen the end already; it only has to be written.
        staged = () if session.is_ended else (last,)
        rows = session.unwritten(staged)
        await states.dispatch(RecordFacts(facts), run=(session.turn, rows) if rows else None)
        session.publish(staged)
        session.written(session.last)

    async def aclose(self) -> None:
        """Begin nothing more, cancel what runs and wait for it."""
        self._closed = True
        for turn in list(self._beginning):
            await self._begun(turn)
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
        self.streams.start(
            session, lambda s: self._drive(states, driver, run_turn(ports, s.turn, question))
        )

    async def _drive(
        self, states: StateManager, driver: TurnDriver, turn: AsyncIterator[Emission]
    ) -> None:
        await driver.drive(turn)
        state = states.state
        if state.turn is None and not state.metadata.title and len(state.messages) > 1:
            try:
                await self.name(states, self.settings.titles)
            except PalaverError as error:  # the answer is stored; its name can wait
                log.get("titles").warning("title_failed", code=error.code)

    async def name(self, states: StateManager, by: Literal["extractive", "model", "off"]) -> str:
        """Give the conversation a title; returns the one that it has then.

        A model that fails leaves it to the first sentence: a title is not worth an error.
        """
        state, title = states.state, ""
        if by == "off" or not state.messages:
            return state.metadata.title
        if by == "model":
            try:
                title = await model_title(self._model(state.preferences.model), state)
            except ProviderError as error:
                log.get("titles").warning("title_failed", code=error.code)
        title = title or extractive_title(state)
        done = await states.dispatch(NameConversation(title, state.messages[0]))
        return done.state.metadata.title

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

    async def redact(self, states: StateManager, message: MessageId, note: str) -> RedactionReceipt:
        """Erase a message from log, index, snapshots, run logs, memory and, where nothing else
        refers to them, its blobs."""
        planned, appended = await states.redact(message, note)
        await self._reload(message)
        for turn in planned.turns:
            self.streams.forget(turn)
        gone: tuple[BlobId, ...] = ()
        if planned.blobs:
            named = await self._store.blob_references(self._scope)
            gone = tuple(sorted(planned.blobs - named))
        for blob in gone:
            await self._blobs.delete(self._scope, blob)
        facts = tuple(seq for seq, _ in planned.replaced)
        return RedactionReceipt(message, facts, planned.turns, gone, appended.at)

    async def check_blobs(self, message: Message) -> None:
        """Raise InvalidInput when the message refers to a blob that this tenant does not have."""
        for block in message.content:
            if isinstance(block, Image | File) and block.blob is not None:
                try:
                    await self._blobs.size(self._scope, block.blob)
                except NotFound as error:
                    raise InvalidInput(
                        f"there is no attachment {block.blob!r}", hint="Attach the file first."
                    ) from error

    async def read_blob(self, blob: BlobId) -> bytes:
        """All bytes of a blob. Raises NotFound."""
        return b"".join([piece async for piece in self._blobs.get(self._scope, blob)])


def _is_open(states: StateManager, turn: TurnId) -> bool:
    return states.state.turn is not None and states.state.turn.id == turn

"""Running turns: the engine's ports filled in, its driver started."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Literal

from palaver import log
from palaver.context.strategy import Strategy
from palaver.context.window import ContextWindowManager
from palaver.domain.clock import Clock
from palaver.domain.errors import InvalidInput, NotFound, PalaverError, ProviderError, StoreError
from palaver.domain.events import SideRequestMade
from palaver.domain.ids import BlobId, ConversationId, MessageId, TurnId
from palaver.domain.messages import File, Flag, Image, Message
from palaver.domain.state import ConversationState
from palaver.domain.stream import StreamEvent
from palaver.domain.values import Scope, Usage
from palaver.engine.chain import endpoint
from palaver.engine.inbox import Inbox, Stop
from palaver.engine.ports import Emission, TurnPorts
from palaver.engine.resume import Standing
from palaver.engine.turn import run_turn
from palaver.providers.base import Model
from palaver.recovery.degradation import Degradation, GracefulDegradationManager
from palaver.recovery.manager import ErrorRecoveryManager
from palaver.service.actions import NameConversation, RecordSideRequests
from palaver.service.answers import CachedAnswers, StandingIn
from palaver.service.compaction import Compactions
from palaver.service.driver import TurnDriver
from palaver.service.ending import TurnEnder
from palaver.service.erasing import Eraser
from palaver.service.inbound import TakeIn
from palaver.service.outbox import Keeping
from palaver.service.preparation import Preparations
from palaver.service.redaction import RedactionReceipt
from palaver.service.sessions import TurnSessions
from palaver.service.shrinking import TurnShrinker
from palaver.service.state import StateManager
from palaver.service.titles import extractive_title, model_title
from palaver.settings import OnUnreachable, Settings
from palaver.store.base import BlobStore, ConversationStore, SearchHit, TurnRecord
from palaver.streams.manager import StreamManager
from palaver.streams.session import StreamSession
from palaver.system import new_id
from palaver.tools.manager import ToolManager

_NOTHING = Standing()


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
        recovery: ErrorRecoveryManager,
        fallbacks: Sequence[str],
        take_in: TakeIn | None,
        load: Callable[[TurnRecord], Awaitable[StateManager]],
        reload: Callable[[MessageId], Awaitable[None]],
        states: Callable[[ConversationId], Awaitable[StateManager]],
        strategies: Sequence[Strategy] = (),
        offline: Callable[[], Model] | None = None,
    ) -> None:
        self.sessions = TurnSessions(
            store=store,
            scope=scope,
            clock=clock,
            keep_s=settings.stream.keep_sessions_s,
            keep=settings.stream.keep_sessions,
        )
        self.settings, self.clock, self.tools = settings, clock, tools
        self._store, self._blobs, self.scope = store, blobs, scope
        self._model, self._chance, self._price = model, chance, price
        self.recovery, self._fallbacks = recovery, tuple(fallbacks)
        self.degradation = GracefulDegradationManager(recovery, clock=clock)
        self.answers = CachedAnswers(store, scope, settings=settings.answers)
        self._stands_in = StandingIn(self.answers, offline)
        self._take_in = take_in
        self._eraser = Eraser(
            store=store,
            blobs=blobs,
            scope=scope,
            streams=self.sessions.streams,
            states=states,
            reload=reload,
        )
        self.window = ContextWindowManager(settings=settings.context)
        self.compactions = Compactions(
            window=self.window,
            model=model,
            tools=tools,
            settings=settings,
            clock=clock,
            chance=chance,
            price=price,
            recovery=recovery,
            strategies=strategies,
        )
        self.preparations = Preparations(self.compactions, self.window, states)
        self._shrinker = TurnShrinker(self.window, self.compactions, self.preparations)
        self.ending = TurnEnder(
            store=store,
            scope=scope,
            sessions=self.sessions,
            window=self.window,
            load=load,
            check_ready=self.check_ready,
            run_on=self._run_on_restarted,
            on_restart=settings.turn.on_restart,
            may_continue=settings.retry.resumes > 0,
        )
        self._restarting = asyncio.Semaphore(settings.turn.resume_parallel)
        self._closed = False
        self.model_answered: Callable[[], None] = _nothing
        self.waiting: Callable[[], None] = _nothing
        """Called when a model has answered, and when a prompt waits in an outbox."""

    @property
    def streams(self) -> StreamManager:
        """The turns of this process."""
        return self.sessions.streams

    @property
    def is_closed(self) -> bool:
        """Whether nothing is begun any more, and what runs is about to be ended."""
        return self._closed

    def check_ready(self, state: ConversationState) -> None:
        """Raise ConfigurationError when the conversation's model cannot be used, and StoreError
        when this manager is closed."""
        if self._closed:
            raise StoreError("the conversations of this program are closed")
        self._model(state.preferences.model)

    def is_reachable(self, state: ConversationState) -> bool:
        """Whether somebody of the conversation's chain is not left alone by a breaker."""
        chain = self._chain(state.preferences.model)
        return any(self.recovery.is_admitting(endpoint(model)) for model in chain)

    def degraded(
        self, state: ConversationState, *, instead: OnUnreachable | None = None
    ) -> Degradation:
        """What the conversation's service is, where `instead` is what becomes of a message that
        nobody can answer."""
        chain = [endpoint(model) for model in self._chain(state.preferences.model)]
        instead = instead or self.settings.outbox.on_unreachable
        return self.degradation.of(state.id, chain, instead=instead)

    def check_model(self, name: str) -> None:
        """Raise ConfigurationError when there is no such model."""
        self._model(name)

    def run(
        self,
        states: StateManager,
        turn: TurnId,
        question: MessageId,
        *,
        keeping: Keeping | None = None,
        instead: OnUnreachable | None = None,
    ) -> StreamSession:
        """Begin a turn that was just accepted. `instead`: what becomes of it when nobody can be
        reached, where that is not as the settings say."""
        session = self.sessions.new(states.state.id, turn)
        self._start(states, session, question, keeping=keeping, instead=instead)
        return session

    def run_on(self, states: StateManager, session: StreamSession, question: MessageId) -> None:
        """Continue a turn behind its suspension."""
        self._start(states, session, question)

    def _run_on_restarted(
        self, states: StateManager, session: StreamSession, question: MessageId, said: Standing
    ) -> None:
        self._start(states, session, question, room=self._restarting, said=said)

    async def aclose(self, *, drain_s: float = 0.0, leave: bool = False) -> None:
        """Begin nothing more; what runs has `drain_s` seconds to end, and is cancelled then, or
        left open for the next process."""
        self._closed = True
        await self.sessions.all_begun()
        await self.streams.drain(drain_s)
        await self.streams.aclose(leave=leave)
        await self.preparations.aclose()

    # Filling in the ports.

    def _start(
        self,
        states: StateManager,
        session: StreamSession,
        question: MessageId,
        *,
        room: asyncio.Semaphore | None = None,
        keeping: Keeping | None = None,
        instead: OnUnreachable | None = None,
        said: Standing = _NOTHING,
    ) -> None:
        """`room`: the turn waits for its place there, unless it is cancelled. `said`: how a process
        that died began to answer."""
        stopped = asyncio.Event()
        instead = instead or self.settings.outbox.on_unreachable
        service = self.degraded(states.state, instead=instead)
        driver = TurnDriver(
            states,
            self._store,
            self.scope,
            session,
            settings=self.settings.stream,
            moved=self.sessions.hand_over,
            keeping=keeping,
            answers=self.answers,
            refused=service.store_refused,
        )
        ports = self._ports(states, driver.show, service)

        def stop() -> None:
            ports.inbox.put(Stop())
            stopped.set()

        async def drive(running: StreamSession) -> None:
            async with _place(room, stopped):
                if room is not None and self._closed:
                    return  # it has not begun here; the next process decides about it
                await self._drive(states, driver, run_turn(ports, running.turn, question, said))
            self._ended(running, states.state)

        session.on_cancel(stop)
        self.streams.start(session, drive)

    def _ended(self, session: StreamSession, state: ConversationState) -> None:
        """Tell the one who sends what waits."""
        if session.error is None:
            last = state.last
            if last is None or not {Flag.OFFLINE, Flag.CACHED}.intersection(last.flags):
                self.model_answered()
        elif state.outbox:
            self.waiting()

    async def _drive(
        self, states: StateManager, driver: TurnDriver, turn: AsyncIterator[Emission]
    ) -> None:
        await driver.drive(turn)
        state = states.state
        if state.turn is None and not state.metadata.title and len(state.messages) > 1:
            try:
                await self.name(states, self.settings.titles, is_asked=False)
            except PalaverError as error:  # the answer is stored; its name can wait
                log.get("titles").warning("title_failed", code=error.code)
        self._look_ahead(states)

    def _look_ahead(self, states: StateManager) -> None:
        """Use the time until the next message to prepare what it will need."""
        state = states.state
        if state.turn is None and not self._closed:
            self.preparations.consider(state, self.compactions.measured(state))

    async def name(
        self,
        states: StateManager,
        by: Literal["extractive", "model", "off"],
        *,
        is_asked: bool = True,
    ) -> str:
        """Give the conversation a title; returns the one that it has then. One that it got
        meanwhile is replaced only if somebody asked for this.

        A model that fails leaves it to the first sentence: a title is not worth an error.
        """
        state, title = states.state, ""
        if by == "off" or not state.messages:
            return state.metadata.title
        if by == "model":
            try:
                model = self._model(state.preferences.model)
                title, made = await model_title(model, state, self.recovery)
                await states.dispatch(RecordSideRequests((made,)))
            except ProviderError as error:
                log.get("titles").warning("title_failed", code=error.code)
        title = title or extractive_title(state)
        command = NameConversation(title, state.messages[0], only_untitled=not is_asked)
        done = await states.dispatch(command)
        return done.state.metadata.title

    def _ports(
        self,
        states: StateManager,
        show: Callable[[list[StreamEvent]], None],
        service: Degradation,
    ) -> TurnPorts:
        opened = states.state.turn
        return TurnPorts(
            scope=self.scope,
            latest=lambda: states.state,
            models=self._chain(states.state.preferences.model),
            recovery=self.recovery,
            degradation=service,
            stands_in=self._stands_in if service.instead == "offline" else None,
            request_key=self.answers.key,
            tools=self.tools,
            window=self.window,
            shrinker=self._shrinker,
            inbox=Inbox(),
            show=show,
            clock=self.clock,
            settings=self.settings,
            chance=self._chance,
            new_message_id=lambda: MessageId(new_id("msg")),
            price=self._price,
            keep=self.keep_blob,
            read_blob=self.read_blob,
            output=None if opened is None else opened.output,
        )

    def _chain(self, name: str) -> tuple[Model, ...]:
        """The conversation's model and the ones that stand in for it, each once."""
        own = self._model(name)
        chain = {own.name: own}
        for fallback in self._fallbacks:
            model = self._model(fallback)
            chain.setdefault(model.name, model)
        return tuple(chain.values())

    async def keep_blob(self, data: bytes) -> BlobId:
        """Store bytes; what they are called from then on."""
        return await self._blobs.put(self.scope, data)

    async def redact(self, states: StateManager, message: MessageId, note: str) -> RedactionReceipt:
        """See `Eraser`."""
        self.preparations.drop_all()  # they may quote it
        return await self._eraser.redact(states, message, note)

    def forget(self, conversation: ConversationId) -> None:
        """Nobody uses it for now: keep nothing of its messages."""
        self.window.forget(conversation)
        self.compactions.forget(conversation)
        self.answers.forget(conversation)

    def cost_of(self, made: Sequence[SideRequestMade]) -> float | None:
        """US dollars for requests beside turns; None where a price is unknown."""
        costs = [self._price(fact.model, fact.usage) for fact in made]
        return None if None in costs else sum((cost for cost in costs if cost is not None), 0.0)

    async def taken_in(self, said: object) -> object:
        """What was said, in our terms where it is of another library."""
        return said if self._take_in is None else await self._take_in(said, self.keep_blob)

    async def check_blobs(self, message: Message) -> None:
        """Raise InvalidInput when the message refers to a blob that this tenant does not have."""
        for block in message.content:
            if isinstance(block, Image | File) and block.blob is not None:
                try:
                    await self._blobs.size(self.scope, block.blob)
                except NotFound as error:
                    raise InvalidInput(
                        f"there is no attachment {block.blob!r}", hint="Attach the file first."
                    ) from error

    async def search(
        self, query: str, conversation: ConversationId, limit: int
    ) -> tuple[SearchHit, ...]:
        """Messages of one conversation with all words of `query`, the best first."""
        found = self._store.search(self.scope, query, conversation=conversation, limit=limit)
        return await found

    async def read_blob(self, blob: BlobId) -> bytes:
        """All bytes of a blob. Raises NotFound."""
        return b"".join([piece async for piece in self._blobs.get(self.scope, blob)])


def _nothing() -> None:
    pass


@asynccontextmanager
async def _place(room: asyncio.Semaphore | None, stopped: asyncio.Event) -> AsyncIterator[None]:
    """Wait for a place in `room`, or until `stopped`: what is to end at once needs none."""
    if room is None:
        yield
        return
    waiting = asyncio.ensure_future(room.acquire())
    stopping = asyncio.ensure_future(stopped.wait())
    try:
        await asyncio.wait((waiting, stopping), return_when=asyncio.FIRST_COMPLETED)
        yield
    finally:
        stopping.cancel()
        if not waiting.cancel() and not waiting.cancelled():
            room.release()

"""The door to conversations: create, open, list, search, delete."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any
from weakref import WeakValueDictionary

from palaver.context.strategy import Strategy
from palaver.domain.clock import Clock
from palaver.domain.errors import ConversationBusy, InvalidInput, NotFound
from palaver.domain.events import (
    ConversationCreated,
    ConversationForked,
    Event,
    HeadMoved,
)
from palaver.domain.ids import ConversationId, MessageId
from palaver.domain.messages import Flag, Message
from palaver.domain.reducer import apply
from palaver.domain.state import ConversationState
from palaver.domain.values import Scope, SessionMetadata, Usage, UserPreferences
from palaver.providers.base import Model
from palaver.recovery.degradation import GracefulDegradationManager
from palaver.recovery.manager import ErrorRecoveryManager
from palaver.service import branching, brought
from palaver.service.conversation import Conversation
from palaver.service.ending import Recovered
from palaver.service.held_state import HeldState
from palaver.service.inbound import TakeIn
from palaver.service.keeping import Keeping, checked
from palaver.service.open_conversations import OpenConversations
from palaver.service.outbox import WaitingPrompts
from palaver.service.preferences import changed_preferences, clean_metadata
from palaver.service.sending import OutboxSender
from palaver.service.state import StateManager, StateMiddleware, StateSubscriber
from palaver.service.turn_status import TurnDirectory, TurnStatus
from palaver.service.turns import TurnRunner
from palaver.settings import Settings
from palaver.store.base import (
    BlobStore,
    ConversationStore,
    Page,
    SearchHit,
    TurnRecord,
)
from palaver.streams.cursor import After
from palaver.streams.manager import StreamManager
from palaver.streams.session import Numbered, StreamSession
from palaver.system import new_id
from palaver.tools.manager import ToolManager

_SETTINGS, _SCOPE, _DEFAULTS = Settings(), Scope(), UserPreferences()


class ConversationManager(Keeping):
    """Conversations of one scope. Made by `palaver.open`; takes every part as a port.

    `fallbacks`: names of models that stand in, in this order, for one that fails. `recovery`: what
    is known of models' health; managers of one process may share it. `offline`: answers where no
    model can be reached and the settings want that.
    """

    def __init__(
        self,
        *,
        store: ConversationStore,
        blobs: BlobStore,
        model: Callable[[str], Model],
        tools: ToolManager,
        clock: Clock,
        chance: Callable[[], float],
        price: Callable[[str, Usage], float | None],
        fallbacks: Sequence[str] = (),
        recovery: ErrorRecoveryManager | None = None,
        take_in: TakeIn | None = None,
        settings: Settings = _SETTINGS,
        scope: Scope = _SCOPE,
        defaults: UserPreferences = _DEFAULTS,
        middleware: Sequence[StateMiddleware] = (),
        strategies: Sequence[Strategy] = (),
        offline: Callable[[], Model] | None = None,
        owns_store: bool = True,
    ) -> None:
        self._store, self._blobs, self._scope = store, blobs, scope
        self._settings, self._defaults = settings, defaults
        self._middleware = list(middleware)
        self._subscribers: list[StateSubscriber] = []
        self._open = OpenConversations(
            limit=settings.open_conversations,
            limit_bytes=settings.open_bytes,
            let_go=self._let_go,
        )
        self._queues: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._clock = clock
        self._owns_store = owns_store
        self.tools = tools
        self.store = store
        self.recovery = recovery or ErrorRecoveryManager(
            clock=clock, chance=chance, settings=settings
        )
        self._runner = TurnRunner(
            store=store,
            blobs=blobs,
            scope=scope,
            model=model,
            tools=tools,
            settings=settings,
            clock=clock,
            chance=chance,
            price=price,
            recovery=self.recovery,
            fallbacks=fallbacks,
            take_in=take_in,
            load=self._states_of,
            reload=self._reload,
            states=self._states,
            strategies=strategies,
            offline=offline,
        )

        self._sender = OutboxSender(
            store=store,
            scope=scope,
            clock=clock,
            settings=settings.outbox,
            states=self._states,
            runner=self._runner,
        )
        self._runner.model_answered = self._sender.answered
        self._runner.waiting = self._sender.begin
        self._turns = TurnDirectory(
            store=store, scope=scope, sessions=self._runner.sessions, states=self._states
        )

    @property
    def streams(self) -> StreamManager:
        """The turns of this process; its `bus` hears every event."""
        return self._runner.streams

    @property
    def degradation(self) -> GracefulDegradationManager:
        """What of the service is amiss, with whom, and since when."""
        return self._runner.degradation

    @property
    def tenant(self) -> str:
        """Whose conversations these are."""
        return self._scope.tenant

    def use(self, middleware: StateMiddleware) -> None:
        """Let `middleware` see every later command of conversations opened from now on."""
        self._middleware.append(middleware)

    def subscribe(self, subscriber: StateSubscriber) -> None:
        """Tell `subscriber` of every change of conversations opened from now on."""
        self._subscribers.append(subscriber)

    async def create(
        self,
        *,
        id: str | None = None,
        title: str = "",
        tags: Sequence[str] = (),
        **preferences: Any,
    ) -> Conversation:
        """A new conversation. `preferences` by name: model, system, language, approvals,
        temperature, max_tokens … `id`: for who wants to choose it. Raises InvalidInput, Conflict
        where there is one of this id, ConfigurationError, StoreError."""
        chosen = changed_preferences(self._defaults, preferences)
        self._runner.check_model(chosen.model)
        conversation = ConversationId(new_id("conv") if id is None else id)
        created = ConversationCreated(chosen, clean_metadata(SessionMetadata(title, tuple(tags))))
        await self._store.create(self._scope, conversation, (created,))
        return self._handle(await self._states(conversation))

    async def create_from(
        self,
        messages: Sequence[Message],
        *,
        title: str = "",
        tags: Sequence[str] = (),
        **preferences: Any,
    ) -> Conversation:
        """A new conversation that begins with a history: of users, assistants and tools that a
        client ran. What providers refuse of it is mended; `repairs` of the handle says what.

        Raises what `create` raises; then nothing is stored.
        """
        chosen = changed_preferences(self._defaults, preferences)
        self._runner.check_model(chosen.model)
        created = ConversationCreated(chosen, clean_metadata(SessionMetadata(title, tuple(tags))))
        state = ConversationState(ConversationId(new_id("conv")))
        history = brought.joined(state, brought.checked_history(messages), new_id("msg"))
        await brought.check_attachments(history.messages, self._runner.check_blobs)
        facts = (created, *brought.facts_of(state, history))
        await self._store.create(self._scope, state.id, facts)
        made = self._handle(await self._states(state.id))
        made.repairs = history.repairs
        return made

    async def open(self, conversation: str) -> Conversation:
        """A stored conversation, as it is now. Raises NotFound."""
        states = await self._states(checked(conversation))
        await states.refresh()
        return self._handle(states)

    async def find(self, name: str) -> Conversation:
        """The conversation with this id, the end or beginning of an id, or `last` for the newest.

        Raises NotFound, and InvalidInput when several fit.
        """
        if name == "last":
            page = await self.list(limit=1)
            if not page.items:
                raise NotFound("there is no conversation yet")
            return await self.open(page.items[0].id)
        try:
            return await self.open(name)
        except NotFound:
            fitting = await self._fitting(name)
        if len(fitting) > 1:
            raise InvalidInput(f"{name!r} fits {len(fitting)} conversations; give more of the id")
        if not fitting:
            raise NotFound(f"no conversation {name!r}", hint="`palaver list` shows them.")
        return await self.open(fitting[0])

    async def _fitting(self, name: str) -> list[ConversationId]:
        found: list[ConversationId] = []
        cursor: str | None = None
        while len(name) >= 4:
            page = await self.list(limit=200, cursor=cursor)
            ids = (item.id for item in page.items)
            found += [i for i in ids if i.endswith(name) or i.startswith((name, f"conv_{name}"))]
            cursor = page.cursor
            if cursor is None:
                break
        return found

    async def list(
        self, *, limit: int = 50, cursor: str | None = None, archived: bool = False
    ) -> Page:
        """Conversations by newest change."""
        return await self._store.list_conversations(
            self._scope, limit=limit, cursor=cursor, archived=archived
        )

    async def search(
        self, query: str, *, conversation: str | None = None, limit: int = 20
    ) -> tuple[SearchHit, ...]:
        """Messages with all words of `query`, the best first. Any text is a valid query."""
        within = None if conversation is None else checked(conversation)
        return await self._store.search(self._scope, query, conversation=within, limit=limit)

    async def delete(self, conversation: str) -> None:
        """Erase a conversation. Raises NotFound."""
        id = checked(conversation)
        states = self._open.find(id)
        if states is not None:
            await states.wake()
            if states.state.turn is not None:
                await self._handle(states).cancel()
            self._open.forget(id)
        self._runner.preparations.drop(id)
        self._runner.degradation.forget(id)
        await self._store.delete(self._scope, id)

    async def fork(self, conversation: str, *, at: str | None = None) -> Conversation:
        """A new conversation that shares this one's history up to message `at` (None: all of it).

        Nothing is copied. Raises NotFound, and ConversationBusy while a turn is open.
        """
        states = await self._states(checked(conversation))
        state = await states.refresh()
        if state.turn is not None:
            raise ConversationBusy("a turn of this conversation is still open")
        events: list[Event] = [ConversationForked(state.id, state.seq)]
        if at is not None:
            events.append(HeadMoved(branching.find(state, MessageId(at)).id))
        for event in events:
            state = apply(state, event)  # on trial: the head must be where it can stand
        made = ConversationId(new_id("conv"))
        await self._store.fork(self._scope, states.state.id, made, events, at=state.seq)
        return self._handle(await self._states(made))

    # Turns by their id alone.

    async def turn(self, turn: str) -> TurnStatus:
        """Whether a turn is open, what it waits for, how it ended. Raises NotFound."""
        return await self._turns.status(turn)

    async def session(self, turn: str, *, after: After = 0) -> StreamSession:
        """Where to read a turn behind `after`, wherever it runs or ran; what is read of it must be
        asked for with the same `after`. Raises NotFound, InvalidInput."""
        return await self._turns.session(turn, after)

    async def follow(self, turn: str, *, after: After = 0) -> AsyncIterator[Numbered]:
        """See `Conversation.follow`."""
        async for numbered in self._turns.follow(turn, after):
            yield numbered

    # Beginning and ending.

    async def recover(self) -> int:
        """Decide about open turns whose process died: `turn.on_restart` says whether they are ended
        or run on. `palaver.open` calls it. Returns how many."""
        return await self._runner.ending.recover()

    @property
    def recovered(self) -> Sequence[Recovered]:
        """The turns that `recover` decided about since this manager was made."""
        return self._runner.ending.recovered

    async def outbox(self) -> tuple[WaitingPrompts, ...]:
        """What waits to be sent, in all conversations, the longest unchanged first. Costs what it
        returns, whatever else is stored."""
        waiting = list[WaitingPrompts]()
        for conversation in await self._store.outboxes(self._scope):
            state = await (await self._states(conversation)).refresh()
            waiting.append(WaitingPrompts(state.id, state.metadata.title, state.outbox))
        return tuple(each for each in waiting if each.prompts)

    async def send_outbox(self) -> int:
        """Send what waits, one prompt of a conversation after the other, as far as models can be
        reached. Returns how many were answered."""
        return await self._sender.send_all()

    def keep_sending(self) -> None:
        """Send what waits in the background from now on (`outbox.automatic`). `palaver.open` calls
        it."""
        self._sender.begin(now=True)

    async def aclose(self, *, drain_s: float = 0.0, leave: bool = False) -> None:
        """Accept nothing more, give running turns `drain_s` seconds to end by themselves, cancel
        the others, keep what they said, and close the store if it is one's own.

        `leave`: the others stay open as if the process had died, with all that they said; the next
        one decides about them (`turn.on_restart`)."""
        await self._sender.aclose()
        await self._runner.aclose(drain_s=drain_s, leave=leave)
        if self._owns_store:
            await self._store.close()

    # Handles.

    async def _states(self, conversation: ConversationId) -> StateManager:
        found = self._open.find(conversation) or await self._load(conversation)
        await found.wake()
        return self._open.use(found)

    async def _load(self, conversation: ConversationId) -> StateManager:
        return StateManager(
            self._store,
            self._scope,
            await HeldState.load(self._store, self._scope, conversation),
            middleware=self._middleware,
            subscribers=self._subscribers,
            snapshot_every=self._settings.snapshot_every,
            on_wake=self._open.use,
        )

    async def _states_of(self, record: TurnRecord) -> StateManager:
        if record.scope != self._scope and record.scope.tenant != self._scope.tenant:
            raise NotFound(f"turn {record.id} belongs to another tenant")
        return await self._states(record.conversation)

    def _let_go(self, conversation: ConversationId) -> None:
        self._runner.forget(conversation)

    async def _reload(self, redacted: MessageId) -> None:
        """Let go of a redacted message wherever it is in memory: forks share it."""
        for states in self._open.awake():
            sharing = (m for m in branching.everywhere(states.state) if m.id == redacted)
            if any(Flag.REDACTED not in message.flags for message in sharing):
                await states.reload()

    def _handle(self, states: StateManager) -> Conversation:
        queue = self._queues.setdefault(states.id, asyncio.Lock())
        return Conversation(states, self._runner, queue)

"""One conversation's state, and the only way to change it.

    action → middleware → facts → reducer, on trial → append with the expected number → new state
           → history → subscribers

Middleware may change or block a command, never a fact. The trial keeps impossible facts out of the
log. The append is durable before anybody sees the new state. When another process has appended
meanwhile, its facts are folded in and the command is decided again.

A manager that is idle may rest: it lets go of the state and reads it again when it is needed.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Protocol, TypeAlias

import msgspec
from msgspec.structs import replace

from palaver import log
from palaver.domain import snapshot as snapshots
from palaver.domain.errors import (
    ConversationBusy,
    IdempotencyMismatch,
    InvalidInput,
    ReadOnlyConversation,
    StaleWriter,
    TurnTakenOver,
)
from palaver.domain.events import Event, MessageAdded, Recorded, UnknownEvent
from palaver.domain.ids import TurnId
from palaver.domain.outbox import QueuedPrompt
from palaver.domain.reducer import apply, fold
from palaver.domain.state import ConversationState
from palaver.domain.values import Scope
from palaver.service.actions import (
    OPENING,
    TURNS_OWN,
    RecordFacts,
    SendMessage,
    StateAction,
    decide,
)
from palaver.service.held_state import HeldState
from palaver.service.prompts import QueuePrompt, SendPrompt
from palaver.service.redaction import Redaction
from palaver.store.base import Accepted, Appended, ConversationStore, RunRow

STALE_TRIES = 5


class StateChange(msgspec.Struct, frozen=True):
    """What subscribers are told: the state before, the state now, and the facts between."""

    before: ConversationState
    after: ConversationState
    facts: tuple[Event, ...]


class StateMiddleware(Protocol):
    """Sees every command once, before it is decided; it may take its time.

    No lock is held meanwhile: other commands may be carried out, and the command is decided on the
    state that is the newest then. A message that waits for another turn is not shown again.
    """

    async def __call__(self, action: StateAction, state: ConversationState) -> StateAction:
        """The action to carry out, changed or not. Raise ActionBlocked to refuse it."""
        ...


StateSubscriber: TypeAlias = Callable[[StateChange], Awaitable[None] | None]
"""Told of every change, in order. Its errors are logged and harm nobody."""


class Dispatched(msgspec.Struct, frozen=True):
    """The state after an action. `replayed`: the turn that an idempotency key opened before."""

    state: ConversationState
    facts: tuple[Event, ...] = ()
    replayed: TurnId | None = None


Rewriting: TypeAlias = Callable[
    [ConversationState, list[Recorded]], tuple[Redaction, tuple[Event, ...]]
]
"""Plans a rewriting of facts: what to replace, and the facts to append."""


class StateManager:
    """Holds a conversation's newest state and carries actions out, one after another."""

    def __init__(
        self,
        store: ConversationStore,
        scope: Scope,
        held: HeldState,
        *,
        middleware: Sequence[StateMiddleware] = (),
        subscribers: Sequence[StateSubscriber] = (),
        snapshot_every: int = 200,
        on_wake: "Callable[[StateManager], object] | None" = None,
    ) -> None:
        """`on_wake` hears of it whenever its state has been read again."""
        self.id = held.id
        self._store, self._scope, self._held = store, scope, held
        self._middleware = list(middleware)
        self._subscribers = list(subscribers)
        self._common_subscribers = len(self._subscribers)
        self._on_wake = on_wake
        self._lock = asyncio.Lock()
        self._foreign: tuple[Event, ...] = ()
        """Of other processes, folded in since the subscribers were told last."""
        self._snapshot_every = snapshot_every

    @property
    def state(self) -> ConversationState:
        """The newest state that is durable. Where it rests, it is read here and now; `wake` does
        not block the event loop for that."""
        if self._held.is_resting:
            self._woken(self._held.wake_at_once())
        return self._held.state

    @property
    def state_history(self) -> deque[ConversationState]:
        """The newest states of this process, the newest last."""
        return self._held.history

    # Resting.

    @property
    def is_resting(self) -> bool:
        """Whether the state has to be read again when it is needed."""
        return self._held.is_resting

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way and nobody watches this conversation in particular."""
        if self.is_resting or self._lock.locked():
            return False
        turn = self._held.state.turn
        is_watched = len(self._subscribers) > self._common_subscribers
        return not is_watched and (turn is None or turn.held is not None)

    @property
    def weight(self) -> int:
        """About how many bytes of memory the messages take."""
        return self._held.weight

    def rest(self) -> None:
        """Let go of the state and its history, where the store can give it back at any time."""
        self._held.rest()

    async def wake(self) -> None:
        """Have the state in memory. Raises StoreError."""
        if self._held.is_resting:
            self._woken(await self._held.wake())

    def _woken(self, missed: Sequence[Recorded]) -> None:
        self._note_foreign(missed)
        if self._on_wake is not None:
            self._on_wake(self)

    # Changing it.

    def subscribe(self, subscriber: StateSubscriber) -> Callable[[], None]:
        """Tell `subscriber` of every change from now on; the result ends that."""
        self._subscribers.append(subscriber)
        return lambda: self._subscribers.remove(subscriber)

    async def dispatch(
        self,
        action: StateAction,
        *,
        run: tuple[TurnId, Sequence[RunRow]] | None = None,
        is_reviewed: bool = False,
    ) -> Dispatched:
        """Carry out an action. When this returns, its facts are durable.

        Middleware sees it first, unless `is_reviewed`. Raises what middleware raises, InvalidInput,
        InvalidTransition, ConversationBusy, TurnTakenOver, IdempotencyMismatch,
        ReadOnlyConversation, StaleWriter (after several tries) or StoreError; then nothing has
        changed.
        """
        if not is_reviewed:
            action = await self.review(action)
        async with self._lock:
            await self.wake()
            before = self.state
            done = await self._carry_out(action, run)
            facts, self._foreign = (*self._foreign, *done.facts), ()
        if done.state is not before:
            await self._tell(StateChange(before, done.state, facts))
        return done

    async def refresh(self) -> ConversationState:
        """Fold in what other processes have appended. Returns the newest state."""
        async with self._lock:
            await self.wake()
            before = self.state
            await self._catch_up()
            now = self.state
            facts, self._foreign = self._foreign, ()
        if facts:
            await self._tell(StateChange(before, now, facts))
        return now

    async def at(self, seq: int) -> ConversationState:
        """The state behind fact number `seq`. Raises InvalidInput where there is none."""
        await self.wake()
        if not 0 <= seq <= self.state.seq:
            raise InvalidInput(f"there is no fact {seq}; the log has {self.state.seq}")
        for state in self.state_history:
            if state.seq == seq:
                return state
        records = await self._store.read(self._scope, self.id, until=seq)
        return fold(ConversationState(self.id), records)

    async def reload(self) -> None:
        """Take the state from the store again: facts that were there have been rewritten."""
        async with self._lock:
            await self._held.reload()

    async def rewrite(self, planned: Rewriting) -> tuple[Redaction, Appended | None]:
        """Put other facts in the place of some, durably; no earlier state is kept in memory.

        `planned` looks at the state and all facts, and says what to rewrite and what to append;
        nothing is done where it appends nothing. Raises what it raises, and what the store raises.
        """
        async with self._lock:
            await self.wake()
            for _ in range(STALE_TRIES - 1):
                with suppress(StaleWriter):
                    change, done = await self._rewritten(planned)
                    break
            else:
                change, done = await self._rewritten(planned)
        if done[1] is not None:
            await self._tell(change)
        return done

    async def _rewritten(
        self, planned: Rewriting
    ) -> tuple[StateChange, tuple[Redaction, Appended | None]]:
        await self._catch_up()
        before = self.state
        redaction, facts = planned(before, await self._store.read(self._scope, before.id))
        if not facts:
            return StateChange(before, before, ()), (redaction, None)
        trial = self._trial(facts)
        what = (self._scope, before.id, redaction.replaced, facts)
        appended = await self._store.rewrite(*what, expected=before.seq, runs=redaction.turns)
        self.state_history.clear()
        self._advance(trial, appended)
        self._held.snapshot_at = 0
        return StateChange(before, self.state, facts), (redaction, appended)

    async def accepted_before(self, action: SendMessage) -> TurnId | None:
        """The turn that the message's idempotency key has opened; None where there is none, or it
        was for another message."""
        with suppress(IdempotencyMismatch):
            return await self._turn_of_key(QueuedPrompt(action.message, action.idempotency_key))
        return None

    async def review(self, action: StateAction) -> StateAction:
        """What middleware makes of an action. Raises what middleware raises."""
        if isinstance(action, TURNS_OWN):
            return action
        await self.wake()
        for handle in self._middleware:
            action = await handle(action, self.state)
        return action

    async def _carry_out(
        self, action: StateAction, run: tuple[TurnId, Sequence[RunRow]] | None
    ) -> Dispatched:
        for _ in range(STALE_TRIES - 1):
            try:
                return await self._try(action, run)
            except StaleWriter:
                await self._catch_up()
                if isinstance(action, RecordFacts):
                    await self._check_owner(action)
        return await self._try(action, run)

    async def _check_owner(self, action: RecordFacts) -> None:
        """Facts of a turn hold on a newer state only while nobody else works on the turn."""
        record = await self._store.turn(self._scope, action.turn)
        if record.owner != self._store.owner or record.epoch != action.epoch:
            raise TurnTakenOver(f"another process took turn {action.turn} over")

    async def _try(
        self, action: StateAction, run: tuple[TurnId, Sequence[RunRow]] | None
    ) -> Dispatched:
        if self.state.read_only:
            raise ReadOnlyConversation("this conversation was written by a newer Palaver")
        if isinstance(action, RecordFacts):
            opened = self.state.turn
            if opened is None or opened.id != action.turn:
                raise TurnTakenOver(f"another process ended turn {action.turn}")
        if isinstance(action, QueuePrompt):
            known = await self._turn_of_key(action.prompt)
            if known is not None:
                return Dispatched(self.state, replayed=known)
        facts = decide(self.state, action)
        if not facts:
            return Dispatched(self.state)
        if isinstance(action, SendPrompt):
            return await self._send(action, facts)
        if isinstance(action, SendMessage):
            return await self._accept(action, facts)
        trial = self._trial(facts)
        opens = action.turn if isinstance(action, OPENING) else None
        appended = await self._append(facts, run, opens)
        self._advance(trial, appended)
        return Dispatched(self.state, facts)

    async def _accept(self, action: SendMessage, facts: tuple[Event, ...]) -> Dispatched:
        busy = self.state.turn is not None
        trial = self.state if busy else self._trial(facts)
        if busy and action.idempotency_key is None:
            raise ConversationBusy("a turn of this conversation is still open")
        if busy:
            return await self._replay_or_busy(action)
        message = next(f.message for f in facts if isinstance(f, MessageAdded))
        accepted = await self._store.accept(
            self._scope,
            self.id,
            message,
            turn=action.turn,
            expected=self.state.seq,
            idempotency_key=action.idempotency_key,
            output=action.output,
            tools=action.tools,
            own_tools=action.own_tools,
        )
        if accepted.appended is None:
            return Dispatched(self.state, replayed=accepted.turn)
        self._advance(trial, accepted.appended)
        return Dispatched(self.state, facts)

    async def _send(self, action: SendPrompt, facts: tuple[Event, ...]) -> Dispatched:
        prompt, trial = self.state.outbox[0], self._trial(facts)
        if prompt.tried is not None:  # the key, if there is one, is that turn's
            appended: Appended | None = await self._append(facts, None, action.turn)
        else:
            accepted = await self._store.accept(
                self._scope,
                self.id,
                next(f.message for f in facts if isinstance(f, MessageAdded)),
                turn=action.turn,
                expected=self.state.seq,
                idempotency_key=prompt.idempotency_key,
                output=prompt.output,
                tools=prompt.tools,
                own_tools=prompt.own_tools,
                sent=prompt.id,
            )
            appended = accepted.appended
        if appended is None:  # somebody else has sent it: read on and see
            raise StaleWriter(expected=self.state.seq, actual=self.state.seq + 1)
        self._advance(trial, appended)
        return Dispatched(self.state, facts)

    async def _turn_of_key(self, prompt: QueuedPrompt) -> TurnId | None:
        """The turn that the prompt's key opened before. Raises IdempotencyMismatch."""
        if prompt.idempotency_key is None:
            return None
        try:
            known = await self._store.accept(
                self._scope,
                self.id,
                prompt.message,
                turn=TurnId("turn_none"),
                expected=-1,
                idempotency_key=prompt.idempotency_key,
            )
        except StaleWriter:
            return None
        return known.turn

    async def _replay_or_busy(self, action: SendMessage) -> Dispatched:
        """With a turn open, only a message that was accepted before gets an answer other than busy.

        The store looks the key up before it looks at the number, and no log ends at number -1.
        """
        try:
            accepted: Accepted = await self._store.accept(
                self._scope,
                self.id,
                action.message,
                turn=action.turn,
                expected=-1,
                idempotency_key=action.idempotency_key,
            )
        except StaleWriter:
            raise ConversationBusy("a turn of this conversation is still open") from None
        return Dispatched(self.state, replayed=accepted.turn)

    def _trial(self, facts: Sequence[Event]) -> ConversationState:
        state = self.state
        for fact in facts:
            state = apply(state, fact)
        return state

    async def _append(
        self,
        facts: tuple[Event, ...],
        run: tuple[TurnId, Sequence[RunRow]] | None,
        opens: TurnId | None,
    ) -> Appended:
        due = self.state.seq - self._held.snapshot_at >= self._snapshot_every
        # Of the state before these facts: its numbers and times are the store's already.
        taken = snapshots.take(self.state) if due else None
        appended = await self._store.append(
            self._scope,
            self.id,
            facts,
            expected=self.state.seq,
            run=run,
            snapshot=taken,
            opens=opens,
        )
        if due:
            self._held.snapshot_at = self.state.seq
        return appended

    def _advance(self, trial: ConversationState, appended: Appended) -> None:
        self._held.become(
            replace(
                trial,
                seq=appended.last,
                updated_at=appended.at,
                created_at=trial.created_at or appended.at,
            )
        )

    async def _catch_up(self) -> None:
        records = await self._store.read(self._scope, self.id, after=self.state.seq)
        if records:
            self._held.become(fold(self.state, records))
            self._note_foreign(records)

    def _note_foreign(self, records: Sequence[Recorded]) -> None:
        known = (r.event for r in records if not isinstance(r.event, UnknownEvent))
        self._foreign = (*self._foreign, *known)

    async def _tell(self, change: StateChange) -> None:
        for subscriber in list(self._subscribers):
            try:
                told = subscriber(change)
                if told is not None:
                    await told
            except Exception as error:  # noqa: BLE001 - a watcher must not break what it watches
                log.get("state").warning("subscriber_failed", error=repr(error))

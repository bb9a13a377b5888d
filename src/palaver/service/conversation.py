"""A conversation as its user holds it: say something, follow the answer, cancel, decide."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from msgspec.structs import replace

from palaver.domain.errors import (
    ActionBlocked,
    ConversationBusy,
    InvalidInput,
    PalaverError,
    StoreError,
    TurnFailure,
)
from palaver.domain.ids import CallId, ConversationId, MessageId, TurnId
from palaver.domain.messages import Message, Role
from palaver.domain.outbox import by_key
from palaver.domain.state import ConversationState
from palaver.domain.stream import StreamEvent
from palaver.domain.values import (
    ClientTool,
    ErrorInfo,
    SuspendReason,
    TurnOutcome,
)
from palaver.recovery.degradation import DegradedConversationState
from palaver.service.actions import (
    AnswerAgain,
    DecideCall,
    EditMessage,
    GoOn,
    SendMessage,
)
from palaver.service.awaited import check_undecided, held_error
from palaver.service.changing import Changing
from palaver.service.compacting import Compacting
from palaver.service.continuing import Continuing
from palaver.service.inbound import MessageInput, user_message
from palaver.service.offer import checked_tools
from palaver.service.offline import OfflineCapabilities
from palaver.service.outbox import Keeping, Outbox, keep, kept_error
from palaver.service.output import OutputType, schema_of, shape_of
from palaver.service.reply import Collector, Reply
from palaver.service.state import StateManager
from palaver.settings import OnUnreachable
from palaver.streams.cursor import After
from palaver.streams.session import Numbered, StreamSession
from palaver.system import new_id

if TYPE_CHECKING:
    from palaver.service.turns import TurnRunner

OnBusy: TypeAlias = Literal["reject", "queue", "interrupt"]
POLL_S = 0.25
"""Between looks at a conversation that another process is busy with."""


class Conversation(Changing, Continuing, Compacting):
    """A handle; any number of them may share one conversation."""

    def __init__(self, states: StateManager, runner: "TurnRunner", queue: asyncio.Lock) -> None:
        self._states, self._runner, self._queue = states, runner, queue
        self._sessions = runner.sessions

    @property
    def id(self) -> ConversationId:
        """The conversation's id."""
        return self._states.id

    @property
    def state(self) -> ConversationState:
        """The newest durable state."""
        return self._states.state

    @property
    def states(self) -> StateManager:
        """For subscribers, history and actions of one's own."""
        return self._states

    @property
    def messages(self) -> Sequence[Message]:
        """All messages, oldest first."""
        return self.state.messages

    @property
    def outbox(self) -> Outbox:
        """What waits until a model can be reached."""
        return Outbox(self._states, self._runner)

    @property
    def offline(self) -> OfflineCapabilities:
        """What works without any provider: local tools, earlier answers, search, summary, topics,
        statistics."""
        return OfflineCapabilities(self._states, self._runner)

    @property
    def degraded(self) -> DegradedConversationState:
        """What of the service there is now for this conversation, and why not all of it."""
        return self._runner.degraded(self.state).now

    # Talking.

    async def stream(
        self,
        said: MessageInput,
        *,
        on_busy: OnBusy = "reject",
        idempotency_key: str | None = None,
        output: Any = None,
        on_unreachable: OnUnreachable | None = None,
        client_tools: Sequence[ClientTool] = (),
        own_tools: bool = True,
    ) -> AsyncIterator[StreamEvent]:
        """Say something and follow the answer: every event, in order, to the terminal one or to a
        suspension. Leaving the iteration does not stop the turn; `cancel` does. `output` asks for a
        shape: a class, or a JSON Schema as a dict. See `start` for the rest."""
        session = await self.start(
            said,
            on_busy=on_busy,
            idempotency_key=idempotency_key,
            output=output,
            on_unreachable=on_unreachable,
            client_tools=client_tools,
            own_tools=own_tools,
        )
        async for event in session.events(until_suspended=True):
            yield event

    async def say(
        self,
        said: MessageInput,
        *,
        on_busy: OnBusy = "reject",
        idempotency_key: str | None = None,
        output: Any = None,
        on_unreachable: OnUnreachable | None = None,
        client_tools: Sequence[ClientTool] = (),
        own_tools: bool = True,
    ) -> Reply:
        """Say something and return the whole answer; `output` asks for it in a shape.

        Raises what ended the turn when it failed, and OutputInvalid when the shape was missed.
        """
        shape = shape_of(output)
        session = await self.start(
            said,
            on_busy=on_busy,
            idempotency_key=idempotency_key,
            output=shape,
            on_unreachable=on_unreachable,
            client_tools=client_tools,
            own_tools=own_tools,
        )
        return await self.collect(session, 0, shape)

    async def start(
        self,
        said: MessageInput,
        *,
        on_busy: OnBusy = "reject",
        idempotency_key: str | None = None,
        output: Any = None,
        on_unreachable: OnUnreachable | None = None,
        client_tools: Sequence[ClientTool] = (),
        own_tools: bool = True,
    ) -> StreamSession:
        """Accept a message durably and begin its turn. The turn runs on whoever reads it.

        `client_tools`: the model may call them in this turn, which is suspended then until
        `provide` gives the results. `own_tools=False` keeps Palaver's own tools from the model.

        `on_busy` says what happens while another turn is open: reject raises ConversationBusy,
        queue waits for it, interrupt cancels it. `on_unreachable` (None: as the settings say):
        `queue` keeps the message in the outbox while no model can be reached. PromptKept says so,
        or `TurnFailed.kept` where a turn had begun. `offline` has it answered at once, by an
        earlier answer to the same request, else by the offline responder (`ServiceDegraded`,
        `Flag.CACHED`, `Flag.OFFLINE`). Raises InvalidInput, ConfigurationError and
        StoreError before anything is accepted.
        """
        schema, tools = schema_of(output), checked_tools(client_tools)
        message = await self._incoming(said)
        turn = TurnId(new_id("turn"))
        command = SendMessage(turn, message, idempotency_key, schema, tools, own_tools)
        if on_busy == "queue":
            async with self._queue:
                return await self._begin(command, on_busy, on_unreachable)
        return await self._begin(command, on_busy, on_unreachable)

    async def _begin(
        self, command: SendMessage, on_busy: OnBusy, on_unreachable: OnUnreachable | None
    ) -> StreamSession:
        try:
            reviewed = await self._states.review(command)
        except PalaverError:
            # Asked again because the answer got lost: nothing begins, so no limit is in the way.
            known = await self._states.accepted_before(command)
            if known is None:
                raise
            return await self._sessions.reading(self.id, self.state.resent_as(known))
        if not isinstance(reviewed, SendMessage):
            raise ActionBlocked("a middleware made something else of the message")
        mode = on_unreachable or self._runner.settings.outbox.on_unreachable
        keeping = Keeping(reviewed.idempotency_key) if mode == "queue" else None
        self._runner.check_ready(self.state)
        if self.state.outbox:
            await self._states.refresh()  # another process may have sent what waited
        if self._is_to_wait(reviewed, keeping):
            turn = await self._keep(reviewed)
            return await self._sessions.reading(self.id, self.state.resent_as(turn))
        while True:
            self._runner.check_ready(self.state)
            await self._end_abandoned()
            with self._sessions.beginning(reviewed.turn):
                try:
                    done = await self._states.dispatch(reviewed, is_reviewed=True)
                except ConversationBusy:
                    done = None
                except StoreError as error:
                    self._runner.degradation.store_refused(error)
                    raise
                else:
                    self._runner.degradation.store_works()
                if done is not None and done.replayed is None:
                    question = self._question()
                    return self._runner.run(
                        self._states, reviewed.turn, question, keeping=keeping, instead=mode
                    )
            if done is not None and done.replayed is not None:
                turn = self.state.resent_as(done.replayed)
                return await self._sessions.reading(self.id, turn)
            await self._make_room(on_busy)

    def _is_to_wait(self, command: SendMessage, keeping: Keeping | None) -> bool:
        state = self.state
        if by_key(state.outbox, command.idempotency_key) is not None:
            return True
        is_late = bool(state.outbox) or not self._runner.is_reachable(state)
        return keeping is not None and is_late

    async def _keep(self, command: SendMessage) -> TurnId:
        try:
            return await keep(self._states, command, "circuit_open")
        finally:
            self._runner.waiting()

    async def _incoming(self, said: MessageInput) -> Message:
        limit = self._runner.settings.message_bytes
        ours = await self._runner.taken_in(said)
        message = user_message(ours, id=MessageId(new_id("msg")), limit_bytes=limit)
        await self._runner.check_blobs(message)
        return message

    async def _make_room(self, on_busy: OnBusy) -> None:
        opened = self.state.turn
        if opened is None:
            return
        if on_busy == "interrupt":
            await self.cancel()
            return
        if opened.held is not None:
            raise held_error(opened)
        if self._sessions.is_running(opened.id):
            if on_busy == "reject":
                raise ConversationBusy("a turn of this conversation is still open")
            await self._sessions.settled(opened.id)
            return
        if await self._runner.ending.recover():
            return  # its process had died, perhaps
        if (await self._states.refresh()).turn != opened:
            return  # the other process has ended it, or gone on with it
        if on_busy == "reject":
            raise ConversationBusy("a turn of this conversation is still open")
        await self._runner.clock.sleep(POLL_S)
        await self._states.refresh()

    async def _end_abandoned(self) -> None:
        """Close a turn of this process that no task works on: the store failed while it ran."""
        opened = self.state.turn
        if opened is None or opened.held is not None:
            return
        await self._sessions.finished(opened.id)
        if self._sessions.is_running(opened.id):
            return
        if await self._sessions.is_ours(opened.id) and self.state.turn == opened:
            await self._runner.ending.end_lost(self._states, opened.id)

    # A turn under way.

    async def cancel(self) -> None:
        """End the open turn, running or held, and return when it has ended. What came is kept.

        A turn that another process works on is taken from it: its readers there see it cancelled.
        """
        opened = self.state.turn
        if opened is None:
            return
        if self._sessions.is_running(opened.id):
            (await self._sessions.own(opened.id)).cancel()
            await self._sessions.settled(opened.id)
        if self.state.turn is not None and self.state.turn.id == opened.id:
            await self._runner.ending.cancel(self._states, opened.id)

    async def decide(self, call_id: str, *, approve: bool, note: str = "") -> StreamSession:
        """Allow or refuse a call that waits. After the last one the turn goes on by itself, in this
        process, wherever it began. Raises InvalidInput when no such call waits."""
        opened = self.state.turn
        if opened is None:
            raise InvalidInput("no turn waits for a decision")
        self._runner.check_ready(self.state)
        command = await self._states.review(DecideCall(CallId(call_id), approve, note))
        await self._check_waiting(opened.id, call_id)
        async with self._sessions.alone(opened.id):
            await self._check_waiting(opened.id, call_id)
            await self._sessions.settled(opened.id)
            session = await self._sessions.own(opened.id)
            with self._sessions.beginning(opened.id):
                done = await self._states.dispatch(command, is_reviewed=True)
                if done.state.turn is not None and not done.state.turn.waiting:
                    # Whoever decides the last call goes on, also if another took the turn
                    # meanwhile.
                    session = await self._sessions.own_beginning(opened.id)
                    self._runner.run_on(self._states, session, self._question())
        return session

    async def _check_waiting(self, turn: TurnId, call_id: str) -> None:
        """Raise InvalidInput before the turn is taken from the process that it belongs to."""
        state = self.state
        if not await self._sessions.is_ours(turn):
            state = await self._states.refresh()
        if check_undecided(state, call_id).id != turn:
            raise InvalidInput("the turn of this call is no longer open")

    async def resume(self, decisions: dict[str, bool], *, output: Any = None) -> Reply:
        """Decide all waiting calls and return the rest of the answer, as `say` does.

        Where the message asked for a shape, `Reply.output` holds the value: of the class given
        here, else as a plain object.
        """
        opened = self.state.turn
        if opened is None or not decisions or opened.held is not SuspendReason.APPROVAL:
            raise InvalidInput("no turn waits for a decision")
        if left := set(opened.waiting) - decisions.keys():
            raise InvalidInput(
                f"{len(left)} more calls wait for a decision",
                hint="Decide all of them here, or one after another with `decide`.",
            )
        shape = shape_of(output or opened.output)
        session = await self._sessions.own(opened.id)
        after = session.last
        for call_id, approve in decisions.items():
            session = await self.decide(call_id, approve=approve)
        return await self.collect(session, after, shape)

    async def follow(self, turn: str, *, after: After = 0) -> AsyncIterator[Numbered]:
        """The numbered events of a turn behind `after`, wherever it runs or ran, to its end.

        `after`: a number, or the `cursor` of the last event seen, which also tells what another
        process has replaced since; see `StreamSession.batches`. Raises NotFound, InvalidInput, and
        ResumeGap when the events are no longer kept.
        """
        async for numbered in self._sessions.follow(self.id, TurnId(turn), after):
            yield numbered

    def _question(self) -> MessageId:
        return next(m.id for m in reversed(self.messages) if m.role is Role.USER)

    async def collect(
        self, session: StreamSession, after: int = 0, shape: OutputType | None = None
    ) -> Reply:
        """What a turn says behind event number `after`, whole, as `say` returns it: to its end or
        to a suspension. Raises what ended a turn that failed."""
        collector = Collector(session.turn)
        async for event in session.events(after, until_suspended=True):
            collector.add(event)
        reply = collector.reply()
        if collector.kept is not None:
            raise kept_error(collector.kept) from session.error
        if reply.outcome is TurnOutcome.FAILED:
            raise session.error or _told(reply)
        if shape is not None and reply.outcome is TurnOutcome.COMPLETED:
            last = "" if reply.message is None else reply.message.text
            return replace(reply, output=shape.parse(last))
        return reply

    # What other parts need.

    async def _branch(self, command: EditMessage | AnswerAgain | GoOn) -> StreamSession:
        self._runner.check_ready(self.state)
        reviewed = await self._states.review(command)
        if not isinstance(reviewed, EditMessage | AnswerAgain | GoOn):
            raise ActionBlocked("a middleware made something else of the message")
        await self._end_abandoned()
        with self._sessions.beginning(reviewed.turn):
            await self._states.dispatch(reviewed, is_reviewed=True)
            return self._runner.run(self._states, reviewed.turn, self._question())


def _told(reply: Reply) -> PalaverError:
    return TurnFailure(reply.error or ErrorInfo("turn_failed", "the turn failed"))

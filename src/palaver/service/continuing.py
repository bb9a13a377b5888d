"""What a conversation's handle can do without saying anything: go on from the history as it is, and
give results of tools that its client runs.

A turn that waits for a client is held durably. Its results are facts like any other: whoever gives
the last one, in whichever process, goes on with the turn. A client that repeats a request takes the
turn from nobody.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from msgspec.structs import replace

from palaver.domain.errors import ActionBlocked, ConversationBusy, InvalidInput
from palaver.domain.events import HeadMoved, MessageAdded
from palaver.domain.ids import MessageId, TurnId
from palaver.domain.messages import Message, Role, ToolResult
from palaver.domain.state import ConversationState
from palaver.domain.values import ClientTool
from palaver.service.actions import BringHistory, GoOn, ProvideResults
from palaver.service.awaited import awaited, held_error, provided, unprovided
from palaver.service.brought import Aligned, check_attachments, checked_history, joined
from palaver.service.inbound import client_results
from palaver.service.offer import checked_tools
from palaver.service.output import OutputType, schema_of, shape_of
from palaver.service.prefix import Matched, matched
from palaver.service.reply import Reply
from palaver.service.sessions import TurnSessions
from palaver.service.state import StateManager
from palaver.streams.session import StreamSession
from palaver.system import new_id
from palaver.travel.base import Repair

if TYPE_CHECKING:
    from palaver.service.turns import TurnRunner

REPEATED_WITHIN = 5000
"""Newest facts among which the turn of results that were given before is looked for."""


class Continuing:
    """A part of `Conversation`."""

    _states: StateManager
    _runner: "TurnRunner"
    _sessions: TurnSessions

    @property
    def state(self) -> ConversationState:
        """The newest durable state."""
        raise NotImplementedError

    async def go_on(
        self,
        *,
        output: Any = None,
        client_tools: Sequence[ClientTool] = (),
        own_tools: bool = True,
    ) -> StreamSession:
        """Let the model answer a history that ends with a user message or results of tools, as it
        is: imported, brought by a client, or cut by undo.

        Raises InvalidInput where it ends with an answer, ConversationBusy while a turn is open.
        """
        schema, tools = schema_of(output), checked_tools(client_tools)
        return await self._branch(GoOn(TurnId(new_id("turn")), schema, tools, own_tools))

    async def provide(self, results: Sequence[ToolResult]) -> StreamSession:
        """Give results of calls that wait for the client; `name` need not be filled in. After the
        last one the turn goes on by itself, in this process, wherever it began.

        Results that were given before change nothing, so a request may be repeated. Raises
        InvalidInput for a call that does not wait, and AlreadyAnswered for one that has another
        result; then nothing is stored.
        """
        self._runner.check_ready(self.state)
        limit = self._runner.settings.message_bytes
        given = client_results(results, limit_bytes=limit)
        await check_attachments((Message(Role.TOOL, given),), self._runner.check_blobs)
        turn = await self._turn_of(given)
        command = await self._states.review(ProvideResults(turn, given))
        if not isinstance(command, ProvideResults):
            raise ActionBlocked("a middleware made something else of the results")
        if unprovided(self.state, turn, command.results):
            session = await self._resolve(command)
            if session is not None:
                return session
        return await self._sessions.reading(self.state.id, turn)

    async def resume_with(self, results: Sequence[ToolResult], *, output: Any = None) -> Reply:
        """Give the results and return the rest of the answer, as `say` does. See `provide`, and
        `resume` for `output`."""
        state = await self._newest(results)
        after, asked = 0, output
        if state.turn is not None:
            asked = output or state.turn.output
            if awaited(state):
                after = (await self._sessions.own(state.turn.id)).last
        return await self.collect(await self.provide(results), after, shape_of(asked))

    # Histories that a client brings.

    repairs: tuple[Repair, ...] = ()
    """What was mended of the history that the conversation began with, in the handle that
    `ConversationManager.create_from` returned."""

    async def align(
        self, messages: Sequence[Message], *, on_busy: Literal["reject", "interrupt"] = "reject"
    ) -> Aligned:
        """Let the active path say what a client's whole history says: `messages` of users,
        assistants and tools. `go_on`, or `provide` where there are `results`, answers it then.

        Nothing is lost: where the two part, what was here stays as a branch. Sending the same again
        changes nothing. While a turn runs, or waits for something else than what `messages` bring,
        `reject` raises ConversationBusy and `interrupt` cancels it. Raises InvalidInput.
        """
        command = await self._states.review(BringHistory(checked_history(messages), new_id("msg")))
        if not isinstance(command, BringHistory):
            raise ActionBlocked("a middleware made something else of the history")
        await self._end_abandoned()
        given, state = command.messages, self.state
        found = matched(state, given)
        if state.turn is not None:
            found = await self._settle(given, on_busy)
            state = self.state
        if found.is_open:
            return Aligned(found.count, results=found.results, is_open=True)
        brought = joined(state, given, command.seed, found=found)
        await check_attachments(brought.messages, self._runner.check_blobs)
        known = replace(command, found=found, seq=state.seq)
        done = await self._states.dispatch(known, is_reviewed=True)
        added = tuple(f.message for f in done.facts if isinstance(f, MessageAdded))
        moved = any(isinstance(f, HeadMoved) for f in done.facts)
        return Aligned(brought.kept, added, brought.repairs, has_branched=moved)

    async def _settle(
        self, given: Sequence[Message], on_busy: Literal["reject", "interrupt"]
    ) -> Matched:
        """Have no open turn, unless it waits for what the client brings."""
        state = await self._states.refresh()
        found, opened = matched(state, given), state.turn
        if opened is None:
            return found
        if found.is_open and awaited(state):
            if found.count == len(given):
                return found
            if not set(awaited(state)) - {result.call_id for result in found.results}:
                # The client has gone on behind its results: nobody is to answer them alone.
                limit = self._runner.settings.message_bytes
                results = client_results(found.results, limit_bytes=limit)
                await self._states.dispatch(ProvideResults(opened.id, results))
                on_busy = "interrupt"
        if on_busy == "reject":
            if opened.held is not None:
                raise held_error(opened)
            raise ConversationBusy("a turn of this conversation is still open")
        await self.cancel()
        return matched(self.state, given)

    # Parts.

    async def _turn_of(self, given: Sequence[ToolResult]) -> TurnId:
        """The turn that the results are for; one that has ended, where all were given before."""
        state = await self._newest(given)
        opened = state.turn
        if opened is not None and any(r.call_id in awaited(state) for r in given):
            return opened.id
        unprovided(state, TurnId(""), given)
        after = max(0, state.seq - REPEATED_WITHIN)
        found = await self._sessions.that_resolved(state.id, given[0].call_id, after=after)
        if found is None:
            raise InvalidInput("these calls were answered before this conversation began")
        return found

    async def _newest(self, given: Sequence[ToolResult]) -> ConversationState:
        """The state, read again where another process may know more of these calls."""
        waiting = awaited(self.state)
        if all(result.call_id in waiting for result in given):
            return self.state
        return await self._states.refresh()

    async def _resolve(self, command: ProvideResults) -> StreamSession | None:
        """Make facts of results; the session of the turn where it goes on here."""
        turn = command.turn
        async with self._sessions.alone(turn):
            if not await self._is_new(command):
                return None
            await self._sessions.settled(turn)
            # Taken before the fact is written: if this process dies behind it, the turn is its
            # orphan and not that of one which lives and knows nothing.
            await self._sessions.own(turn)
            with self._sessions.beginning(turn):
                done = await self._states.dispatch(command, is_reviewed=True)
                opened = done.state.turn
                if opened is None or opened.id != turn or opened.waiting or opened.held:
                    return None
                session = await self._sessions.own_beginning(turn)
                if done.facts:
                    session.publish(provided(done.state))
                self._runner.run_on(self._states, session, self._question())
                return session

    async def _is_new(self, command: ProvideResults) -> bool:
        """Whether the turn still waits for any of it. A turn that goes on is taken from nobody."""
        if not await self._sessions.is_ours(command.turn):
            await self._states.refresh()
        return bool(unprovided(self.state, command.turn, command.results))

    # Of `Conversation`.

    async def cancel(self) -> None:
        """See `Conversation.cancel`."""
        raise NotImplementedError

    async def _end_abandoned(self) -> None:
        raise NotImplementedError

    def _question(self) -> MessageId:
        raise NotImplementedError

    async def _branch(self, command: GoOn) -> StreamSession:
        raise NotImplementedError

    async def collect(
        self, session: StreamSession, after: int = 0, shape: OutputType | None = None
    ) -> Reply:
        """See `Conversation.collect`."""
        raise NotImplementedError

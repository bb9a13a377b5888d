"""The conversation that a request means, and the turn that answers it.

A request that names no conversation gets one in memory, which goes with the answer. Its turn is
cancelled when its client goes away, since nobody could come back for it; turns of conversations
that are kept run on.

Of a conversation that is kept, a client may send all that was said so far, or only what is new. A
request with an answer in it, or with calls, is a whole history: it is matched with what is here,
and what it says otherwise becomes a branch. One without is new.
"""

from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any

import msgspec
from msgspec.structs import replace

from palaver.domain.errors import ConversationBusy
from palaver.domain.ids import TurnId
from palaver.domain.messages import File, Image, Message, Role, ToolResult
from palaver.domain.state import ConversationState
from palaver.domain.stream import StreamEvent, TurnSuspended
from palaver.domain.values import ClientTool, OutputSchema, SuspendReason
from palaver.server.core import Caller
from palaver.server.v1.errors import invalid
from palaver.server.v1.incoming import Attach, Said
from palaver.service.conversation import Conversation
from palaver.service.manager import ConversationManager
from palaver.service.offer import checked_tools
from palaver.streams.cursor import unpack
from palaver.streams.session import StreamSession

HEADER = "x-palaver-conversation"
NEW = "new"


class Wanted(msgspec.Struct, frozen=True):
    """How an answer is wanted."""

    model: str
    """Empty: the one that the conversation has."""
    sampling: dict[str, Any]
    """Generation settings by name."""
    tools: tuple[ClientTool, ...] = ()
    output: OutputSchema | None = None
    idempotency_key: str | None = None
    note: tuple[str, str] | None = None
    """A word to be noted with the conversation's metadata before the turn: its name and text."""

    def preferences(self, system: str | None) -> dict[str, Any]:
        """As a conversation takes them; without a prompt the one that it has stays."""
        model = {"model": self.model} if self.model else {}
        prompt = {} if system is None else {"system": system}
        return {**model, **prompt, **self.sampling}


class Talk:
    """A conversation with the turn that answers a request. `aclose` when the answer is sent, or
    nobody waits for it any more.

    The answer is what lies behind event `after`; `part` counts the answers of one turn from 1.
    `tools` and `output`: what the turn was opened with.
    """

    def __init__(
        self,
        manager: ConversationManager,
        conversation: Conversation,
        session: StreamSession,
        *,
        after: int,
        part: int,
        tools: tuple[ClientTool, ...],
        output: OutputSchema | None,
        is_kept: bool,
        closing: AsyncExitStack,
    ) -> None:
        self.manager, self.conversation, self.session = manager, conversation, session
        self.after, self.part = after, part
        self.tools, self.output = tools, output
        self.is_kept, self._closing = is_kept, closing

    @property
    def turn(self) -> TurnId:
        """The turn."""
        return self.session.turn

    @property
    def headers(self) -> dict[str, str]:
        """What tells the client where its conversation is."""
        return {HEADER: self.conversation.id} if self.is_kept else {}

    async def aclose(self) -> None:
        """Let go of it: what is kept runs on, what is not is cancelled and forgotten."""
        await self._closing.aclose()


class Place:
    """Where a request's conversation is: in the tenant's store, or in memory. Ends with its talk,
    or by `aclose` where nothing came of it."""

    def __init__(self, caller: Caller, *, is_kept: bool) -> None:
        self.is_kept = is_kept
        self.manager: ConversationManager = caller.manager
        self._scope = caller.principal.scope
        self._closing = AsyncExitStack()
        if not is_kept:
            self.manager = caller.server.parts.passing(caller.principal.scope)
            self._closing.enter_context(caller.server.tenants.passing(self.manager))
            self._closing.push_async_callback(self.manager.aclose)

    @property
    def attach(self) -> Attach:
        """Stores what messages hold of pictures and files."""

        async def attach(data: bytes, media_type: str, name: str) -> Image | File:
            return await self.manager.attach(data, name=name, media_type=media_type)

        return attach

    async def aclose(self) -> None:
        """Nothing came of it."""
        await self._closing.aclose()

    async def begin(self, said: Said, wanted: Wanted) -> Talk:
        """A new conversation that holds what was said, and the turn that answers it."""
        return await self.answered(await self.created(said, wanted), wanted)

    async def created(self, said: Said, wanted: Wanted) -> Conversation:
        """A new conversation that holds what was said."""
        chosen = wanted.preferences(said.system or "")
        made = await self.manager.create_from(said.messages, **chosen)
        await _note(made, wanted)
        return made

    async def go_on(
        self,
        conversation: Conversation,
        said: Said,
        wanted: Wanted,
        *,
        is_new: bool = False,
        behind: Sequence[Message] | None = None,
    ) -> Talk:
        """Say something in a conversation that is there: what is new of it.

        `is_new`: all of it is. `behind`: it is said there, not at the end.
        """
        state, new = conversation.state, said.messages
        results = new[0].tool_results
        is_one = len(new) == 1 and not results
        if not (is_one and wanted.idempotency_key):  # a request with a key may come again
            self._check_free(state)
        if behind is not None:
            return await self.aligned(conversation, _joined(behind, new), said.system, wanted)
        if not is_new and _is_whole(new):
            return await self.aligned(conversation, new, said.system, wanted)
        if len(new) == 1 and results and _waits_for(state, results):
            await _prepare(conversation, said.system, wanted)
            return await self.provided(conversation, results)
        if not is_one:
            history = _joined(state.messages, new)
            return await self.aligned(conversation, history, said.system, wanted)
        if wanted.idempotency_key and state.turn is not None:
            with suppress(ConversationBusy):  # where the open turn does not answer this request
                return await self._say(conversation, said.last, wanted)
            self._check_free(state)
        await _abandon(conversation)
        await _prepare(conversation, said.system, wanted)
        if _is_said_again(state, said.last):
            return await self.answered(conversation, wanted)
        return await self._say(conversation, said.last, wanted)

    async def aligned(
        self,
        conversation: Conversation,
        history: Sequence[Message],
        system: str | None,
        wanted: Wanted,
    ) -> Talk:
        """Have the conversation say what `history` says, in a branch where it said something else,
        and answer it."""
        self._check_free(conversation.state)
        opened = conversation.state.turn
        is_ours = opened is not None and opened.held is SuspendReason.CLIENT_TOOL_RESULT
        aligned = await conversation.align(history, on_busy="interrupt" if is_ours else "reject")
        await _prepare(conversation, system, wanted)
        if aligned.results:
            return await self.provided(conversation, aligned.results)
        return await self.answered(conversation, wanted)

    async def answered(self, conversation: Conversation, wanted: Wanted) -> Talk:
        """Have the model answer the conversation as it is."""
        session = await conversation.go_on(
            client_tools=wanted.tools, own_tools=False, output=wanted.output
        )
        return self._talk(conversation, session, wanted.tools, wanted.output)

    async def _say(self, conversation: Conversation, message: Message, wanted: Wanted) -> Talk:
        session = await conversation.start(
            message,
            client_tools=wanted.tools,
            own_tools=False,
            output=wanted.output,
            idempotency_key=wanted.idempotency_key,
            on_unreachable="fail",
        )
        return self._talk(conversation, session, wanted.tools, wanted.output)

    async def provided(self, conversation: Conversation, results: Sequence[ToolResult]) -> Talk:
        """Give the results that the open turn waits for: it goes on."""
        opened = conversation.state.turn
        assert opened is not None
        # What a turn has shown is durable when it waits.
        rows = await self.manager.store.read_run(self._scope, opened.id)
        shown = unpack(rows, 0)
        parts = sum(is_end_of_part(event) for batch in shown for event in batch.events)
        session = await conversation.provide(results)
        after = shown[-1].last if shown else 0
        return self._talk(
            conversation, session, opened.tools, opened.output, after=after, part=1 + parts
        )

    def _check_free(self, state: ConversationState) -> None:
        """Raise ConversationBusy while a turn runs, or waits for a person, before anything is
        changed under it."""
        opened = state.turn
        if opened is None:
            return
        if self.manager.streams.is_running(opened.id) or opened.held is SuspendReason.APPROVAL:
            raise ConversationBusy("a turn of this conversation is still open")

    def _talk(
        self,
        conversation: Conversation,
        session: StreamSession,
        tools: tuple[ClientTool, ...],
        output: OutputSchema | None,
        *,
        after: int = 0,
        part: int = 1,
    ) -> Talk:
        return Talk(
            self.manager,
            conversation,
            session,
            after=after,
            part=part,
            tools=checked_tools(tools),
            output=output,
            is_kept=self.is_kept,
            closing=self._closing,
        )


async def _abandon(conversation: Conversation) -> None:
    """The client goes another way: a turn that waits for its results ends."""
    opened = conversation.state.turn
    if opened is not None and opened.held is SuspendReason.CLIENT_TOOL_RESULT:
        await conversation.cancel()


async def _prepare(conversation: Conversation, system: str | None, wanted: Wanted) -> None:
    """Have the next answer given as it is wanted. Writes only what is not so already."""
    await conversation.set_preferences(**wanted.preferences(system))
    await _note(conversation, wanted)


async def _note(conversation: Conversation, wanted: Wanted) -> None:
    if wanted.note is None:
        return
    name, text = wanted.note
    before = conversation.state.metadata
    if before.custom.get(name, "") != text:
        others = {k: v for k, v in before.custom.items() if k != name}
        custom = {**others, name: text} if text else others
        await conversation.set_metadata(replace(before, custom=custom))


def is_end_of_part(event: StreamEvent) -> bool:
    """Whether the turn waits for its client from here on."""
    return isinstance(event, TurnSuspended) and event.reason is SuspendReason.CLIENT_TOOL_RESULT


def _joined(path: Sequence[Message], new: Sequence[Message]) -> Sequence[Message]:
    """`new` behind a path; results go behind the message that made their calls."""
    results = new[0].tool_results
    if not results:
        return (*path, *new)
    ids = {result.call_id for result in results}
    for back, message in enumerate(reversed(path)):
        if ids <= {call.id for call in message.tool_calls}:
            return (*path[: len(path) - back], *new)
    raise invalid("messages", "no such calls wait for results here")


def _waits_for(state: ConversationState, results: Sequence[ToolResult]) -> bool:
    opened = state.turn
    if opened is None or opened.held is not SuspendReason.CLIENT_TOOL_RESULT:
        return False
    return {result.call_id for result in results} == set(opened.waiting)


def _is_whole(messages: Sequence[Message]) -> bool:
    return any(message.role is Role.ASSISTANT for message in messages)


def _is_said_again(state: ConversationState, message: Message) -> bool:
    """Whether the message is the last one here, and nobody has answered it: its turn failed."""
    last = state.last
    is_unanswered = last is not None and last.role is Role.USER and state.turn is None
    return is_unanswered and last is not None and last.content == message.content

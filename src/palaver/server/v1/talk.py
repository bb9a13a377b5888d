"""The conversation that a request means, and the turn that answers it.

A request that names no conversation gets one in memory, which goes with the answer. Its turn is
cancelled when its client goes away, since nobody could come back for it; turns of conversations
that are kept run on.
"""

from contextlib import AsyncExitStack
from typing import Any

import msgspec

from palaver.domain.ids import TurnId
from palaver.domain.messages import Message
from palaver.domain.values import ClientTool, OutputSchema
from palaver.server.core import Caller
from palaver.server.v1.incoming import Attach, Said
from palaver.service.conversation import Conversation
from palaver.service.manager import ConversationManager
from palaver.streams.session import StreamSession

HEADER = "x-palaver-conversation"
NEW = "new"


class Wanted(msgspec.Struct, frozen=True):
    """How an answer is wanted."""

    model: str
    sampling: dict[str, Any]
    """Generation settings by name."""
    tools: tuple[ClientTool, ...] = ()
    output: OutputSchema | None = None

    def preferences(self, system: str | None) -> dict[str, Any]:
        """As a conversation takes them; without a prompt the one that it has stays."""
        told = {} if system is None else {"system": system}
        return {"model": self.model, **told, **self.sampling}


class Talk:
    """A conversation with the turn that answers a request. `aclose` when the answer is sent, or
    nobody waits for it any more."""

    def __init__(
        self,
        manager: ConversationManager,
        conversation: Conversation,
        session: StreamSession,
        *,
        after: int = 0,
        is_kept: bool,
        closing: AsyncExitStack,
    ) -> None:
        self.manager, self.conversation, self.session = manager, conversation, session
        self.after, self.is_kept, self._closing = after, is_kept, closing

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
    """Where a request's conversation is: in the tenant's store, or in memory."""

    def __init__(self, caller: Caller, *, is_kept: bool) -> None:
        self._closing = AsyncExitStack()
        self.is_kept = is_kept
        self.manager = caller.manager
        if not is_kept:
            self.manager = caller.server.parts.passing(caller.principal.scope)
            self._closing.enter_context(caller.server.tenants.passing(self.manager))
            self._closing.push_async_callback(self.manager.aclose)

    @property
    def attach(self) -> Attach:
        """Stores what messages hold of pictures and files."""

        async def attach(data: bytes, media_type: str, name: str) -> Any:
            return await self.manager.attach(data, name=name, media_type=media_type)

        return attach

    async def aclose(self) -> None:
        """Nothing came of it."""
        await self._closing.aclose()

    async def begin(self, said: Said, wanted: Wanted) -> Talk:
        """A new conversation that holds what was said, and the turn that answers it."""
        conversation = await self.manager.create(**wanted.preferences(said.system or ""))
        session = await conversation.start(
            _only(said.messages),
            client_tools=wanted.tools,
            own_tools=False,
            output=wanted.output,
            on_unreachable="fail",
        )
        return self._talk(conversation, session)

    def _talk(self, conversation: Conversation, session: StreamSession, after: int = 0) -> Talk:
        return Talk(
            self.manager,
            conversation,
            session,
            after=after,
            is_kept=self.is_kept,
            closing=self._closing,
        )


def _only(messages: tuple[Message, ...]) -> Message:
    (message,) = messages
    return message

"""A server's conversations, in the vocabulary of `palaver.open`."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from palaver.client.following import Replaced, follow
from palaver.client.transport import RemoteError, Transport
from palaver.domain.errors import PalaverError, PromptKept, TurnFailure
from palaver.domain.ids import ConversationId, MessageId, TurnId
from palaver.domain.messages import Block, Message, ToolCall
from palaver.domain.stream import StreamEvent, TurnSuspended
from palaver.domain.values import (
    ErrorInfo,
    SuspendReason,
    TurnOutcome,
    Usage,
    UserPreferences,
)
from palaver.service.reply import Collector, Reply
from palaver.service.turn_status import TurnStatus
from palaver.store.base import SearchHit
from palaver.streams.cursor import After
from palaver.streams.session import Numbered
from palaver.system import new_id


class OpenTurn(msgspec.Struct, frozen=True):
    """The turn that runs, or waits for somebody."""

    id: TurnId
    held: SuspendReason | None = None
    waiting: tuple[ToolCall, ...] = ()


class ConversationInfo(msgspec.Struct, frozen=True):
    """A conversation without its messages. Times are seconds since 1970, UTC."""

    id: ConversationId
    title: str = ""
    tags: tuple[str, ...] = ()
    custom: dict[str, str] = {}
    archived: bool = False
    preferences: UserPreferences = UserPreferences()
    messages: int = 0
    head: MessageId | None = None
    turn: OpenTurn | None = None
    usage: Usage = Usage()
    created_at: float = 0.0
    updated_at: float = 0.0


class Listed(msgspec.Struct, frozen=True):
    """A conversation in a list."""

    id: ConversationId
    title: str = ""
    tags: tuple[str, ...] = ()
    archived: bool = False
    messages: int = 0
    preview: str = ""
    created_at: float = 0.0
    updated_at: float = 0.0


class ListedPage(msgspec.Struct, frozen=True):
    """Some conversations, the newest change first. While there is a `cursor` there may be more."""

    items: tuple[Listed, ...]
    cursor: str | None = None


class _Hits(msgspec.Struct, frozen=True):
    items: tuple[SearchHit, ...]


class _Messages(msgspec.Struct, frozen=True):
    items: tuple[Message, ...]
    cursor: str | None = None


class _Started(msgspec.Struct, frozen=True):
    turn: TurnId


class Conversation:
    """A handle on a conversation of a server; any number of them may share one."""

    def __init__(self, transport: Transport, info: ConversationInfo) -> None:
        self._transport, self.info = transport, info

    @property
    def id(self) -> ConversationId:
        """The conversation's id."""
        return self.info.id

    async def refresh(self) -> ConversationInfo:
        """Read it again; `info` is what came. Raises NotFound."""
        self.info = await self._transport.ask("GET", self._path, ConversationInfo)
        return self.info

    async def messages(self) -> Sequence[Message]:
        """All messages of the branch that is talked on, oldest first."""
        found: list[Message] = []
        cursor: str | None = None
        while True:
            params = {"limit": "200"} | ({"cursor": cursor} if cursor else {})
            page = await self._transport.ask(
                "GET", f"{self._path}/messages", _Messages, params=params
            )
            found += page.items
            cursor = page.cursor
            if cursor is None:
                return found

    async def start(
        self,
        said: str | Sequence[Block],
        *,
        on_busy: str = "reject",
        idempotency_key: str | None = None,
    ) -> TurnId:
        """Accept a message durably and begin its turn, which runs whether or not it is followed.

        A request that may have got lost is sent again under the same key: there is one turn.
        Raises ConversationBusy, InvalidInput, ConnectionFailed and what else the server tells.
        """
        key = idempotency_key or new_id("key")
        body: dict[str, Any] = {"on_busy": on_busy, "idempotency_key": key}
        body |= {"text": said} if isinstance(said, str) else {"content": list(said)}
        started = await self._transport.ask(
            "POST", f"{self._path}/turns", _Started, body=body, is_repeatable=True
        )
        return started.turn

    async def stream(
        self,
        said: str | Sequence[Block],
        *,
        on_busy: str = "reject",
        idempotency_key: str | None = None,
    ) -> AsyncIterator[StreamEvent | Replaced]:
        """Say something and follow the answer: every event, in order, to the terminal one or to a
        suspension. Leaving the iteration does not stop the turn; `cancel` does."""
        turn = await self.start(said, on_busy=on_busy, idempotency_key=idempotency_key)
        async for each in self.follow(turn):
            yield each if isinstance(each, Replaced) else each.event

    async def say(
        self,
        said: str | Sequence[Block],
        *,
        on_busy: str = "reject",
        idempotency_key: str | None = None,
    ) -> Reply:
        """Say something and return the whole answer. Raises TurnFailure when the turn failed, and
        PromptKept where it waits until a model can be reached."""
        turn = await self.start(said, on_busy=on_busy, idempotency_key=idempotency_key)
        return await self.reply(turn)

    async def reply(self, turn: str, *, after: After = 0) -> Reply:
        """What a turn says behind `after`, when it has ended or waits. Raises TurnFailure."""
        seen: list[Numbered] = []
        async for each in self.follow(turn, after=after):
            if isinstance(each, Replaced):
                seen = [numbered for numbered in seen if numbered.number < each.number]
            else:
                seen.append(each)
        collector = Collector(TurnId(turn))
        for numbered in seen:
            collector.add(numbered.event)
        reply = collector.reply()
        if collector.kept is not None:
            raise PromptKept("what was said is kept; nobody could answer", prompt=collector.kept)
        if reply.outcome is TurnOutcome.FAILED:
            raise TurnFailure(reply.error or ErrorInfo("turn_failed", "the turn failed"))
        return reply

    async def follow(self, turn: str, *, after: After = 0) -> AsyncIterator[Numbered | Replaced]:
        """The events of a turn behind `after`, to its end or to a suspension that lasts.

        Raises NotFound, ResumeGap, and ConnectionFailed when the server stays away.
        """
        async for each in follow(self._transport, turn, after=after):
            yield each
            is_held = not isinstance(each, Replaced) and isinstance(each.event, TurnSuspended)
            if is_held and (await self.turn(turn)).held is not None:
                return

    async def turn(self, turn: str) -> TurnStatus:
        """A turn as it stands. Raises NotFound."""
        return await self._transport.ask("GET", f"/turns/{turn}", TurnStatus)

    async def cancel(self) -> None:
        """End the open turn, running or held; what came is kept."""
        opened = (await self.refresh()).turn
        if opened is not None:
            path = f"/turns/{opened.id}/cancel"
            await self._transport.ask("POST", path, TurnStatus, is_repeatable=True)

    async def decide(self, call_id: str, *, approve: bool, note: str = "") -> TurnId:
        """Allow or refuse a call that waits. After the last one the turn goes on by itself."""
        opened = (await self.refresh()).turn
        turn = "" if opened is None else opened.id
        decision = {"call": call_id, "approve": approve, "note": note}
        path = f"/turns/{turn or 'none'}/decisions"
        found = await self._transport.ask("POST", path, TurnStatus, body={"decisions": [decision]})
        return found.id

    async def resume(self, decisions: dict[str, bool]) -> Reply:
        """Decide all waiting calls and return the answer of the whole turn."""
        turn = TurnId("")
        for call_id, approve in decisions.items():
            turn = await self.decide(call_id, approve=approve)
        return await self.reply(turn)

    async def set_title(self, title: str) -> None:
        """Name the conversation."""
        await self._change(title=title)

    async def set_preferences(self, **changes: Any) -> UserPreferences:
        """Change preferences by name: model, system, language, approvals, temperature …"""
        return (await self._change(preferences=changes)).preferences

    async def _change(self, **body: Any) -> ConversationInfo:
        self.info = await self._transport.ask(
            "PATCH", self._path, ConversationInfo, body=body, is_repeatable=True
        )
        return self.info

    @property
    def _path(self) -> str:
        return f"/conversations/{self.id}"


class Client:
    """A server, as one of its callers sees it."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def create(
        self, *, title: str = "", tags: Sequence[str] = (), **preferences: Any
    ) -> Conversation:
        """A new conversation; `preferences` by name, as for `palaver.ConversationManager`."""
        body = {"title": title, "tags": list(tags), "preferences": preferences}
        info = await self._transport.ask("POST", "/conversations", ConversationInfo, body=body)
        return Conversation(self._transport, info)

    async def open(self, conversation: str) -> Conversation:
        """A stored conversation. Raises NotFound."""
        path = f"/conversations/{conversation}"
        return Conversation(
            self._transport, await self._transport.ask("GET", path, ConversationInfo)
        )

    async def list(
        self, *, limit: int = 50, cursor: str | None = None, archived: bool = False
    ) -> ListedPage:
        """Conversations by newest change."""
        params = {"limit": str(limit), "archived": str(archived).lower()}
        if cursor is not None:
            params["cursor"] = cursor
        return await self._transport.ask("GET", "/conversations", ListedPage, params=params)

    async def search(self, query: str, *, limit: int = 20) -> tuple[SearchHit, ...]:
        """Messages with all words of `query`, the best first."""
        params = {"q": query, "limit": str(limit)}
        return (await self._transport.ask("GET", "/search", _Hits, params=params)).items

    async def delete(self, conversation: str) -> None:
        """Erase a conversation. One that is not there is gone already."""
        try:
            await self._transport.bytes("DELETE", f"/conversations/{conversation}")
        except PalaverError as error:
            if error.code != "not_found":
                raise

    async def turn(self, turn: str) -> TurnStatus:
        """A turn as it stands. Raises NotFound."""
        return await self._transport.ask("GET", f"/turns/{turn}", TurnStatus)

    async def follow(self, turn: str, *, after: After = 0) -> AsyncIterator[Numbered | Replaced]:
        """The events of a turn behind `after`, to its end; see `Conversation.follow`."""
        async for each in follow(self._transport, turn, after=after):
            yield each

    async def aclose(self) -> None:
        """Close the connections. Turns run on."""
        await self._transport.aclose()


@asynccontextmanager
async def connect(address: str, *, key: str = "") -> AsyncIterator[Client]:
    """A client of the server at `address`, such as `http://127.0.0.1:8642`.

    Nothing is asked yet, so a wrong key is told by the first call. Raises ConfigurationError for
    what is no address.
    """
    client = Client(Transport(address, key=key))
    try:
        yield client
    finally:
        await client.aclose()


__all__ = ["Client", "Conversation", "RemoteError", "connect"]

"""The turns that a socket follows."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial
from typing import cast
from weakref import WeakKeyDictionary

from palaver.domain.access import Principal
from palaver.domain.errors import PalaverError, QuotaExceeded
from palaver.server.core import Server, calling
from palaver.server.following import Ended, Snapshot, Told, told
from palaver.server.pieces import Newest
from palaver.server.readers import RETRY_S
from palaver.server.ws_frames import events, note
from palaver.server.ws_link import Link
from palaver.streams.cursor import After, Batch, Cursor
from palaver.streams.session import StreamSession

_newest: WeakKeyDictionary[StreamSession, Newest[list[str]]] = WeakKeyDictionary()


class Following:
    """Subscriptions of one socket, by turn. Their tasks are the socket's."""

    def __init__(self, server: Server, link: Link, *, limit: int) -> None:
        self._server, self._link, self._limit = server, link, limit
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._seen: dict[str, str] = {}

    @property
    def cursors(self) -> dict[str, str]:
        """Behind which event each turn can be followed on, as far as the client was sent it."""
        return dict(self._seen)

    def check(self, turn: str) -> None:
        """Raises QuotaExceeded where there is no room for one more."""
        if turn not in self._tasks and len(self._tasks) >= self._limit:
            raise QuotaExceeded("subscriptions", allowed=self._limit, retry_after_s=RETRY_S)

    def begin(
        self, group: asyncio.TaskGroup, principal: Principal, turn: str, after: After
    ) -> None:
        """Follow a turn of the caller's; from another place, where it is followed already."""
        self.end(turn)
        task = group.create_task(self._follow(principal, turn, after), name=f"following {turn}")
        self._tasks[turn] = task
        self._seen[turn] = str(Cursor.of(after))

    def end(self, turn: str) -> None:
        """Follow it no more."""
        task = self._tasks.pop(turn, None)
        self._seen.pop(turn, None)
        if task is not None:
            task.cancel()

    async def _follow(self, principal: Principal, turn: str, after: After) -> None:
        mine = asyncio.current_task()
        try:
            async with calling(self._server, principal) as caller:
                session = await caller.manager.session(turn, after=after)
                async with aclosing(told(caller, session, after)) as telling:
                    await self._tell(session, telling)
            await self._link.write(note("subscription.ended", turn=turn))
        except PalaverError as error:
            await self._link.write(note("subscription.failed", turn=turn, data=error.info()))
        finally:
            if self._tasks.get(turn) is mine:
                del self._tasks[turn], self._seen[turn]

    async def _tell(self, session: StreamSession, telling: AsyncIterator[Told]) -> None:
        turn = session.turn
        newest = _newest.setdefault(session, Newest(partial(events, turn)))
        async for item in telling:
            match item:
                case Batch():
                    await self._tell_batch(turn, item, newest)
                case Snapshot():
                    await self._link.write(note("resume_gap", turn=turn, data=item))
                case Ended(event=event):
                    tag = cast("str", event.__struct_config__.tag)
                    await self._link.write(note(tag, turn=turn, data=event))

    async def _tell_batch(self, turn: str, batch: Batch, newest: Newest[list[str]]) -> None:
        sent = [0]
        try:
            for piece in newest.pieces(batch):
                await self._link.write_all(piece, sent)
                await asyncio.sleep(0)  # others have something to say as well
        finally:
            if turn in self._seen and sent[0]:
                self._seen[turn] = f"{batch.epoch}:{batch.first + sent[0] - 1}"

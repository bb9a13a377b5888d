"""Pages of long lists. A cursor says where to go on; it stays good while things change."""

from collections.abc import Sequence
from typing import Annotated, TypeAlias, TypeVar

from fastapi import Query

from palaver.domain.branches import move
from palaver.domain.errors import InvalidInput, NotFound
from palaver.domain.ids import MessageId
from palaver.domain.messages import Message
from palaver.domain.state import ConversationState
from palaver.service.manager import ConversationManager
from palaver.store.base import ConversationSummary, Page

T = TypeVar("T")
Limit: TypeAlias = Annotated[int, Query(ge=1, le=200, description="Items of a page at most.")]
Cursor: TypeAlias = Annotated[
    str | None, Query(max_length=500, description="Of the page before; none begins.")
]
LOOKED_AT = 1_000
"""Conversations that one page of a filtered list looks at; the next page goes on behind them."""
READS = 20


async def summary_page(
    manager: ConversationManager,
    *,
    limit: int,
    cursor: str | None,
    archived: bool,
    tag: str | None,
    since: float | None,
    until: float | None,
) -> Page:
    """Conversations by newest change, of those that pass the filters. Raises InvalidInput."""
    found = list[ConversationSummary]()
    looked_at = 0
    for _ in range(READS):
        # Never more than still fit: the store's cursor stands behind whole pages only.
        page = await manager.list(limit=limit - len(found), cursor=cursor, archived=archived)
        looked_at += len(page.items)
        cursor = page.cursor
        for each in page.items:
            if since is not None and each.updated_at < since:
                return Page(tuple(found))  # all that follow are older
            is_wanted = tag is None or tag in each.metadata.tags
            if is_wanted and (until is None or each.updated_at < until):
                found.append(each)
        if cursor is None or len(found) >= limit or looked_at >= LOOKED_AT:
            break
    return Page(tuple(found), cursor)


def message_page(
    state: ConversationState,
    *,
    limit: int,
    cursor: str | None,
    newest_first: bool,
    branch: str | None,
) -> tuple[tuple[Message, ...], str | None]:
    """Messages of one branch and where to go on. Raises InvalidInput, and NotFound for a branch
    that is not there."""
    path: Sequence[Message] = state.messages
    if branch is not None:
        try:
            path = move(state.messages, state.aside, MessageId(branch))[0]
        except KeyError:
            raise NotFound(f"no message {branch[:80]!r} in this conversation") from None
    at = -1 if cursor is None else _position(path, cursor)
    if newest_first:
        stop = len(path) if at < 0 else at
        start = max(0, stop - limit)
        items = tuple(path[i] for i in range(stop - 1, start - 1, -1))
        return items, _cursor(path, start) if start > 0 else None
    start, stop = at + 1, min(len(path), at + 1 + limit)
    items = tuple(path[i] for i in range(start, stop))
    return items, _cursor(path, stop - 1) if stop < len(path) else None


def _cursor(path: Sequence[Message], at: int) -> str:
    return f"{at}.{path[at].id}"


def _position(path: Sequence[Message], cursor: str) -> int:
    number, _, id = cursor.partition(".")
    if number.isascii() and number.isdigit() and len(number) < 10:
        at = int(number)
        if at < len(path) and path[at].id == id:
            return at
    raise InvalidInput("this cursor is not of this list", hint="Begin again without a cursor.")


def sliced(
    items: Sequence[T], *, limit: int, cursor: str | None
) -> tuple[tuple[T, ...], str | None]:
    """A page of a list that is made anew for every request, by position. Raises InvalidInput."""
    if cursor is not None and not (cursor.isascii() and cursor.isdigit() and len(cursor) < 10):
        raise InvalidInput("this cursor is not of this list", hint="Begin again without a cursor.")
    start = int(cursor or 0)
    page = tuple(items[start : start + limit])
    return page, str(start + limit) if start + limit < len(items) else None

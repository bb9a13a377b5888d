"""What was used and what it cost, by day, model and key."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Query
from starlette.responses import Response

from palaver.domain.errors import InvalidInput
from palaver.domain.values import Usage
from palaver.server.core import Reader
from palaver.server.paging import Cursor, Limit, sliced
from palaver.server.schema import answers, reply
from palaver.store.access import UsageRow

router = APIRouter(tags=["catalogue"])
DAYS = 366
By = Literal["day", "model", "key"]
Day = Annotated[
    str | None,
    Query(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
        description="A day of UTC, such as 2026-11-22.",
        json_schema_extra={"format": "date"},
    ),
]


class UsageLine(msgspec.Struct, frozen=True):
    """What was used; of what the lines are not told apart by, the field is empty."""

    day: date | None
    """Of UTC."""
    model: str
    key: str
    """Who used it: a key's id."""
    requests: int
    usage: Usage
    cost: float
    """USD, at list prices."""
    unpriced: int
    """Requests among them whose price nobody knows; they count nothing."""


class UsagePage(msgspec.Struct, frozen=True):
    """Some of the lines, and the sum of all of them."""

    items: tuple[UsageLine, ...]
    total: UsageLine
    cursor: str | None = None


@router.get("/usage", responses=answers(200, UsagePage, "A page."), response_model=None)
async def get_usage(
    caller: Reader,
    since: Day = None,
    until: Day = None,
    by: Annotated[list[By], Query(max_length=3)] = ["day", "model", "key"],  # noqa: B006
    key: Annotated[str | None, Query(max_length=200, description="Of one key alone.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """What the tenant has used from `since` to `until`, both included; the last 30 days where
    nothing is said."""
    today = datetime.fromtimestamp(caller.server.parts.clock.now(), UTC).date()
    last = _day(until) or today
    first = _day(since) or max(date.min, last - min(timedelta(days=29), last - date.min))
    if not 0 <= (last - first).days < DAYS:
        raise InvalidInput(f"`since` is not after `until`, and they span {DAYS} days at most")
    rows = await caller.server.access.usage(
        caller.principal.tenant, since=first, until=last, key=key
    )
    lines = summed(rows, by)
    whole = summed(rows, ())
    total = whole[0] if whole else UsageLine(None, "", "", 0, Usage(), 0.0, 0)
    items, following = sliced(lines, limit=limit, cursor=cursor)
    return reply(UsagePage(items, total, following))


def _day(given: str | None) -> date | None:
    try:
        return None if given is None else date.fromisoformat(given)
    except ValueError:
        raise InvalidInput(f"there is no day {given}") from None


def summed(rows: Sequence[UsageRow], by: Sequence[By]) -> list[UsageLine]:
    """Rows added up where they differ in nothing of `by`, in its order."""
    found: dict[tuple[date | None, str, str], UsageLine] = {}
    for row in rows:
        at = (
            row.day if "day" in by else None,
            row.model if "model" in by else "",
            row.key if "key" in by else "",
        )
        old = found.get(at) or UsageLine(*at, 0, Usage(), 0.0, 0)
        found[at] = UsageLine(
            *at,
            old.requests + row.requests,
            old.usage + row.usage,
            old.cost + row.cost,
            old.unpriced + row.unpriced,
        )
    return sorted(found.values(), key=lambda line: (line.day or date.min, line.model, line.key))

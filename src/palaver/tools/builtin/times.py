"""The time, in any zone: what models do not know, and what they compute badly."""

import datetime as dt
import difflib
import re
import zoneinfo

from palaver.domain.errors import ToolExecutionError
from palaver.tools.decorator import tool
from palaver.tools.definition import ExecutionContext

_OFFSET = re.compile(r"(?:UTC|GMT)?\s*([+-])(\d{1,2})(?::?([0-5]\d))?", re.IGNORECASE)


@tool(effect="read", timeout_s=5)
async def current_time(context: ExecutionContext, zone: str = "") -> str:
    """The current date and time.

    Args:
        zone: IANA name such as Europe/Oslo, a city, or an offset such as UTC+2. Left out: the
            zone of the machine that Palaver runs on.
    """
    now = dt.datetime.fromtimestamp(context.clock.now(), dt.UTC)
    return _written(now.astimezone(_zone(zone) if zone.strip() else None))


@tool(effect="read", timeout_s=5)
async def convert_time(context: ExecutionContext, time: str, from_zone: str, to_zone: str) -> str:
    """What a time in one zone is in another.

    Args:
        time: `2026-03-01 14:30`, or only `14:30` for today in `from_zone`.
        from_zone: IANA name, city or offset.
        to_zone: IANA name, city or offset.
    """
    source, target = _zone(from_zone), _zone(to_zone)
    today = dt.datetime.fromtimestamp(context.clock.now(), source).date()
    local = _local(time, today)
    moment = local.replace(tzinfo=source) if local.tzinfo is None else local
    try:
        converted = moment.astimezone(target)
    except OverflowError:
        raise ToolExecutionError(f"{time!r} is too near the end of the calendar") from None
    return f"{_written(moment)} is {_written(converted)}{_doubt(moment)}"


@tool(effect="read", timeout_s=5)
async def date_difference(context: ExecutionContext, start: str, end: str = "today") -> str:
    """How long it is from one date to another.

    Args:
        start: A date such as 2026-03-01, or `today` (UTC).
        end: The same.
    """
    today = dt.datetime.fromtimestamp(context.clock.now(), dt.UTC).date()
    first, last = _date(start, today), _date(end, today)
    days = (last - first).days
    weeks, rest = divmod(abs(days), 7)
    in_weeks = f" ({weeks} weeks and {rest} days)" if weeks else ""
    return f"From {first:%A} {first} to {last:%A} {last}: {days:,} days{in_weeks}"


def _zone(name: str) -> dt.tzinfo:
    """The zone of that name. Raises ToolExecutionError with close names."""
    wanted = name.strip()
    if wanted.upper() in ("UTC", "GMT", "Z"):
        return dt.UTC
    if offset := _OFFSET.fullmatch(wanted):
        return _fixed(offset)
    try:
        return zoneinfo.ZoneInfo(wanted)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        pass
    return _similar(wanted)


def _fixed(offset: re.Match[str]) -> dt.tzinfo:
    minutes = int(offset[2]) * 60 + int(offset[3] or 0)
    if minutes > 14 * 60:
        raise ToolExecutionError(f"no zone is {offset[0]} from UTC")
    return dt.timezone(dt.timedelta(minutes=minutes if offset[1] == "+" else -minutes))


def _similar(wanted: str) -> dt.tzinfo:
    """The zone whose name or city this is, whatever its case; else an error with close names."""
    every = sorted(zoneinfo.available_timezones())
    key = wanted.lower().replace(" ", "_")
    for name in every:
        if key in (name.lower(), name.lower().rpartition("/")[2]):
            return zoneinfo.ZoneInfo(name)
    cities = {name.lower().rpartition("/")[2]: name for name in every}
    close = [cities[city] for city in difflib.get_close_matches(key[:60], cities, n=3)]
    close += difflib.get_close_matches(wanted[:60], every, n=3)
    listed = ", ".join(dict.fromkeys(close[:4]))
    raise ToolExecutionError(
        f"there is no time zone {wanted[:60]!r}",
        suggestions=(f"Similar: {listed}." if listed else "Use an IANA name like Europe/Oslo.",),
    )


def _local(text: str, today: dt.date) -> dt.datetime:
    try:
        return dt.datetime.combine(today, dt.time.fromisoformat(text.strip()))
    except ValueError:
        pass
    try:
        return dt.datetime.fromisoformat(text.strip())
    except ValueError:
        raise ToolExecutionError(
            f"{text[:60]!r} is not a time", suggestions=("Write 2026-03-01 14:30, or 14:30.",)
        ) from None


def _date(text: str, today: dt.date) -> dt.date:
    if text.strip().lower() in ("today", "now", ""):
        return today
    try:
        return dt.datetime.fromisoformat(text.strip()).date()
    except ValueError:
        raise ToolExecutionError(
            f"{text[:60]!r} is not a date", suggestions=("Write it as 2026-03-01.",)
        ) from None


def _doubt(moment: dt.datetime) -> str:
    """What to add where clocks change: times that come twice, and times that never come."""
    there = moment.astimezone(dt.UTC).astimezone(moment.tzinfo)
    if there.replace(tzinfo=None) != moment.replace(tzinfo=None):
        return "\nNote: clocks are put forward then; this local time does not exist."
    if moment.replace(fold=1).utcoffset() != moment.utcoffset():
        return "\nNote: clocks are put back then; this local time comes twice, the first was taken."
    return ""


def _written(moment: dt.datetime) -> str:
    offset = moment.strftime("%z")
    name = getattr(moment.tzinfo, "key", None) or moment.tzname() or ""
    return f"{moment:%A %Y-%m-%d %H:%M:%S} {name} (UTC{offset[:3]}:{offset[3:5]})"

"""Times and dates."""

from collections.abc import Callable
from typing import Any

import pytest

from palaver.domain.errors import ToolExecutionError
from palaver.tools.builtin.times import convert_time, current_time, date_difference
from palaver.tools.definition import ExecutionContext


class Told:
    """2027-03-28 00:30:00 UTC: the night in which Oslo's clocks are put forward."""

    def now(self) -> float:
        return 1_806_193_800.0

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None: ...


@pytest.fixture
def context(make_context: Callable[..., ExecutionContext]) -> ExecutionContext:
    return make_context(clock=Told())


@pytest.mark.parametrize(
    "zone, shown",
    [
        ("UTC", "Sunday 2027-03-28 00:30:00 UTC (UTC+00:00)"),
        ("Europe/Oslo", "Sunday 2027-03-28 01:30:00 Europe/Oslo (UTC+01:00)"),
        ("oslo", "Sunday 2027-03-28 01:30:00 Europe/Oslo (UTC+01:00)"),
        ("new york", "Saturday 2027-03-27 20:30:00 America/New_York (UTC-04:00)"),
        ("UTC+5:30", "Sunday 2027-03-28 06:00:00 UTC+05:30 (UTC+05:30)"),
        ("-3", "Saturday 2027-03-27 21:30:00 UTC-03:00 (UTC-03:00)"),
    ],
)
async def test_current_time(zone: str, shown: str, context: ExecutionContext) -> None:
    """The context's clock, in a zone by name, city or offset."""
    assert await current_time(context, zone) == shown


async def test_zone_of_the_machine(context: ExecutionContext) -> None:
    """Without a zone it is the machine's own."""
    assert "2027" in await current_time(context)


@pytest.mark.parametrize(
    "zone, close",
    [("Europe/Osloo", "Europe/Oslo"), ("Pariss", "Europe/Paris"), ("../../etc/passwd", "IANA|Sim")],
)
async def test_unknown_zone_names_close_ones(
    zone: str, close: str, context: ExecutionContext
) -> None:
    """A misspelt zone fails with similar names; a path is no zone."""
    with pytest.raises(ToolExecutionError) as raised:
        await current_time(context, zone)
    import re

    assert re.search(close, " ".join(raised.value.suggestions))


@pytest.mark.parametrize(
    "time, source, target, says",
    [
        ("2027-01-10 14:30", "Oslo", "Asia/Tokyo", "22:30:00 Asia/Tokyo"),
        ("14:30", "UTC", "Asia/Tokyo", "2027-03-28 23:30:00"),
        ("2027-03-28 02:30", "Oslo", "UTC", "does not exist"),
        ("2027-10-31 02:30", "Oslo", "UTC", "comes twice"),
        ("2027-01-10T14:30+00:00", "Oslo", "Oslo", "15:30:00 Europe/Oslo"),
    ],
)
async def test_conversion(
    time: str, source: str, target: str, says: str, context: ExecutionContext
) -> None:
    """A local time in one zone is told in another, with a note where clocks change."""
    assert says in await convert_time(context, time, source, target)


@pytest.mark.parametrize(
    "start, end, says",
    [
        ("2027-03-28", "2027-04-08", "11 days (1 weeks and 4 days)"),
        ("today", "2027-04-01", ": 4 days"),
        ("2027-04-01", "today", ": -4 days"),
        ("2024-02-28", "2024-03-01", ": 2 days"),
    ],
)
async def test_difference(start: str, end: str, says: str, context: ExecutionContext) -> None:
    """Days from one date to another, leap years included."""
    assert says in await date_difference(context, start, end)


@pytest.mark.parametrize("text", ["", "tomorrow-ish", "25:00", "2027-02-30"])
async def test_no_time_is_an_error(text: str, context: ExecutionContext) -> None:
    """What is no time fails with how to write one."""
    with pytest.raises(ToolExecutionError, match="not a time"):
        await convert_time(context, text, "UTC", "UTC")


@pytest.mark.parametrize("time", ["0001-01-01 00:00", "9999-12-31 23:59"])
async def test_end_of_the_calendar(time: str, context: ExecutionContext) -> None:
    """A conversion that leaves the calendar fails, it does not crash."""
    call: Any = convert_time
    zones = ("+14", "-12") if time.startswith("0") else ("-12", "+14")
    with pytest.raises(ToolExecutionError, match="calendar"):
        await call(context, time, *zones)

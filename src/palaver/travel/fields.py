"""Reading JSON that others wrote: a field of the wrong type is as if it were not there."""

import json
import math
from datetime import UTC, datetime
from typing import Any

_MILLISECONDS = 1e11
"""Numbers above are milliseconds: as seconds they would lie after the year 5000."""
_LATEST = 1e11


def obj(value: Any) -> dict[str, Any]:
    """The object, or an empty one."""
    return value if isinstance(value, dict) else {}


def seq(value: Any) -> list[Any]:
    """The list, or an empty one."""
    return value if isinstance(value, list) else []


def string(value: Any) -> str:
    """The text, or an empty one."""
    return value if isinstance(value, str) else ""


def name_of(value: Any) -> str:
    """An id or name: text, or a number as text; else empty."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return string(value)


def json_text(value: Any) -> str:
    """JSON without spaces; text is taken for JSON already."""
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    except (ValueError, RecursionError):
        return "null"


def arguments(value: Any) -> str:
    """A call's arguments as JSON text; none are an empty object."""
    return "{}" if value is None or value == "" else json_text(value)


def readable(value: Any) -> str:
    """Text as it is, nothing as nothing, anything else as JSON."""
    return "" if value is None else json_text(value)


def seconds(value: Any) -> float | None:
    """A time as seconds since 1970 (UTC), from ISO 8601, seconds or milliseconds; else None.

    A time without zone is taken for UTC.
    """
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value.strip().replace("Z", "+00:00"))
        except ValueError:
            return None
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    if not math.isfinite(value) or value <= 0:
        return None
    made = value / 1000 if value > _MILLISECONDS else float(value)
    return made if made < _LATEST else None

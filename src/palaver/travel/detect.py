"""Which format a file has, told by its structure and never by its name; then its conversations.

Formats that are easily told stand first; those that many programs share (`openai`, `plain`) last.
A module of a format is imported when a file is looked at, not before.
"""

from collections.abc import Callable, Iterable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeAlias

from palaver.domain.errors import InvalidInput
from palaver.travel.base import Imported
from palaver.travel.source import MAX_BYTES, Source

Sniff: TypeAlias = Callable[[Source], bool]
Read: TypeAlias = Callable[[Source], tuple[Imported, ...]]

_MODULES = {
    "palaver": "own",
    "claude-code": "claude_code",
    "codex": "codex",
    "pi": "pi",
    "gemini-cli": "gemini_cli",
    "openhands": "openhands",
    "swe-agent": "swe_agent",
    "oasst": "oasst",
    "taskmaster": "taskmaster",
    "tau": "tau",
    "chatgpt": "chatgpt",
    "cline": "cline",
    "openai": "openai_reader",
    "plain": "plain",
    "aider": "aider",
}


def read(
    data: bytes, *, name: str = "", format: str | None = None, max_bytes: int = MAX_BYTES
) -> tuple[Imported, ...]:
    """Every conversation of a file in which somebody said something; perhaps none.

    `name` is told in errors only. `format`: one of `FORMATS`, or None to find it out. Raises
    InvalidInput for a format that is unknown or not told, and for more than `max_bytes`, unpacked.
    """
    source = Source(data, name=name, max_bytes=max_bytes)
    if format is None:
        format = told(source)
    if format is None:
        of = f" of {name}" if name else ""
        raise InvalidInput(f"the format{of} is none of these: {', '.join(FORMATS)}")
    if format not in FORMATS:
        raise InvalidInput(f"there is no format {format!r}; there are {', '.join(FORMATS)}")
    return FORMATS[format][1](source)


def told(source: Source) -> str | None:
    """The format of the file, None where it is none that is known."""
    return next((name for name, (sniff, _) in FORMATS.items() if sniff(source)), None)


def _sniff(module: str, source: Source) -> bool:
    return bool(_load(module).sniff(source))


def _sniff_own(source: Source) -> bool:
    first = source.head[0] if source.head else {}
    return "palaver" in first or {"seq", "at", "v", "type"} <= set(first)


def _read(module: str, source: Source) -> tuple[Imported, ...]:
    given: Iterable[Imported] = _load(module).read(source)
    return tuple(given)


def _read_own(source: Source) -> tuple[Imported, ...]:
    made: Imported = _load("own").read(source.data)
    return (made,)


def _load(module: str) -> Any:
    return import_module(f"palaver.travel.{module}")


def _formats() -> dict[str, tuple[Sniff, Read]]:
    known: dict[str, tuple[Sniff, Read]] = {}
    for name, module in _MODULES.items():
        if find_spec(f"palaver.travel.{module}") is not None:
            known[name] = (partial(_sniff, module), partial(_read, module))
    if "palaver" in known:
        known["palaver"] = (_sniff_own, _read_own)
    return known


FORMATS: dict[str, tuple[Sniff, Read]] = _formats()
"""What can be told and read, in the order in which it is tried."""

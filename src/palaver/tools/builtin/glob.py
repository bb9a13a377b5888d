"""File patterns: `*.py` by name anywhere, `src/**/*.py` by path; linear in the path's length."""

import fnmatch
import re
from collections.abc import Callable

from palaver.domain.errors import ToolExecutionError

_MAX_CHARS = 300


def matcher(pattern: str) -> Callable[[str], bool]:
    """Whether a relative path with `/` fits. Raises ToolExecutionError for an overlong pattern."""
    if len(pattern) > _MAX_CHARS:
        raise ToolExecutionError(f"the pattern is longer than {_MAX_CHARS} characters")
    parts = [part for part in pattern.replace("\\", "/").split("/") if part not in ("", ".")]
    if len(parts) == 1:
        parts = ["**", *parts]
    steps = [None if part == "**" else _compiled(part) for part in parts]
    return lambda path: _fits(steps, path.split("/"))


def _compiled(part: str) -> re.Pattern[str]:
    # fnmatch writes atomic groups, so many stars do not backtrack into each other.
    return re.compile(fnmatch.translate(part))


def _fits(steps: list[re.Pattern[str] | None], names: list[str]) -> bool:
    states = _with_skips({0}, steps)
    for name in names:
        after = set()
        for state in states:
            if state == len(steps):
                continue
            step = steps[state]
            if step is None:
                after.add(state)
            elif step.match(name):
                after.add(state + 1)
        states = _with_skips(after, steps)
    return len(steps) in states


def _with_skips(states: set[int], steps: list[re.Pattern[str] | None]) -> set[int]:
    """`**` may stand for no folder at all."""
    found = set(states)
    for state in states:
        while state < len(steps) and steps[state] is None:
            state += 1  # noqa: PLW2901 - walks on from each state
            found.add(state)
    return found

"""How the program ends: exit codes, and one line on standard error for every failure."""

import os
import sys
import traceback

OK = 0
FAILED = 1
"""It did not work: provider, store, file, or nothing found."""
USAGE = 2
"""The command line or its input makes no sense."""
CUT = 3
"""The answer was cut by a limit or a filter, or the model declined."""
DENIED = 4
"""A tool needed an approval that nobody was there to give."""
CONFIGURATION = 5
"""A key, a model or a setting is missing or wrong."""
INTERRUPTED = 130
"""Ctrl-C. What had come is kept."""
BROKEN_PIPE = 141
"""Nobody reads the output any more."""

TOLD = """Exit codes: 0 complete, 1 failed, 2 usage, 3 cut by a limit or declined, \
4 a tool was refused for want of approval, 5 configuration, 130 interrupted."""

CODES = {
    "configuration": CONFIGURATION,
    "provider_auth": CONFIGURATION,
    "model_not_found": CONFIGURATION,
    "invalid_input": USAGE,
    "step_limit": CUT,
    "content_blocked": CUT,
}
"""Exit codes of errors, by their stable code; all others are `FAILED`."""


LOG_NAME = "palaver.log"
"""In the data folder, unless PALAVER_LOG names another place."""
TRACEBACK_CHARS = 1_900


def say(line: str) -> None:
    """One line on standard error, whatever its encoding can hold."""
    try:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        pass  # nobody listens


def report(error: BaseException) -> int:
    """Tell a person what went wrong, and return the exit code."""
    from palaver.cli.safe import safe
    from palaver.domain.errors import PalaverError

    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if os.environ.get("PALAVER_DEBUG"):
        traceback.print_exception(error, file=sys.stderr)
    if isinstance(error, PalaverError):
        say(f"palaver: {safe(error.message)}" + (f"\n  {safe(error.hint)}" if error.hint else ""))
        return CODES.get(error.code, FAILED)
    if isinstance(error, OSError) and error.strerror:
        named = f": {error.filename}" if error.filename else ""
        say(f"palaver: {error.strerror}{named}")
        return FAILED
    place = _log_unexpected(error)
    what = safe(f"{type(error).__name__}: {error}".splitlines()[0])
    say(f"palaver: something unexpected went wrong ({what})")
    say(f"  {place}Run again with PALAVER_DEBUG=1 to see all of it.")
    return FAILED


def _log_unexpected(error: BaseException) -> str:
    """Write the whole of it to the log; a sentence that says where that is."""
    from palaver import log
    from palaver.domain.errors import PalaverError
    from palaver.environment import read_environment

    try:
        environment = read_environment()
        place = environment.log or str(environment.home / LOG_NAME)
        log.configure(place)
    except (PalaverError, OSError):
        return ""
    details = "".join(traceback.format_exception(error))
    log.get("cli").error("unexpected_error", error=error, traceback=details[-TRACEBACK_CHARS:])
    return "" if place == "stderr" else f"Details are in {place}. "

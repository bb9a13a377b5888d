"""One log line where a failure is handled, for the operator; silent until a destination is set.

`get` costs nothing: structlog (150 ms) is imported with the first line. Secrets never get
through: fields with telling names lose their value, and whatever looks like a key is cut out of
every text, keys, exceptions and nested values included. A line is one line, and its values are
bounded. A log that cannot be written never disturbs the program.
"""

import os
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from palaver.domain.errors import ConfigurationError

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
REDACTED = "[redacted]"

_MAX_CHARS = 2_000
_MAX_SCANNED = 20_000
"""Characters of a value that are looked at; what lies behind is dropped unseen."""
_MAX_ITEMS = 50
_MAX_DEPTH = 6
_ROTATE_BYTES = 5 * 1024 * 1024
_KEEP_FILES = 3
_SHORTEST_SECRET = 6
"""A shorter one would blank out ordinary words."""


class Log:
    """Writes events with fields: `log.get("turn").warning("turn_lost", turn=id)`."""

    __slots__ = ("_fields", "_name")

    def __init__(self, name: str, fields: Mapping[str, object] | None = None) -> None:
        self._name = name
        self._fields = dict(fields or {})

    def bind(self, **fields: object) -> "Log":
        """This log with `fields` on every line."""
        return Log(self._name, {**self._fields, **fields})

    def debug(self, event: str, **fields: object) -> None:
        """For those who look for a fault."""
        self._write("debug", event, fields)

    def info(self, event: str, **fields: object) -> None:
        """Something worth knowing happened."""
        self._write("info", event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Something went wrong and was dealt with."""
        self._write("warning", event, fields)

    def error(self, event: str, **fields: object) -> None:
        """Something went wrong that somebody should look at. `exc_info=True` adds the traceback."""
        self._write("error", event, fields)

    def _write(self, level: str, event: str, fields: dict[str, object]) -> None:
        sink = _sink
        if sink is None or LEVELS[level] < sink.threshold:
            return
        sink.write(level, event, {"logger": self._name, **self._fields, **fields})


def get(name: str) -> Log:
    """The log of one part of the program."""
    return Log(name)


def configure(
    destination: str | Path | None = None,
    *,
    level: str = "info",
    json: bool = False,
    secrets: Iterable[str] = (),
) -> None:
    """Send lines to `stderr`, to a file (mode 0600, rotated at 5 MB, three old ones), or nowhere.

    `secrets` are texts that must not appear in any line, whatever they look like. Raises
    ConfigurationError for an unknown level or a file that cannot be written.
    """
    global _sink
    threshold = LEVELS.get(level.lower())
    if threshold is None:
        raise ConfigurationError(
            f"there is no log level {level!r}", hint=f"Choose one of {', '.join(LEVELS)}."
        )
    before, _sink = _sink, None
    if before is not None:
        before.close()
    if destination is None:
        return
    path = None if str(destination) == "stderr" else Path(destination)
    if path is not None:
        _prepare(path)
    _sink = _Sink(path, threshold, json, Redactor(secrets))


def _prepare(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
        path.chmod(0o600)
    except OSError as error:
        raise ConfigurationError(
            f"the log file {path} cannot be written: {error.strerror or error}",
            hint="Choose another file, or `stderr`.",
        ) from error


class Redactor:
    """Takes secrets out of anything that is logged."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = sorted({s for s in secrets if len(s) >= _SHORTEST_SECRET}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, known))) if known else None

    def text(self, text: str) -> str:
        """`text` without secrets, on one line, at most 2,000 characters."""
        cut = text[:_MAX_SCANNED]
        if self._known is not None:
            cut = self._known.sub(REDACTED, cut)
        for pattern, replacement in _PATTERNS:
            cut = pattern.sub(replacement, cut)
        cut = cut.translate(_ONE_LINE)
        if len(text) <= _MAX_SCANNED and len(cut) <= _MAX_CHARS:
            return cut
        return f"{cut[:_MAX_CHARS]}… ({len(text):,} characters)"

    def value(self, value: object, *, depth: int = 0) -> object:
        """`value` as plain JSON-able data without secrets."""
        if value is None or isinstance(value, bool | int | float):
            return value
        if depth >= _MAX_DEPTH:
            return "…"
        if isinstance(value, Mapping):
            items = list(value.items())[:_MAX_ITEMS]
            return {
                self.text(str(key)): self.field(str(key), item, depth=depth + 1)
                for key, item in items
            }
        if isinstance(value, list | tuple | set | frozenset):
            return [self.value(item, depth=depth + 1) for item in list(value)[:_MAX_ITEMS]]
        if isinstance(value, bytes | bytearray):
            return self.text(bytes(value[:_MAX_SCANNED]).decode("utf-8", "replace"))
        return self.text(_described(value))

    def field(self, name: str, value: object, *, depth: int = 0) -> object:
        """`value` as a field called `name`, whose name may say that it is a secret."""
        if _SECRET_NAME.search(_snake(name)) and value not in (None, "", True, False):
            return REDACTED
        return self.value(value, depth=depth)


class _Sink:
    """Where lines go; opened with the first line."""

    def __init__(self, path: Path | None, threshold: int, json: bool, redactor: Redactor) -> None:
        self.threshold = threshold
        self._path, self._json, self._redactor = path, json, redactor
        self._logger: Any = None
        self._handler: Any = None

    def write(self, level: str, event: str, fields: dict[str, object]) -> None:
        if self._logger is None:
            self._open()
        getattr(self._logger, level)(event, **fields)

    def close(self) -> None:
        if self._handler is not None:
            self._handler.close()
            self._handler = self._logger = None

    def _open(self) -> None:
        import structlog

        self._handler = _handler(self._path)
        render: Any = structlog.processors.LogfmtRenderer(
            key_order=("timestamp", "level", "logger", "event"), bool_as_flag=False
        )
        if self._json:
            render = structlog.processors.JSONRenderer(ensure_ascii=False)
        self._logger = structlog.wrap_logger(
            _Lines(self._handler),
            processors=[
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.add_log_level,
                structlog.processors.format_exc_info,
                self._redact,
                render,
            ],
            wrapper_class=structlog.BoundLogger,
        )

    def _redact(self, _logger: object, _method: str, fields: Any) -> dict[str, object]:
        named = {_key(str(name)): (str(name), value) for name, value in fields.items()}
        return {key: self._flat(name, value) for key, (name, value) in named.items()}

    def _flat(self, name: str, value: object) -> object:
        clean = self._redactor.field(name, value)
        if self._json or not isinstance(clean, dict | list):
            return clean
        import msgspec

        return msgspec.json.encode(clean).decode()


class _Lines:
    """The end of the chain: gives rendered lines to a handler, whatever their level."""

    def __init__(self, handler: Any) -> None:
        self._handler = handler

    def debug(self, line: str) -> None:
        import logging

        record = logging.LogRecord("palaver", logging.INFO, "", 0, line, None, None)
        self._handler.handle(record)

    info = warning = error = debug


def _handler(path: Path | None) -> Any:
    import logging.handlers

    class Quiet:
        def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
            """A full disk must not print a traceback at a person."""

    class ToFile(Quiet, logging.handlers.RotatingFileHandler):
        def _open(self) -> Any:
            return open(self.baseFilename, self.mode, encoding="utf-8", opener=_private)

    class ToStderr(Quiet, logging.StreamHandler[Any]):
        def emit(self, record: logging.LogRecord) -> None:
            self.stream = sys.stderr  # whatever it is by now
            super().emit(record)

    if path is None:
        return ToStderr()
    return ToFile(path, maxBytes=_ROTATE_BYTES, backupCount=_KEEP_FILES, delay=True)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _described(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, BaseException):
        return f"{type(value).__name__}: {value}"
    try:
        return str(value)
    except Exception:  # noqa: BLE001 (a broken __str__ must not break the program)
        return f"<{type(value).__name__}>"


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().replace("-", "_")


def _key(name: str) -> str:
    """A field name that no line format has to quote."""
    return re.sub(r"[^\w.-]", "_", name)


_ONE_LINE = {ord("\n"): "\\n", ord("\r"): "\\r", 0x2028: "\\n", 0x2029: "\\n", 0x1B: "\\e"}
_SECRET_NAME = re.compile(
    r"(^|_)(api_?key|apikey|auth|authorization|password|passwd|pwd|passphrase|secret|secrets|token"
    r"|cookie|credential|credentials|private_key|signature|session_key)(_?(value|header))?$"
)
# No pattern begins with a repetition: on a long run of letters that would take quadratic time.
_NAMED = (
    r"(?i)((?:api[_-]?key|authorization|password|passwd|secrets?|credentials?|token|cookie"
    r"|signature|\bsig|key)[\"']?\s*[:=]\s*(?:b?[\"'])?)"
    r"(?!\[redacted\]|(?:bearer|basic) \[)[^\s\"',;&})\]]{4,}"
)
_PREFIXES = r"sk|pk|rk|pal|gsk|xai|pplx|hf|gh[opsur]|glpat|github_pat"
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"-----BEGIN [^-]*PRIVATE KEY-----.*?(-----END [^-]*-----|$)", re.S), REDACTED),
    (
        re.compile(r"\b((?i:bearer|basic))\s+(?=[\w.~+/-]*[A-Z0-9=])[\w.~+/=-]{6,}"),
        rf"\1 {REDACTED}",
    ),
    (re.compile(r"://[^\s/@\"'<>:]*:[^\s/@\"'<>]*@"), f"://{REDACTED}@"),
    (re.compile(_NAMED), rf"\1{REDACTED}"),
    (re.compile(rf"\b(?:{_PREFIXES})[-_][\w-]{{10,}}"), REDACTED),
    (re.compile(r"\bxox[a-z]-[\w-]{8,}|\bAIza[\w-]{20,}|\b(?:AKIA|ASIA)[A-Z0-9]{12,}"), REDACTED),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"), REDACTED),
)  # fmt: skip

_sink: _Sink | None = None

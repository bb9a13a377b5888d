"""`palaver doctor`: what is configured, what is missing, and how to mend it."""

import asyncio
import os
import platform
import shutil
import stat
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import msgspec

from palaver import __version__, system
from palaver.cli import exits
from palaver.cli.exits import LOG_NAME
from palaver.cli.inspection import print_json, put
from palaver.domain.errors import PalaverError

if TYPE_CHECKING:
    import apsw

    from palaver.environment import Environment

PACKAGES = (
    *("aiohttp", "apsw", "click", "genai-prices", "jsonschema", "msgspec", "platformdirs"),
    *("prompt-toolkit", "rich", "structlog"),
)
PUBLIC = {"anthropic": "https://api.anthropic.com", "openai": "https://api.openai.com"}
CONNECT_S = 2.0
LOW_BYTES = 200 * 1024 * 1024
SAFE_SQLITE = (3, 51, 3)
"""Older ones can damage a database that two processes share (the WAL-reset bug)."""


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that was looked at. `mend` says what to do about it."""

    name: str
    state: Literal["ok", "note", "broken"]
    text: str
    mend: str = ""


def run_doctor(db: str | None, *, as_json: bool) -> int:
    """Look at everything and print it; exit code 1 when something needed is broken."""
    findings = list(_examined(db))
    if as_json:
        print_json(findings)
    else:
        for finding in findings:
            sign = {"ok": "ok   ", "note": "note ", "broken": "BAD  "}[finding.state]
            put(f"{sign} {finding.name}: {finding.text}")
            if finding.mend:
                put(f"      → {finding.mend}")
    return exits.FAILED if any(f.state == "broken" for f in findings) else exits.OK


def _examined(db: str | None) -> Iterator[Finding]:
    from palaver.environment import read_environment

    yield _python()
    yield _packages()
    yield _event_loop()
    try:
        environment = read_environment()
    except PalaverError as error:
        yield Finding("configuration", "broken", error.message, error.hint)
        return
    yield _config(environment)
    yield _home(environment.home)
    file = environment.home / "palaver.db" if db is None else Path(db)
    yield _sqlite()
    if db != ":memory:":
        yield _database(file)
        yield _space(environment.home)
    yield _log(environment)
    yield _model(environment)
    yield from _providers(environment)


def _python() -> Finding:
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return Finding("Python", "ok", f"{text}, Palaver {__version__}")


def _packages() -> Finding:
    found, missing = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return Finding(
            "packages", "broken", f"missing: {', '.join(missing)}", "Install Palaver again."
        )
    return Finding("packages", "ok", ", ".join(found))


def _event_loop() -> Finding:
    loop = system.new_event_loop()
    name = type(loop).__module__.partition(".")[0]
    loop.close()
    if name == "asyncio":
        mend = (
            "" if sys.platform == "win32" else "Install uvloop: it saves a third of a delta's CPU."
        )
        return Finding("event loop", "ok" if not mend else "note", "asyncio", mend)
    text = f"{name} {metadata.version(name)}; asyncio where a person types"
    return Finding("event loop", "ok", text)


def _config(environment: "Environment") -> Finding:
    if environment.config_file is None:
        return Finding("configuration file", "ok", "none (palaver.toml is optional)")
    return Finding("configuration file", "ok", str(environment.config_file))


def _home(home: Path) -> Finding:
    mend = "Set PALAVER_HOME to a folder that can be written, or change its permissions."
    if not home.exists():
        parent = next(p for p in home.parents if p.exists())
        if os.access(parent, os.W_OK):
            return Finding("data folder", "ok", f"{home} (made at the first use)")
        return Finding("data folder", "broken", f"{home} cannot be made", mend)
    if not home.is_dir() or not os.access(home, os.W_OK | os.X_OK):
        return Finding("data folder", "broken", f"{home} cannot be written", mend)
    mode = stat.S_IMODE(home.stat().st_mode)
    if mode & 0o077 and sys.platform != "win32":
        text = f"{home} can be entered by others (mode {mode:o})"
        return Finding("data folder", "note", text, f"chmod 700 '{home}'")
    return Finding("data folder", "ok", str(home))


def _sqlite() -> Finding:
    import apsw

    version = apsw.sqlite_lib_version()
    if tuple(int(part) for part in version.split(".")) < SAFE_SQLITE:
        return Finding("SQLite", "broken", version, "Upgrade apsw to 3.51.3 or newer.")
    return Finding("SQLite", "ok", version)


def _database(file: Path) -> Finding:
    if not file.exists():
        return Finding("database", "ok", f"{file} (made at the first use)")
    import apsw

    restore = f"Run `palaver doctor --repair '{file}'`, or restore a backup."
    try:
        connection = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            connection.set_busy_timeout(2_000)
            answer = _pragma(connection, "quick_check(1)")
            is_ours = _is_ours(connection)
        finally:
            connection.close()
    except apsw.BusyError:
        return Finding("database", "note", f"{file} is busy", "Close other programs that use it.")
    except apsw.Error as error:
        return Finding("database", "broken", f"{file}: {error}", restore)
    if answer != "ok":
        return Finding("database", "broken", f"{file} is damaged: {answer}", restore)
    if not is_ours:
        text = f"{file} is a database of another program"
        return Finding("database", "broken", text, "Choose another file name.")
    size = file.stat().st_size / 1e6
    return Finding("database", "ok", f"{file}, {size:.1f} MB, checked")


def _is_ours(connection: "apsw.Connection") -> bool:
    """Whether Palaver made it, or nobody yet wrote to it."""
    from palaver.store.sqlite_schema import APPLICATION_ID

    owner = _pragma(connection, "application_id")
    return owner == str(APPLICATION_ID) or _pragma(connection, "schema_version") == "0"


def _pragma(connection: "apsw.Connection", name: str) -> str:
    return str(connection.execute(f"PRAGMA {name}").fetchall()[0][0])


def _space(home: Path) -> Finding:
    place = home if home.exists() else next(p for p in home.parents if p.exists())
    free = shutil.disk_usage(place).free
    text = f"{free / 1e9:.1f} GB free"
    if free < LOW_BYTES:
        return Finding("disk", "broken", text, "Free some space: nothing can be stored soon.")
    return Finding("disk", "ok", text)


def _log(environment: "Environment") -> Finding:
    if environment.log:
        return Finding("log", "ok", f"{environment.log} ({environment.log_level})")
    return Finding("log", "ok", f"{environment.home / LOG_NAME} ({environment.log_level})")


def _model(environment: "Environment") -> Finding:
    from palaver import wiring
    from palaver.environment import KEYS

    models = wiring.Models(environment, default=environment.model)
    try:
        models(environment.model)
    except PalaverError as error:
        return Finding("model", "broken", error.message, error.hint)
    if environment.model == "offline":
        keys = " or ".join(KEYS.values())
        return Finding(
            "model", "note", "offline: no language model, simple answers only", f"Set {keys}."
        )
    return Finding("model", "ok", environment.model)


def _providers(environment: "Environment") -> Iterator[Finding]:
    from palaver.environment import KEYS

    for provider, variable in KEYS.items():
        key = environment.keys.get(provider, "")
        address = environment.addresses.get(provider, "")
        if not key and not address:
            yield Finding(provider, "note", "no key", f"Set {variable} to use its models.")
            continue
        shown = address or PUBLIC[provider]
        named = f"key {masked(key)}" if key else "no key"
        problem = asyncio.run(_reach(shown))
        if problem:
            mend = "Check the network, a proxy, and the address."
            yield Finding(provider, "broken", f"{named}; {shown}: {problem}", mend)
        else:
            yield Finding(provider, "ok", f"{named}; {shown} answers")


def masked(key: str) -> str:
    """Enough of a key to recognise it, and no more."""
    return f"{key[:3]}…{key[-4:]}" if len(key) >= 16 else "…"


async def _reach(address: str) -> str:
    """Why a TCP connection fails within two seconds; empty when it does not."""
    try:
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            return "no address that begins with https:// or http://"
        port = parts.port or (80 if parts.scheme == "http" else 443)
        async with asyncio.timeout(CONNECT_S):
            _, writer = await asyncio.open_connection(parts.hostname, port)
    except TimeoutError:
        return f"no connection within {CONNECT_S:g} s"
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error) or type(error).__name__
    writer.close()
    return ""

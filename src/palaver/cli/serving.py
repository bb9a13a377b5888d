"""Running the server from the command line."""

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from palaver.cli import exits
from palaver.cli.opening import Wanted as Opening, prepared

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from palaver.environment import Environment


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for on the command line; None: as the settings say."""

    host: str | None = None
    port: int | None = None
    model: str | None = None
    config: str | None = None
    tools: bool = True
    db: str | None = None
    reload: bool = False


def serve(wanted: Wanted) -> int:
    """Serve until a signal comes."""
    if wanted.config is not None:
        os.environ["PALAVER_CONFIG"] = wanted.config
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError:
        from palaver.domain.errors import ConfigurationError

        raise ConfigurationError(
            "the server's packages are not installed",
            hint="pip install 'palaver[server]'",
        ) from None
    environment = _environment(wanted)
    if wanted.reload:
        return _reloading(wanted)
    return _run(wanted, environment)


def _environment(wanted: Wanted) -> "Environment":
    environment = prepared(Opening(db=wanted.db))
    changes = {"host": wanted.host, "port": wanted.port}
    given = {name: value for name, value in changes.items() if value is not None}
    server = msgspec.structs.replace(environment.settings.server, **given)
    settings = msgspec.structs.replace(environment.settings, server=server)
    return msgspec.structs.replace(environment, settings=settings)


def _run(wanted: Wanted, environment: "Environment") -> int:
    from palaver.server.run import open_server, serve as listen
    from palaver.system import new_event_loop

    async def main() -> None:
        async with open_server(
            wanted.db,
            environment=environment,
            model=wanted.model,
            builtin_tools=wanted.tools,
        ) as server:
            model = server.parts.models.default

            def announce(address: str) -> None:
                exits.say(f"Palaver serves {model} at {address}  (Ctrl-C ends it)")
                exits.say(f"  try: curl {address}/api/health/ready")

            def wait(seconds: float) -> None:
                exits.say(
                    f"ending: answers under way have {seconds:g} s (Ctrl-C again: none); "
                    "what is left runs on with the next start"
                )

            await listen(server, announce=announce, on_wait=wait)

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(main())
    return exits.OK


def _reloading(wanted: Wanted) -> int:
    """uvicorn watches the code and starts a new process, which reads its arguments from here."""
    import uvicorn

    environment = _environment(wanted)
    os.environ["PALAVER_SERVE"] = msgspec.json.encode(wanted).decode()
    uvicorn.run(
        "palaver.cli.serving:reloaded",
        factory=True,
        reload=True,
        reload_dirs=[str(Path(__file__).parents[1])],
        host=environment.settings.server.host,
        port=environment.settings.server.port,
        log_level="warning",
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=1,  # streams are open for as long as somebody reads
    )
    return exits.OK


def reloaded() -> "ASGIApp":
    """The app of a process that uvicorn started anew."""
    from palaver.server.run import lifelong

    wanted = msgspec.json.decode(os.environ["PALAVER_SERVE"], type=Wanted)
    environment = _environment(wanted)
    # What runs when the code changes goes on in the next process; nobody wants to wait for it.
    server = msgspec.structs.replace(environment.settings.server, drain_s=0.0)
    settings = msgspec.structs.replace(environment.settings, server=server)
    environment = msgspec.structs.replace(environment, settings=settings)
    return lifelong(
        wanted.db,
        environment=environment,
        model=wanted.model,
        builtin_tools=wanted.tools,
    )

"""Opens the service as the command line wants it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from palaver.cli.exits import LOG_NAME

if TYPE_CHECKING:
    from palaver.environment import Environment
    from palaver.service.manager import ConversationManager
    from palaver.settings import OnUnreachable


class Wanted(msgspec.Struct, frozen=True):
    """What options say about the service; empty means what environment and settings say."""

    db: str | None = None
    """A file, `:memory:`, or None for the data folder's."""
    model: str = ""
    system: str | None = None
    tools: bool = True
    folders: tuple[str, ...] = ()
    summary_model: str = ""
    """Who writes summaries; empty means what settings say."""
    sends: bool = False
    """Whether what waits in outboxes is sent meanwhile: not while somebody looks something up."""
    is_one_shot: bool = False
    """The program ends with its answer, so nothing can be prepared in the background."""
    is_reading: bool = False
    """Nothing is asked of a model."""


class Opened(msgspec.Struct, frozen=True):
    """An open service and what it was opened with."""

    manager: "ConversationManager"
    model: str
    """The model of conversations that chose none."""
    notices: tuple[str, ...] = ()
    """What has happened before that a person should know."""
    drain_s: float = 0.0
    """Seconds that an answer gets when the program is asked to end."""
    on_unreachable: "OnUnreachable" = "queue"
    """What becomes of what a person says while no model can be reached: in a chat it is never
    lost, so it is kept unless the settings want it answered offline."""


@asynccontextmanager
async def opened(wanted: Wanted) -> AsyncIterator[Opened]:
    """The service, for as long as the block lasts.

    Raises ConfigurationError and StoreError, and InvalidInput for a folder as database.
    """
    from palaver import wiring
    from palaver.cli.unfinished import recovered

    environment = _with_context(prepared(wanted), wanted)
    async with wiring.open(
        wanted.db,
        model=wanted.model or None,
        system=wanted.system,
        builtin_tools=wanted.tools,
        folders=wanted.folders or None,
        environment=environment,
    ) as manager:
        notices = tuple(recovered(manager)) if manager.recovered else ()
        model = wanted.model or environment.model
        settings = environment.settings
        is_offline = settings.outbox.on_unreachable == "offline"
        mode: OnUnreachable = "offline" if is_offline else "queue"
        yield Opened(manager, model, notices, settings.turn.drain_s, mode)


def _with_context(environment: "Environment", wanted: Wanted) -> "Environment":
    context = environment.settings.context
    if wanted.summary_model and wanted.summary_model != "offline":
        context = msgspec.structs.replace(context, summary_model=wanted.summary_model)
    if wanted.is_one_shot and context.summaries == "prepared":
        context = msgspec.structs.replace(context, summaries="inline")
    turn = environment.settings.turn
    if wanted.is_reading and turn.on_restart == "resume":  # who only looks pays for nothing
        turn = msgspec.structs.replace(turn, on_restart="leave")
    outbox = environment.settings.outbox
    if not wanted.sends:
        outbox = msgspec.structs.replace(outbox, automatic=False)
    settings = msgspec.structs.replace(
        environment.settings, context=context, turn=turn, outbox=outbox
    )
    return msgspec.structs.replace(environment, settings=settings)


def prepared(wanted: Wanted) -> "Environment":
    """The environment, with a private data folder and a log in it.

    Raises ConfigurationError, and InvalidInput for a folder as database.
    """
    from palaver.domain.errors import ConfigurationError, InvalidInput
    from palaver.environment import read_environment

    if wanted.db and Path(wanted.db).is_dir():
        raise InvalidInput(f"{wanted.db} is a folder", hint="Name a file for the database.")
    environment = read_environment()
    if environment.log or wanted.db == ":memory:":
        return environment
    try:
        environment.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"the data folder {environment.home} cannot be made: {error.strerror or error}",
            hint="Set PALAVER_HOME to a folder that can be written.",
        ) from error
    return msgspec.structs.replace(environment, log=str(environment.home / LOG_NAME))


def reading(db: str | None) -> Wanted:
    """For commands that only look: no tools, and no key is needed."""
    return Wanted(db=db, model="offline", tools=False, is_reading=True)

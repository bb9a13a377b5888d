"""Arguments and options that several commands share, and how a shell completes them.

Only Click is imported here: `palaver --help` must answer at once.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from palaver.cli.opening import Wanted

NAMED = "ID|last"


def conversations(ctx: click.Context, _: click.Parameter, given: str) -> list[CompletionItem]:
    """Ids of stored conversations, for a shell."""
    from palaver.cli.completion import conversations as stored

    found = stored(given, db=ctx.params.get("db"))
    return [CompletionItem(name, help=about or None) for name, about in found]


def models(_: click.Context, __: click.Parameter, given: str) -> list[CompletionItem]:
    """Names of models, for a shell."""
    from palaver.cli.completion import models as known

    return [CompletionItem(name) for name in known(given)]


def with_db(command: Any) -> Any:
    """Which database."""
    return click.option(
        "--db",
        metavar="PATH",
        type=click.Path(allow_dash=True),  # for completion; it need not be there yet
        is_eager=True,  # known when a conversation's id is completed
        help="Database file, or :memory: (default: palaver.db in PALAVER_HOME).",
    )(command)


def with_json(command: Any) -> Any:
    """JSON instead of text."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def with_sure(command: Any) -> Any:
    """No question before something that cannot be taken back."""
    return click.option("-y", "--yes", is_flag=True, help="Do not ask.")(command)


def with_conversation(command: Any) -> Any:
    """An optional conversation."""
    return click.option(
        "-c",
        "--conversation",
        default="",
        metavar=NAMED,
        shell_complete=conversations,
        help="Continue a conversation.",
    )(command)


def conversation_argument(command: Any) -> Any:
    """The conversation that a command is about."""
    return click.argument("conversation", metavar=NAMED, shell_complete=conversations)(command)


def with_service(command: Callable[..., int]) -> Callable[..., int]:
    """Options of commands that talk to a model."""
    for option in reversed(
        (
            click.option(
                "-m",
                "--model",
                default="",
                shell_complete=models,
                help="provider:model, or offline.",
            ),
            click.option("-s", "--system", help="System prompt."),
            with_db,
            click.option(
                "--folder",
                "folders",
                multiple=True,
                type=click.Path(exists=True, file_okay=False),
                help="A folder that the file tools may read (repeatable; default: this one).",
            ),
            click.option("--no-tools", is_flag=True, help="Offer no tools to the model."),
            click.option("-y", "--yes", is_flag=True, help="Allow tools with effects unasked."),
        )
    ):
        command = option(command)
    return command


def wanted_of(
    *,
    model: str,
    system: str | None,
    db: str | None,
    folders: tuple[str, ...],
    no_tools: bool,
) -> "Wanted":
    """What the options of `with_service` say."""
    from palaver.cli.opening import Wanted

    return Wanted(db=db, model=model, system=system, tools=not no_tools, folders=folders)


class MessageName(click.ParamType[str]):
    """A message: a number as `show` prints it (-1: the last), an id, or the end of an id."""

    name = "message"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """What was given. Fails for an option that does not exist."""
        given = str(value)
        number = given.removesuffix(".results").removeprefix("-")
        if given.startswith("-") and not number.isdigit():
            raise click.NoSuchOption(given, ctx=ctx)
        return given


MESSAGE = MessageName()
NEGATIVE = {"ignore_unknown_options": True}
"""For commands with messages, so that -1 is a number; MessageName refuses what is not one."""

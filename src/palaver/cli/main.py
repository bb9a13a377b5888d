"""The commands of `palaver`, thin: each imports what it needs when it is called.

`palaver --help` must answer at once, so nothing but Click is imported here.
"""

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import click

from palaver import __version__
from palaver.cli import exits

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the program and exit."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the program; the exit code."""
    _survive_encodings()
    try:
        code = cli.main(
            None if arguments is None else list(arguments),
            prog_name="palaver",
            standalone_mode=False,
        )
        sys.stdout.flush()
        return code if isinstance(code, int) else exits.OK
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return exits.INTERRUPTED
    except BrokenPipeError:
        return _nobody_reads()
    except Exception as error:  # noqa: BLE001 - the last place that can say it in one line
        return exits.report(error)


def _survive_encodings() -> None:
    """Characters that a terminal's encoding does not have become `?`; they never end a program."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")


def _nobody_reads() -> int:
    """As `head` does it: the rest goes nowhere, without a word."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    return exits.BROKEN_PIPE


Command = Callable[..., int]


def _with_service(command: Command) -> Command:
    """Options of commands that talk to a model."""
    for option in reversed(
        (
            click.option("-m", "--model", default="", help="provider:model, or offline."),
            click.option("-s", "--system", help="System prompt."),
            _db,
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


def _db(command: Any) -> Any:
    return click.option(
        "--db",
        metavar="PATH",
        help="Database file, or :memory: (default: palaver.db in PALAVER_HOME).",
    )(command)


def _json(command: Any) -> Any:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


_conversation = click.option(
    "-c", "--conversation", default="", metavar="ID|last", help="Continue a conversation."
)


class _Commands(click.Group):
    """Lists commands in the order in which people meet them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """As they were added."""
        return list(self.commands)


@click.group(cls=_Commands, context_settings=CONTEXT, epilog=exits.TOLD)
@click.version_option(__version__, "-V", "--version", prog_name="palaver")
def cli() -> None:
    """Long, tool-using conversations with language models that lose nothing."""


@cli.command()
@_with_service
@_conversation
@click.option("--new", is_flag=True, help="Begin a new conversation (the default).")
def chat(
    model: str,
    system: str | None,
    db: str | None,
    folders: tuple[str, ...],
    no_tools: bool,
    yes: bool,
    conversation: str,
    new: bool,
) -> int:
    """Talk to a model.

    On a terminal with streamed Markdown and slash commands; otherwise one turn per line of
    standard input, answers on standard output, notices on standard error.
    """
    if new and conversation:
        raise click.UsageError("--new and --conversation exclude each other.")
    from palaver.cli.chat import ChatOptions, run_chat
    from palaver.cli.opening import Wanted

    wanted = Wanted(db=db, model=model, system=system, tools=not no_tools, folders=folders)
    return run_chat(ChatOptions(wanted=wanted, conversation=conversation, allow=yes))


if __name__ == "__main__":
    main()

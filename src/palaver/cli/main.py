"""The commands of `palaver`, thin: each imports what it needs when it is called.

`palaver --help` must answer at once, so nothing but Click is imported here.
"""

import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from palaver import __version__
from palaver.cli import (
    branch_commands,
    care_commands,
    exits,
    keys_commands,
    outbox_commands,
    serve_commands,
    shell_commands,
    travel_commands,
    window_commands,
)
from palaver.cli.options import (
    conversation_argument,
    wanted_of,
    with_conversation,
    with_db,
    with_json,
    with_service,
)

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the program and exit."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the program; the exit code."""
    _survive_closed_streams()
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
        return _misused(error)
    except (click.Abort, KeyboardInterrupt):
        return exits.INTERRUPTED
    except (_NobodyReads, BrokenPipeError):
        _drop_output()
        return exits.BROKEN_PIPE
    except Exception as error:  # noqa: BLE001 - the last place that can say it in one line
        _drop_unwritable()
        return exits.report(error)


def _misused(error: click.ClickException) -> int:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        exits.say(error.format_message())
        return error.exit_code
    exits.say(f"palaver: {error.format_message()}")
    context = getattr(error, "ctx", None)
    if context is not None:
        exits.say(f"  `{context.command_path} --help` shows what there is.")
    return error.exit_code


def _survive_encodings() -> None:
    """Characters that a terminal's encoding does not have become `?`; they never end a program."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")


def _survive_closed_streams() -> None:
    """A stream that was closed (`>&-`) leads nowhere: no database file may get its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # the lowest free number is its own
            nowhere = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(nowhere, mode, encoding="utf-8"))


def _drop_unwritable() -> None:
    """What a full disk did not take would else be tried again, and told, when Python ends."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        _drop_output()


def _drop_output() -> None:
    """The rest goes nowhere, without a word, as `head` does it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)


class _NobodyReads(Exception):
    """Standard output is closed."""


class _Commands(click.Group):
    """Lists commands in the order in which people meet them."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. Click would answer a broken pipe with exit code 1."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise _NobodyReads from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        """As they were added."""
        return list(self.commands)


@click.group(cls=_Commands, context_settings=CONTEXT, epilog=exits.TOLD)
@click.version_option(__version__, "-V", "--version", prog_name="palaver")
def cli() -> None:
    """Long, tool-using conversations with language models that lose nothing."""


@cli.command()
@with_service
@with_conversation
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

    wanted = wanted_of(db=db, model=model, system=system, no_tools=no_tools, folders=folders)
    return run_chat(ChatOptions(wanted=wanted, conversation=conversation, allow=yes))


@cli.command()
@click.argument("prompt", required=False, default="")
@with_service
@with_conversation
@click.option("-a", "--attach", multiple=True, metavar="PATH", help="Send a file (repeatable).")
@click.option("--temperature", type=click.FloatRange(0, 2), help="Randomness, 0 to 2.")
@click.option("--max-tokens", type=click.IntRange(1), help="Tokens of the answer at most.")
@click.option("--schema", default="", metavar="FILE|JSON", help="JSON Schema of the answer.")
@click.option("--json", "as_json", is_flag=True, help="Print every event as a line of JSON.")
def ask(
    prompt: str,
    model: str,
    system: str | None,
    db: str | None,
    folders: tuple[str, ...],
    no_tools: bool,
    yes: bool,
    conversation: str,
    attach: tuple[str, ...],
    temperature: float | None,
    max_tokens: int | None,
    schema: str,
    as_json: bool,
) -> int:
    """Ask one question. Standard input is added to PROMPT, or is it.

    \b
    palaver ask 'what is 17*23?'
    git diff | palaver ask 'write a commit message'
    palaver ask --schema '{"type":"object", ...}' --json '...'
    """
    from palaver.cli.ask import AskOptions, run_ask

    settings = {"temperature": temperature, "max_tokens": max_tokens}
    options = AskOptions(
        wanted=wanted_of(db=db, model=model, system=system, no_tools=no_tools, folders=folders),
        prompt=prompt,
        conversation=conversation,
        attach=attach,
        schema=schema,
        settings={name: value for name, value in settings.items() if value is not None},
        as_json=as_json,
        allow=yes,
    )
    return run_ask(options)


@cli.command(name="open")
@click.argument("words", metavar="[WORD]...", nargs=-1)
@with_service
def open_(words: tuple[str, ...], yes: bool, **service: Any) -> int:
    """Choose a conversation, and go on with it in a chat.

    The list is searched as you type, titles first and then everything that was said. Without a
    terminal it is a numbered list.
    """
    from palaver.cli.chat import ChatOptions, run_chat
    from palaver.cli.choosing import choice

    chosen = choice(service["db"], " ".join(words))
    if chosen is None:
        return exits.FAILED
    return run_chat(ChatOptions(wanted=wanted_of(**service), conversation=chosen, allow=yes))


_limit = click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)


@cli.command(name="list")
@with_db
@with_json
@_limit
@click.option("--archived", is_flag=True, help="The archived ones.")
@click.option("--pick", is_flag=True, help="Choose one, searching as you type; print its id.")
def list_(db: str | None, as_json: bool, limit: int, archived: bool, pick: bool) -> int:
    """List conversations, the newest change first."""
    if pick:
        from palaver.cli.choosing import print_choice

        return print_choice(db)
    from palaver.cli import inspection

    return inspection.list_conversations(db, limit=limit, archived=archived, as_json=as_json)


@cli.command()
@conversation_argument
@with_db
@with_json
@click.option("--full", is_flag=True, help="Tool calls with all their arguments and results.")
@click.option("--window", is_flag=True, help="What a model is sent: summaries with handles.")
def show(conversation: str, db: str | None, as_json: bool, full: bool, window: bool) -> int:
    """Show a whole conversation. An id may be cut to its beginning or end."""
    from palaver.cli import inspection

    return inspection.show(db, conversation, full=full, as_json=as_json, window=window)


@cli.command()
@click.argument("query", nargs=-1, required=True)
@with_db
@with_json
@_limit
@with_conversation
def search(
    query: tuple[str, ...], db: str | None, as_json: bool, limit: int, conversation: str
) -> int:
    """Find messages with all words of QUERY. Exit code 1 when there are none."""
    from palaver.cli import inspection

    return inspection.search(
        db, " ".join(query), conversation=conversation, limit=limit, as_json=as_json
    )


for each in (
    *branch_commands.COMMANDS,
    *travel_commands.COMMANDS,
    *care_commands.COMMANDS,
    *window_commands.COMMANDS,
    *outbox_commands.COMMANDS,
):
    cli.add_command(each)
for each in (serve_commands.serve, *keys_commands.COMMANDS):
    cli.add_command(each)


@cli.command()
@with_json
@click.option("--all", "every", is_flag=True, help="Hidden tools too.")
def tools(as_json: bool, every: bool) -> int:
    """List the tools that models are offered."""
    from palaver.cli import registry

    return registry.list_tools(every=every, as_json=as_json)


@cli.command()
@click.argument("filter_text", metavar="[FILTER]", default="")
@with_json
def models(filter_text: str, as_json: bool) -> int:
    """List known models with window, prices and whether a key is set."""
    from palaver.cli import registry

    return registry.list_models(filter_text, as_json=as_json)


@cli.command()
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False))
@click.option("--overwrite", is_flag=True, help="Replace FILE, once the copy is whole.")
@with_db
@with_json
def backup(file: str, overwrite: bool, db: str | None, as_json: bool) -> int:
    """Copy the database to FILE, while it may be in use, and check the copy.

    Attached files go to the folder FILE-blobs. A copy is a database like the other: `--db FILE`
    opens it.
    """
    from palaver.cli.keeping import run_backup

    return run_backup(db, file, overwrite=overwrite, as_json=as_json)


@cli.command()
@click.argument("file", metavar="[FILE]", default="")
@click.option("--repair", is_flag=True, help="Save what can be read of a damaged database.")
@with_db
@with_json
def doctor(file: str, repair: bool, db: str | None, as_json: bool) -> int:
    """Check what is configured, what is missing and how to mend it.

    With --repair, what can be read of the database FILE (default: the one that is used) goes into a
    new file, which takes its place. A copy of the damaged file is kept, and what is lost is said;
    the exit code is 1 then.
    """
    if file and db:
        raise click.UsageError("FILE and --db exclude each other.")
    if repair:
        from palaver.cli.keeping import run_repair

        return run_repair(file or db, as_json=as_json)
    from palaver.cli.doctor import run_doctor

    return run_doctor(file or db, as_json=as_json)


for each in shell_commands.COMMANDS:
    cli.add_command(each)


if __name__ == "__main__":
    main()

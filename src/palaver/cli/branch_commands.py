"""The commands that make branches and move between them, as Click sees them."""

from typing import Any

import click

from palaver.cli.options import (
    MESSAGE,
    NEGATIVE,
    conversation_argument,
    wanted_of,
    with_db,
    with_json,
    with_service,
)

_events = click.option(
    "--json", "as_json", is_flag=True, help="Print every event as a line of JSON."
)


@click.command()
@conversation_argument
@click.option("--at", type=MESSAGE, default="", metavar="MSG", help="The last message to share.")
@with_db
def fork(conversation: str, at: str, db: str | None) -> int:
    """Begin a conversation that shares this one's history.

    Its id is printed; nothing is copied. MSG is a number as `palaver show` prints it (-1 is the
    last), a message's id, or the end of one.
    """
    from palaver.cli import history

    return history.fork(db, conversation, at=at)


@click.command()
@conversation_argument
@with_db
def undo(conversation: str, db: str | None) -> int:
    """Go back before the last question. What is left behind stays as a branch."""
    from palaver.cli import history

    return history.undo(db, conversation)


@click.command()
@conversation_argument
@with_db
def redo(conversation: str, db: str | None) -> int:
    """Take the last undo back."""
    from palaver.cli import history

    return history.redo(db, conversation)


@click.command(context_settings=NEGATIVE)
@conversation_argument
@click.argument("message", metavar="MSG", type=MESSAGE)
@click.argument("text", metavar="[TEXT]", default="")
@with_service
@_events
def edit(
    conversation: str, message: str, text: str, as_json: bool, yes: bool, **service: Any
) -> int:
    """Say something else in place of an earlier question.

    The new answer is printed. The old question and what followed stay as a branch; attached files
    come along. Without TEXT, or with `-`, standard input is it.
    """
    from palaver.cli import history
    from palaver.cli.ask import AskOptions

    options = AskOptions(wanted_of(**service), text, conversation, as_json=as_json, allow=yes)
    return history.edit(options, message)


@click.command(context_settings=NEGATIVE)
@conversation_argument
@click.argument("message", metavar="[MSG]", type=MESSAGE, default="")
@with_service
@_events
def retry(conversation: str, message: str, as_json: bool, yes: bool, **service: Any) -> int:
    """Answer a question again.

    The last one, unless MSG names another; by another model where `--model` says so.
    The old answer stays as a branch.
    """
    from palaver.cli import history
    from palaver.cli.ask import AskOptions

    options = AskOptions(
        wanted_of(**service), conversation=conversation, as_json=as_json, allow=yes
    )
    return history.retry(options, message)


@click.command()
@conversation_argument
@click.option(
    "--switch",
    default="",
    metavar="BRANCH",
    help="Go on with the branch of this number, or on which this message lies.",
)
@with_db
@with_json
def branches(conversation: str, switch: str, db: str | None, as_json: bool) -> int:
    """Show the branches of a conversation as a tree.

    `*` marks where it stands, and `[n]` is the number of a branch.
    """
    from palaver.cli import history

    return history.branches(db, conversation, switch=switch, as_json=as_json)


COMMANDS = (fork, undo, redo, edit, retry, branches)

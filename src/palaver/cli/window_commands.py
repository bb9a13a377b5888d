"""The commands about a conversation's window, as Click sees them."""

import click

from palaver.cli.options import conversation_argument, models, with_db, with_json


@click.command()
@conversation_argument
@with_db
@with_json
def context(conversation: str, db: str | None, as_json: bool) -> int:
    """Show what fills a conversation's window, and what would go next."""
    from palaver.cli import window

    return window.context(db, conversation, as_json=as_json)


@click.command()
@conversation_argument
@click.option("--preview", is_flag=True, help="Only show what would be done.")
@click.option("--undo", is_flag=True, help="Take the newest compaction back.")
@click.option("--strategy", default="", metavar="NAME", help="How to summarise (default: auto).")
@click.option("--instructions", default="", metavar="TEXT", help="What to keep or drop.")
@click.option(
    "-m",
    "--model",
    default="",
    shell_complete=models,
    help="Who writes the summary; offline: nobody.",
)
@with_db
@with_json
def compact(
    conversation: str,
    preview: bool,
    undo: bool,
    strategy: str,
    instructions: str,
    model: str,
    db: str | None,
    as_json: bool,
) -> int:
    """Make a conversation's window smaller. No message is lost.

    A preview that a model wrote is paid for.
    """
    if undo and (preview or strategy or instructions):
        raise click.UsageError("--undo stands alone.")
    from palaver.cli import window

    if undo:
        return window.undo_compaction(db, conversation)
    wish = window.Wish(preview, strategy, instructions, model)
    return window.compact(db, conversation, wish, as_json=as_json)


@click.command()
@conversation_argument
@click.argument("handle", metavar="HANDLE")
@click.option("--into-window", is_flag=True, help="Put them back into the window.")
@with_db
def expand(conversation: str, handle: str, into_window: bool, db: str | None) -> int:
    """Print the originals that a summary stands for.

    HANDLE is one that a summary names, as m12, or a range, as m3-m9.
    """
    from palaver.cli import window

    return window.expand(db, conversation, handle, into_window=into_window)


COMMANDS = (context, compact, expand)

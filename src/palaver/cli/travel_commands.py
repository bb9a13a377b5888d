"""The commands that let conversations out and in, as Click sees them."""

import click

from palaver.cli.options import conversation_argument, with_db, with_json

FORMATS = ("md", "html", "jsonl", "openai")


@click.command()
@conversation_argument
@with_db
@click.option(
    "--format", "kind", type=click.Choice(FORMATS), help="Default: what FILE's name says, or md."
)
@click.option(
    "-o",
    "--output",
    default="",
    metavar="FILE",
    type=click.Path(allow_dash=True),
    help="Default: standard output.",
)
def export(conversation: str, db: str | None, kind: str | None, output: str) -> int:
    """Write a conversation to a file or to standard output.

    md is Markdown, html a page that stands alone, jsonl everything without loss (`palaver import`
    reads it), openai the messages in OpenAI's chat format.
    """
    from palaver.cli import travel

    return travel.export(db, conversation, kind=kind, output=output)


@click.command(name="import")
@click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, type=click.Path(allow_dash=True)
)
@click.option("--format", "kind", default="", metavar="NAME", help="When it is not found out.")
@with_db
@with_json
def import_(files: tuple[str, ...], kind: str, db: str | None, as_json: bool) -> int:
    """Take in conversations from elsewhere; `-` is standard input.

    Palaver's own JSON Lines, OpenAI's format, ChatGPT exports (the zip, or its
    conversations.json), sessions of coding agents. What providers would refuse is repaired, and
    told. A file that cannot be read does not keep the others out; the exit code is 1 then.
    """
    from palaver.cli import travel

    return travel.import_files(db, files, kind=kind, as_json=as_json)


COMMANDS = (export, import_)

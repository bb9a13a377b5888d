"""The commands that name, sort, mark and remove, as Click sees them."""

import click

from palaver.cli.options import (
    MESSAGE,
    NAMED,
    NEGATIVE,
    conversation_argument,
    conversations,
    with_db,
    with_json,
    with_sure,
)

_several = click.argument(
    "several", metavar=f"{NAMED}...", nargs=-1, required=True, shell_complete=conversations
)


@click.command()
@conversation_argument
@click.argument("text", metavar="[TEXT]", default="")
@click.option("--auto", is_flag=True, help="Make it of the first sentence.")
@click.option("--by-model", is_flag=True, help="Let the conversation's model make it.")
@with_db
def title(conversation: str, text: str, auto: bool, by_model: bool, db: str | None) -> int:
    """Show or set the title of a conversation."""
    if bool(text) + auto + by_model > 1:
        raise click.UsageError("TEXT, --auto and --by-model exclude each other.")
    from palaver.cli import care

    if by_model:
        return care.title_by_model(db, conversation)
    return care.title(db, conversation, text=text, auto=auto)


@click.command()
@conversation_argument
@click.argument("tags", metavar="[TAG]...", nargs=-1)
@click.option("--remove", is_flag=True, help="Take the tags away.")
@with_db
def tag(conversation: str, tags: tuple[str, ...], remove: bool, db: str | None) -> int:
    """Add tags to a conversation, and print the ones that it has."""
    from palaver.cli import care

    return care.tag(db, conversation, tags, remove=remove)


@click.command(context_settings=NEGATIVE)
@conversation_argument
@click.argument("messages", metavar="[MSG]...", type=MESSAGE, nargs=-1)
@click.option("--remove", is_flag=True, help="They are no longer important.")
@with_db
def pin(conversation: str, messages: tuple[str, ...], remove: bool, db: str | None) -> int:
    """Mark messages as important, or show the ones that are.

    MSG is a number as `palaver show` prints it (-1 is the last), a message's id, or the end of
    one. A conversation with pins is never purged.
    """
    from palaver.cli import care

    return care.pin(db, conversation, messages, remove=remove)


@click.command()
@_several
@click.option("--restore", is_flag=True, help="Put them back into the listing.")
@with_db
def archive(several: tuple[str, ...], restore: bool, db: str | None) -> int:
    """Take conversations out of the listing. `palaver list --archived` shows them."""
    from palaver.cli import care

    return care.archive(db, several, archived=not restore)


@click.command()
@_several
@with_db
@with_sure
def delete(several: tuple[str, ...], db: str | None, yes: bool) -> int:
    """Erase conversations for ever. Forks of them live on."""
    from palaver.cli import care

    return care.delete(db, several, sure=yes)


@click.command(context_settings=NEGATIVE)
@conversation_argument
@click.argument("message", metavar="MSG", type=MESSAGE)
@click.option("--note", default="", help="Why, for the receipt in the log.")
@with_db
@with_json
@with_sure
def redact(
    conversation: str, message: str, note: str, db: str | None, as_json: bool, yes: bool
) -> int:
    """Erase what one message says, everywhere and for ever.

    A receipt is printed. The conversation stays valid: `[redacted]` stands in the message's place.
    What its tools answered is a message of its own, MSG.results.
    """
    from palaver.cli import care

    return care.redact(db, conversation, message, note=note, sure=yes, as_json=as_json)


@click.command()
@click.option("--older-than", required=True, metavar="TIME", help="As 90d, 12h, 6w or 1y.")
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@with_db
@with_sure
def purge(older_than: str, dry_run: bool, db: str | None, yes: bool) -> int:
    """Delete conversations that were not changed for so long. Ones with pins stay.

    Attached files and tool outputs that nothing refers to any more go too.
    """
    from palaver.cli import care

    return care.purge(db, older_than=older_than, dry_run=dry_run, sure=yes)


COMMANDS = (title, tag, pin, archive, delete, redact, purge)

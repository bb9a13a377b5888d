"""The outbox at the command line and in a chat."""

from typing import TYPE_CHECKING

import click

from palaver.cli.options import with_db, with_json

if TYPE_CHECKING:
    from palaver.cli.screen import Screen
    from palaver.cli.session import ChatSession
    from palaver.streams.session import StreamSession


@click.command()
@click.argument("words", metavar="[send | edit PROMPT TEXT | withdraw PROMPT]", nargs=-1)
@with_db
@with_json
def outbox(words: tuple[str, ...], db: str | None, as_json: bool) -> int:
    """Show what waits until a model can be reached; change it, or send it.

    A chat keeps what is said while no model answers. Nothing is sent twice. PROMPT is the name
    that the listing shows, or the whole id. Exit code 1 when something waits on after `send`.
    """
    from palaver.cli.outbox import run_outbox

    return run_outbox(db, words, as_json=as_json)


async def slash_outbox(chat: "ChatSession", screen: "Screen", rest: str) -> "StreamSession | None":
    """`/outbox [send | edit PROMPT TEXT | withdraw PROMPT]`."""
    from palaver.cli.outbox import prompt_id, prompts_text
    from palaver.cli.tables import terminal_width
    from palaver.domain.errors import InvalidInput

    conversation = chat.conversation
    if conversation is None or not conversation.outbox.prompts:
        screen.print("nothing waits to be sent")
        return None
    waiting = conversation.outbox
    match rest.split(maxsplit=2):
        case []:
            screen.print(prompts_text(waiting.prompts, width=terminal_width()))
        case ["send"]:
            return await waiting.send()
        case ["withdraw", name]:
            await waiting.withdraw(prompt_id(waiting.prompts, name))
            screen.print("withdrawn")
        case ["edit", name, text]:
            await waiting.edit(prompt_id(waiting.prompts, name), text)
            screen.print("changed")
        case _:
            raise InvalidInput("say /outbox, or with send, edit PROMPT TEXT, withdraw PROMPT")
    return None


COMMANDS = (outbox,)

"""The slash commands that make branches, move between them, and mark messages."""

import sys
from typing import TYPE_CHECKING

from palaver.cli.branch_tree import WHO, tree
from palaver.cli.moves import last_shared, pinned, preview, standing, undone
from palaver.cli.numbering import branch_named, message_named, numbered, ordered_leaves
from palaver.cli.screen import Screen
from palaver.cli.session import ChatSession
from palaver.cli.slash import Command
from palaver.cli.tables import terminal_width
from palaver.cli.transcript import transcript
from palaver.domain.errors import InvalidInput
from palaver.domain.messages import Message, Role
from palaver.domain.state import ConversationState
from palaver.service.branching import last_question, user_message as question_of_user

if TYPE_CHECKING:
    from palaver.service.conversation import Conversation
    from palaver.streams.session import StreamSession

OFFERED = 60
"""Messages that completion offers, the newest first."""


async def _begun(chat: ChatSession) -> "Conversation":
    if chat.conversation is None or not (
        chat.conversation.messages or chat.conversation.state.aside
    ):
        raise InvalidInput("nothing has been said yet")
    return chat.conversation


async def _fork(chat: ChatSession, screen: Screen, rest: str) -> None:
    source = await _begun(chat)
    made = await chat.manager.fork(source.id, at=last_shared(source.state, rest))
    await chat.open(made.id)
    screen.print(f"in a fork; /open {source.id[-8:]} goes back\n{standing(made.state)}")


async def _undo(chat: ChatSession, screen: Screen, rest: str) -> None:
    conversation = await _begun(chat)
    taken = await conversation.undo()
    screen.print(f"{undone(taken)}\n{standing(conversation.state)}; /redo goes forward again")


async def _redo(chat: ChatSession, screen: Screen, rest: str) -> None:
    conversation = await _begun(chat)
    await conversation.redo()
    screen.print(standing(conversation.state))


async def _edit(chat: ChatSession, screen: Screen, rest: str) -> None:
    state = (await _begun(chat)).state
    old = message_named(state, rest) if rest else last_question(state)
    chat.editing = question_of_user(state, old.id)
    chat.draft = old.text
    number = next((str(n) for n, message in numbered(state) if message.id == old.id), "")
    screen.print(f"the next message replaces {number or 'this one'}: {preview(old)}")


async def _retry(chat: ChatSession, screen: Screen, rest: str) -> "StreamSession":
    conversation = await _begun(chat)
    asked = message_named(conversation.state, rest).id if rest else None
    return await conversation.regenerate(asked)


async def _branch(chat: ChatSession, screen: Screen, rest: str) -> None:
    conversation = await _begun(chat)
    if rest:
        await conversation.switch(branch_named(conversation.state, rest))
        screen.print(standing(conversation.state))
        return
    unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    lines = tree(conversation.state, width=terminal_width(), unicode=unicode)
    if len(ordered_leaves(conversation.state)) > 1:
        lines.append("/branch NUMBER goes to another one")
    screen.print("\n".join(lines))


async def pin(chat: ChatSession, screen: Screen, rest: str) -> None:
    """Mark a message as important, or with `off` no longer; then list the ones that are."""
    conversation = await _begun(chat)
    name = rest.removeprefix("off ").strip()
    if name:
        found = message_named(conversation.state, name)
        await conversation.pin(found.id, pinned=not rest.startswith("off "))
    lines = pinned(conversation.state)
    screen.print("\n".join(lines) if lines else "nothing is pinned; /pin -1 pins the last message")


async def _title(chat: ChatSession, screen: Screen, rest: str) -> None:
    conversation = await chat.current()
    match rest:
        case "":
            pass
        case "--auto":
            await conversation.name()
        case "--by-model":
            await conversation.name("model")
        case _:
            await conversation.set_title(rest)
    screen.print(f"title: {conversation.state.metadata.title or '(none)'}")


async def _show(chat: ChatSession, screen: Screen, rest: str) -> None:
    if rest not in ("", "full"):
        raise InvalidInput("say /show, or /show full")
    screen.print(transcript((await _begun(chat)).state, full=rest == "full"))


# Completion.


async def _titles(chat: ChatSession, given: str) -> list[tuple[str, str]]:
    return [("--auto", "of the first sentence"), ("--by-model", "the model makes it")]


async def _messages(chat: ChatSession, given: str) -> list[tuple[str, str]]:
    return _offered(chat, (Role.USER, Role.ASSISTANT, Role.SYSTEM))


async def _questions(chat: ChatSession, given: str) -> list[tuple[str, str]]:
    return _offered(chat, (Role.USER,))


def _offered(chat: ChatSession, roles: tuple[Role, ...]) -> list[tuple[str, str]]:
    if chat.conversation is None:
        return []
    found = [(n, m) for n, m in numbered(chat.conversation.state) if m.role in roles]
    return [(str(n), f"{WHO[m.role]}: {preview(m)}") for n, m in found[: -OFFERED - 1 : -1]]


async def _branches(chat: ChatSession, given: str) -> list[tuple[str, str]]:
    if chat.conversation is None:
        return []
    state = chat.conversation.state
    return [(str(n), _about(state, end)) for n, end in enumerate(ordered_leaves(state), 1)]


def _about(state: ConversationState, end: Message) -> str:
    here = "here: " if end == state.last else ""
    return f"{here}{WHO[end.role]}: {preview(end)}"


async def _shown(chat: ChatSession, given: str) -> list[tuple[str, str]]:
    return [("full", "tool calls whole")]


COMMANDS = (
    Command(
        "/show", "[full]", "this conversation, with the numbers of its messages", _show, _shown
    ),
    Command("/edit", "[message]", "say an earlier question otherwise", _edit, _questions),
    Command("/retry", "[message]", "answer the last question again", _retry, _messages),
    Command("/undo", "", "go back before the last question", _undo),
    Command("/redo", "", "take the last undo back", _redo),
    Command("/branch", "[branch]", "list the branches, or switch", _branch, _branches),
    Command("/fork", "[message]", "go on in a new conversation", _fork, _messages),
    Command("/pin", "[[off] message]", "mark as important, or list", pin, _messages),
    Command("/title", "[text]", "show or set the title", _title, _titles),
)

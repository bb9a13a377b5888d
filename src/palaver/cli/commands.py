"""What can be typed after a slash."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from palaver.cli import branch_slashes, offline_slashes, window_slashes
from palaver.cli.outbox_commands import slash_outbox
from palaver.cli.safe import one_line
from palaver.cli.screen import Screen
from palaver.cli.session import ChatSession, costs, expanded, window_of
from palaver.cli.slash import Command
from palaver.cli.tables import age, table, terminal_width
from palaver.cli.travel import format_of, write_new
from palaver.cli.words import dollars, tokens, used
from palaver.domain.errors import InvalidInput
from palaver.domain.messages import Flag, Role

if TYPE_CHECKING:
    from palaver.streams.session import StreamSession

LISTED = 15


def is_command(line: str) -> bool:
    """Whether a line is for us and not for the model. `//` begins a message with one slash."""
    word = line.split(maxsplit=1)[0] if line.strip() else ""
    name = word[1:].replace("-", "")
    return word.startswith("/") and name.isalpha() and name.isascii()


def as_message(line: str) -> str:
    """The message that a line stands for."""
    return line[1:] if line.startswith("//") else line


async def run_command(chat: ChatSession, screen: Screen, line: str) -> "StreamSession | None":
    """Carry out a slash command; the turn that it began, if it did.

    Raises PalaverError, InvalidInput for a command that does not exist.
    """
    name, _, rest = line.strip().partition(" ")
    command = COMMANDS.get(_ALIASES.get(name, name))
    if command is None:
        import difflib

        close = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.7)
        hint = f"Did you mean {close[0]}?" if close else "/help lists the commands."
        raise InvalidInput(f"there is no command {name}", hint=hint)
    return await command.run(chat, screen, rest.strip())


async def _help(chat: ChatSession, screen: Screen, rest: str) -> None:
    rows = [(f"{c.name} {c.hint}".strip(), c.what) for c in COMMANDS.values()]
    keys = (
        "Enter sends; Alt-Enter, Ctrl-J or a backslash at the end begin a new line.\n"
        "Ctrl-C stops an answer and keeps what came; Ctrl-D leaves. // sends a leading slash."
    )
    screen.print(table(("command", "what it does"), rows) + "\n\n" + keys)


async def _model(chat: ChatSession, screen: Screen, rest: str) -> None:
    if rest:
        conversation = await chat.current()
        await conversation.set_preferences(model=rest)
    window = window_of(chat.model)
    size = f", window {tokens(window)} tokens" if window else ""
    screen.print(f"model: {chat.model}{size}")


async def _tools(chat: ChatSession, screen: Screen, rest: str) -> None:
    tools = chat.manager.tools
    match rest.split():
        case []:
            rows = [
                (d.name, "on" if d.is_enabled else "off", d.effect, one_line(d.description, 60))
                for d in tools.definitions()
            ]
            screen.print(
                table(("tool", "", "effect", "what it does"), rows) if rows else "no tools"
            )
        case ["enable", name]:
            tools.enable(name)
            screen.print(f"{name} is on")
        case ["disable", name]:
            tools.disable(name)
            screen.print(f"{name} is off")
        case _:
            raise InvalidInput("say /tools, /tools enable NAME or /tools disable NAME")


async def _system(chat: ChatSession, screen: Screen, rest: str) -> None:
    if rest:
        conversation = await chat.current()
        await conversation.set_preferences(system=rest)
    conversation = await chat.current()
    screen.print(f"system: {conversation.state.preferences.system or '(none)'}")


async def _new(chat: ChatSession, screen: Screen, rest: str) -> None:
    await chat.begin(title=rest)
    screen.print("a new conversation")


async def _list(chat: ChatSession, screen: Screen, rest: str) -> None:
    screen.print(await _listing(chat))


async def _listing(chat: ChatSession) -> str:
    page = await chat.manager.list(limit=LISTED)
    chat.listed = [item.id for item in page.items]
    now = time.time()
    rows = [
        (
            str(number),
            item.id[-8:],
            age(now - item.updated_at),
            str(item.messages),
            item.metadata.title or item.preview,
        )
        for number, item in enumerate(page.items, 1)
    ]
    head = ("", "id", "changed", "messages", "title or last question")
    return table(head, rows, width=terminal_width() or 100) if rows else "no conversations yet"


async def _open(chat: ChatSession, screen: Screen, rest: str) -> None:
    chosen: str | None = rest
    if not rest and chat.pick is not None:
        chosen = await chat.pick()
    elif not rest:
        screen.print(f"{await _listing(chat)}\nsay /open with a number, an id, or last")
    if chosen:
        conversation = await chat.open(chat.named(chosen))
        screen.print(summary(conversation.messages, conversation.state.metadata.title))
        from palaver.cli.unfinished import unfinished

        for line in await unfinished(chat.manager, conversation.state):
            screen.notice(line)


def summary(messages: Sequence, title: str, *, last: int = 4) -> str:  # type: ignore[type-arg]
    """Where a conversation stands: its last messages, a line each."""
    who = {Role.USER: "you", Role.ASSISTANT: "model"}
    shown = [m for m in messages[-12:] if m.role in who and m.text.strip()][-last:]
    cut = [" (cut)" if Flag.PARTIAL in m.flags else "" for m in shown]
    lines = [
        f"  {who[m.role]}{mark}: {one_line(m.text, 80)}" for m, mark in zip(shown, cut, strict=True)
    ]
    name = f" “{title}”" if title else ""
    return "\n".join([f"continuing{name}, {len(messages)} messages", *lines])


async def _cost(chat: ChatSession, screen: Screen, rest: str) -> None:
    if chat.conversation is None:
        screen.print("nothing was spent yet")
        return
    rows, total = await costs(chat.manager, chat.conversation)
    shown = [
        (model, str(attempts), used(usage), dollars(cost))
        for model, (attempts, usage, cost) in rows.items()
    ]
    listing = table(("model", "requests", "tokens", "cost"), shown) if shown else ""
    screen.print(f"{listing}\ntotal {dollars(total)}".strip())


async def _export(chat: ChatSession, screen: Screen, rest: str) -> None:
    conversation = await chat.current()
    path = expanded(rest.strip("'\"")) if rest else Path(f"{conversation.id}.md")
    write_new(path, await chat.manager.export(conversation.id, format_of(path)))
    screen.print(f"written to {path}")


async def _attach(chat: ChatSession, screen: Screen, rest: str) -> None:
    if not rest:
        raise InvalidInput("say which file: /attach PATH")
    name = await chat.attach(rest.strip("'\""))
    screen.print(f"{name} goes with your next message")


async def _quit(chat: ChatSession, screen: Screen, rest: str) -> None:
    chat.is_over = True


async def _models_known(chat: ChatSession, given: str) -> list[tuple[str, str]]:
    return await asyncio.to_thread(_all_models)


def _all_models() -> list[tuple[str, str]]:
    from palaver.providers import catalogue

    return [
        (info.name, f"{tokens(info.window)} tokens" if info.window else "")
        for provider in ("anthropic", "openai", "offline")
        for info in catalogue.known(provider)
    ]


async def _tool_words(chat: ChatSession, given: str) -> list[tuple[str, str]]:
    words = given.split(" ")
    if len(words) < 2:
        return [("enable", "switch a tool on"), ("disable", "switch a tool off")]
    wants_enabled = words[0] == "disable"
    definitions = chat.manager.tools.definitions()
    return [
        (f"{words[0]} {d.name}", one_line(d.description, 50))
        for d in definitions
        if d.is_enabled is wants_enabled
    ]


async def _conversations(chat: ChatSession, given: str) -> list[tuple[str, str]]:
    page = await chat.manager.list(limit=50)
    shown = [(i.id[-8:], one_line(i.metadata.title or i.preview, 50)) for i in page.items]
    return [("last", "the newest"), *shown]


async def _paths(chat: ChatSession, given: str) -> list[tuple[str, str]]:
    return await asyncio.to_thread(_files_like, given)


def _files_like(given: str) -> list[tuple[str, str]]:
    head, _, name = given.rpartition("/")
    folder = Path(head + "/" if "/" in given else ".").expanduser()
    try:
        found = sorted(p for p in folder.iterdir() if p.name.startswith(name))[:50]
    except OSError:
        return []
    prefix = head + "/" if "/" in given else ""
    return [(f"{prefix}{p.name}{'/' if p.is_dir() else ''}", "") for p in found]


COMMANDS = {
    command.name: command
    for command in (
        Command("/help", "", "show this", _help),
        Command("/model", "[name]", "show or choose the model", _model, _models_known),
        Command("/tools", "[enable|disable name]", "list or switch tools", _tools, _tool_words),
        Command("/system", "[text]", "show or set the system prompt", _system),
        Command("/new", "[title]", "begin a new conversation", _new),
        Command("/list", "", "list conversations", _list),
        Command("/open", "[ID|last]", "choose a conversation to continue", _open, _conversations),
        Command("/cost", "", "what this conversation has cost", _cost),
        Command(
            "/export", "[file]", "write to a .md, .html, .jsonl or .json file", _export, _paths
        ),
        *branch_slashes.COMMANDS,
        *window_slashes.COMMANDS,
        Command(
            "/outbox",
            "[send | edit PROMPT TEXT | withdraw PROMPT]",
            "what waits until the model can be reached",
            slash_outbox,
        ),
        *offline_slashes.COMMANDS,
        Command("/attach", "PATH", "send a file with the next message", _attach, _paths),
        Command("/quit", "", "leave (Ctrl-D does too)", _quit),
    )
}
_ALIASES = {"/exit": "/quit", "/q": "/quit", "/?": "/help", "/h": "/help"}

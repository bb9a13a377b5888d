"""What can be typed after a slash."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec

from palaver.cli.export import exported, write_new
from palaver.cli.safe import one_line
from palaver.cli.screen import Screen
from palaver.cli.session import ChatSession, costs, window_of
from palaver.cli.tables import age, table, terminal_width
from palaver.cli.words import dollars, tokens, used
from palaver.domain.errors import InvalidInput
from palaver.domain.messages import Flag, Role

Run = Callable[[ChatSession, Screen, str], Awaitable[None]]
Choices = Callable[[ChatSession, str], Awaitable[Sequence[tuple[str, str]]]]
"""What may follow the command, each with a word about it."""
LISTED = 15


class Command(msgspec.Struct, frozen=True):
    """A slash command."""

    name: str
    hint: str
    what: str
    run: Run
    choices: Choices | None = None


def is_command(line: str) -> bool:
    """Whether a line is for us and not for the model. `//` begins a message with one slash."""
    word = line.split(maxsplit=1)[0] if line.strip() else ""
    return word.startswith("/") and word[1:].isalpha() and word.isascii()


def as_message(line: str) -> str:
    """The message that a line stands for."""
    return line[1:] if line.startswith("//") else line


async def run_command(chat: ChatSession, screen: Screen, line: str) -> None:
    """Carry out a slash command. Raises PalaverError, InvalidInput for one that does not exist."""
    name, _, rest = line.strip().partition(" ")
    command = COMMANDS.get(_ALIASES.get(name, name))
    if command is None:
        import difflib

        close = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.7)
        hint = f"Did you mean {close[0]}?" if close else "/help lists the commands."
        raise InvalidInput(f"there is no command {name}", hint=hint)
    await command.run(chat, screen, rest.strip())


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
    page = await chat.manager.list(limit=LISTED)
    now = time.time()
    rows = [
        (item.id[-8:], age(now - item.updated_at), str(item.messages), item.metadata.title
         or item.preview)
        for item in page.items
    ]  # fmt: skip
    head = ("id", "changed", "messages", "title or last question")
    screen.print(
        table(head, rows, width=terminal_width() or 100) if rows else "no conversations yet"
    )


async def _open(chat: ChatSession, screen: Screen, rest: str) -> None:
    if not rest:
        raise InvalidInput("say which: /open ID, or /open last", hint="/list shows the ids.")
    conversation = await chat.open(rest)
    screen.print(summary(conversation.messages, conversation.state.metadata.title))


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
    path = Path(rest or f"{conversation.id}.md")
    kind = "jsonl" if path.suffix == ".jsonl" else "md"
    write_new(path, await exported(chat.manager, conversation, kind))
    screen.print(f"written to {path}")


async def _title(chat: ChatSession, screen: Screen, rest: str) -> None:
    conversation = await chat.current()
    if rest:
        await conversation.set_title(rest)
    screen.print(f"title: {conversation.state.metadata.title or '(none)'}")


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
        Command("/open", "ID|last", "continue a conversation", _open, _conversations),
        Command("/cost", "", "what this conversation has cost", _cost),
        Command("/export", "[file.md|.jsonl]", "write the conversation to a file", _export, _paths),
        Command("/title", "[text]", "show or set the title", _title),
        Command("/attach", "PATH", "send a file with the next message", _attach, _paths),
        Command("/quit", "", "leave (Ctrl-D does too)", _quit),
    )
}
_ALIASES = {"/exit": "/quit", "/q": "/quit", "/?": "/help", "/h": "/help"}

"""Commands that look at what is stored: list, show, search, export, delete."""

import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from palaver.cli import exits
from palaver.cli.export import attached, exported
from palaver.cli.interrupts import run
from palaver.cli.opening import Opened, opened, reading
from palaver.cli.safe import safe
from palaver.cli.screen import write_bytes
from palaver.cli.tables import age, table, terminal_width
from palaver.cli.words import arguments_line, result_lines
from palaver.domain.errors import InvalidInput, NotFound
from palaver.domain.messages import (
    File,
    Flag,
    Image,
    Message,
    Reasoning,
    Role,
    ToolCall,
    ToolResult,
)

if TYPE_CHECKING:
    from palaver.service.conversation import Conversation

FOLDED = 120
"""Columns of a call and of its result, unless `--full`."""
WHO = {Role.USER: "You", Role.ASSISTANT: "Model", Role.SYSTEM: "System"}


def look(db: str | None, work: Callable[[Opened], Awaitable[int]]) -> int:
    """Open the store, do `work`, close; the exit code. A database that is named must be there."""
    if db and db != ":memory:" and not Path(db).exists():
        raise NotFound(f"there is no database {db}")  # and a misspelt one is not to be made

    async def program(_: object) -> int:
        async with opened(reading(db)) as service:
            return await work(service)

    return run(program)


def print_json(value: Any) -> None:
    """One value, indented, as UTF-8."""
    encoded = msgspec.json.format(msgspec.json.encode(value), indent=2)
    write_bytes(sys.stdout, encoded + b"\n")


def put(text: str) -> None:
    """Print text: safe on a terminal, as it is in a pipe."""
    print(safe(text) if sys.stdout.isatty() else text)  # noqa: T201 - this is the command line


# list


def list_conversations(db: str | None, *, limit: int, archived: bool, as_json: bool) -> int:
    """Print conversations, the newest change first."""

    async def work(service: Opened) -> int:
        page = await service.manager.list(limit=limit, archived=archived)
        if as_json:
            print_json(page.items)
            return exits.OK
        if not page.items:
            exits.say("no conversations yet; `palaver chat` begins one")
            return exits.OK
        width, now = terminal_width(), time.time()
        rows = [
            (
                item.id if width is None else item.id[-8:],
                age(now - item.updated_at),
                str(item.messages),
                item.metadata.title or item.preview,
            )
            for item in page.items
        ]
        put(table(("id", "changed", "messages", "title or last question"), rows, width=width))
        if page.cursor is not None:
            exits.say(f"there are more; --limit {limit * 2} shows them")
        return exits.OK

    return look(db, work)


# show


def show(db: str | None, name: str, *, full: bool, as_json: bool) -> int:
    """Print a whole conversation, through a pager on a terminal."""

    async def work(service: Opened) -> int:
        conversation = await service.manager.find(name)
        if as_json:
            print_json(_as_plain(conversation))
            return exits.OK
        if not sys.stdout.isatty():
            put(transcript(conversation, full=full))
            return exits.OK
        _page(transcript(conversation, full=full))
        return exits.OK

    return look(db, work)


def _as_plain(conversation: "Conversation") -> dict[str, Any]:
    state = conversation.state
    return {
        "id": state.id,
        "metadata": state.metadata,
        "preferences": state.preferences,
        "created_at": state.created_at,
        "updated_at": state.updated_at,
        "usage": state.usage,
        "messages": list(state.messages),
    }


def transcript(conversation: "Conversation", *, full: bool) -> str:
    """The conversation as text; calls with their results folded to a line unless `full`."""
    state = conversation.state
    began = time.strftime("%Y-%m-%d %H:%M", time.localtime(state.created_at))
    head = f"{state.metadata.title or 'Conversation'} ({state.id}, {began})"
    results = {(m.parent, r.call_id): r for m in state.messages for r in m.tool_results}
    said = (m for m in state.messages if m.role is not Role.TOOL)
    return "\n\n".join([head, *(_message(m, results, full=full) for m in said)])


def _message(message: Message, results: dict[tuple[Any, Any], ToolResult], *, full: bool) -> str:
    who = WHO[message.role]
    about = [message.model] if message.model else []
    about += ["cut"] if Flag.PARTIAL in message.flags else []
    lines = [f"── {who}" + (f" ({', '.join(about)})" if about else "")]
    for block in message.content:
        match block:
            case ToolCall():
                result = results.get((message.id, block.id))
                lines.append(_full_call(block, result) if full else _call(block, result))
            case Image() | File():
                lines.append(f"[{attached(block)}]")
            case Reasoning(text=text):
                lines += [f"  {line}" for line in text.split("\n")] if full and text else []
            case _:
                lines.append(getattr(block, "text", ""))
    return "\n".join(line for line in lines if line)


def _call(call: ToolCall, result: ToolResult | None) -> str:
    told = "(no result)"
    if result is not None:
        [told] = result_lines(result, width=FOLDED, lines=1)[:1]
        told = f"failed: {told}" if result.failed else told
    return f"· {call.name} {arguments_line(call.arguments, FOLDED)} → {told}"


def _full_call(call: ToolCall, result: ToolResult | None) -> str:
    told = "(no result)" if result is None else result.text
    return f"· {call.name} {call.arguments}\n→ {told}"


def _page(text: str) -> None:
    import os

    import click

    os.environ.setdefault("LESS", "FRX")
    click.echo_via_pager(safe(text) + "\n", color=False)


# search


def search(db: str | None, query: str, *, conversation: str, limit: int, as_json: bool) -> int:
    """Print messages that match, the best first. Exit code 1 when there are none."""

    async def work(service: Opened) -> int:
        within = (await service.manager.find(conversation)).id if conversation else None
        hits = await service.manager.search(query, conversation=within, limit=limit)
        if as_json:
            print_json(hits)
        elif not hits:
            exits.say("nothing found")
        else:
            for hit in hits:
                title = f"  {hit.title}" if hit.title else ""
                put(f"{hit.conversation}  {WHO.get(Role(hit.role), hit.role).lower()}{title}")
                _put_marked(hit.snippet, hit.spans)
        return exits.OK if hits else exits.FAILED

    return look(db, work)


def _put_marked(snippet: str, spans: tuple[tuple[int, int], ...]) -> None:
    import os

    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    on, off = ("\x1b[1;33m", "\x1b[0m") if colour else ("", "")
    pieces, at = [], 0
    for begin, end in spans:
        pieces += [_flat(snippet[at:begin]), on, _flat(snippet[begin:end]), off]
        at = end
    pieces.append(_flat(snippet[at:]))
    print("  " + "".join(pieces))  # noqa: T201 - this is the command line


def _flat(text: str) -> str:
    return safe(text).replace("\n", " ")


# export, delete


def export(db: str | None, name: str, *, kind: str, output: str) -> int:
    """Write a conversation as Markdown or JSON Lines to a file or to standard output."""

    async def work(service: Opened) -> int:
        conversation = await service.manager.find(name)
        text = await exported(service.manager, conversation, kind)
        if output in ("", "-"):
            write_bytes(sys.stdout, text.encode("utf-8", "replace"))
        else:
            _write(Path(output), text)
        return exits.OK

    return look(db, work)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise InvalidInput(f"cannot write {path}: {error.strerror or error}") from error


def delete(db: str | None, name: str, *, sure: bool) -> int:
    """Erase a conversation, after asking."""

    async def work(service: Opened) -> int:
        conversation = await service.manager.find(name)
        state = conversation.state
        if not sure:
            if not sys.stdin.isatty():
                raise InvalidInput("deleting needs --yes where nobody can be asked")
            import click

            named = safe(state.metadata.title or state.id)
            question = f"Delete {named} with {len(state.messages)} messages for ever?"
            if not click.confirm(question, err=True):
                return exits.FAILED
        await service.manager.delete(conversation.id)
        exits.say(f"deleted {conversation.id}")
        return exits.OK

    return look(db, work)

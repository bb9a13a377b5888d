"""Commands that look at what is stored: list, show, search."""

import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from palaver.cli import exits
from palaver.cli.interrupts import run
from palaver.cli.opening import Opened, Wanted, opened, reading
from palaver.cli.safe import safe
from palaver.cli.screen import write_bytes
from palaver.cli.tables import age, table, terminal_width
from palaver.cli.transcript import WHO, transcript
from palaver.domain.errors import NotFound
from palaver.domain.messages import Role

if TYPE_CHECKING:
    from palaver.service.conversation import Conversation
    from palaver.store.base import ConversationSummary


def look(
    db: str | None,
    work: Callable[[Opened], Awaitable[int]],
    *,
    wanted: Wanted | None = None,
    makes: bool = False,
) -> int:
    """Open the store, do `work`, close; the exit code.

    A database that is named must be there, unless the command `makes` it. `wanted`: what to open,
    where it is more than reading takes.
    """
    if not makes and db and db != ":memory:" and not Path(db).exists():
        raise NotFound(f"there is no database {db}")  # and a misspelt one is not to be made

    async def program(_: object) -> int:
        async with opened(wanted or reading(db)) as service:
            for line in service.notices:
                exits.say(line)
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
                about(item),
            )
            for item in page.items
        ]
        put(table(("id", "changed", "messages", "title or last question"), rows, width=width))
        if page.cursor is not None:
            exits.say(f"there are more; --limit {limit * 2} shows them")
        return exits.OK

    return look(db, work)


def about(item: "ConversationSummary") -> str:
    """Title or last question, whether a turn is open, and the tags."""
    unfinished = ["(unfinished)"] if item.is_open else []
    tags = (f"#{tag}" for tag in item.metadata.tags)
    return " ".join([item.metadata.title or item.preview, *unfinished, *tags])


# show


def show(db: str | None, name: str, *, full: bool, as_json: bool, window: bool = False) -> int:
    """Print a whole conversation, through a pager on a terminal; with `window` what a model is sent
    of it."""

    async def work(service: Opened) -> int:
        conversation = await service.manager.find(name)
        if as_json:
            print_json(_as_plain(conversation))
            return exits.OK
        if window:
            from palaver.cli.window_text import window_text

            text = window_text(conversation.state)
        else:
            from palaver.cli.unfinished import unfinished

            text = transcript(conversation.state, full=full)
            told = await unfinished(service.manager, conversation.state)
            text += "\n\n" * bool(told) + "\n".join(f"! {line}" for line in told)
        if sys.stdout.isatty():
            _page(text)
        else:
            put(text)
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

"""`palaver open` and `palaver list --pick`: a person chooses a conversation."""

import os
import sys
import time
from typing import TYPE_CHECKING

from palaver.cli import exits
from palaver.cli.inspection import about, look, put
from palaver.cli.opening import Opened
from palaver.cli.tables import age, table
from palaver.domain.errors import InvalidInput
from palaver.domain.ids import ConversationId

if TYPE_CHECKING:
    from palaver.service.manager import ConversationManager

LISTED = 20


def print_choice(db: str | None) -> int:
    """Print the id of the conversation that a person chooses; exit code 1 for none."""
    chosen = choice(db, "")
    if chosen is None:
        return exits.FAILED
    put(chosen)
    return exits.OK


def choice(db: str | None, query: str) -> ConversationId | None:
    """The conversation that a person chooses, None when they leave."""
    found: list[ConversationId] = []

    async def work(service: Opened) -> int:
        chosen = await _choose(service.manager, query)
        found.extend([] if chosen is None else [chosen])
        return exits.OK

    look(db, work)
    return found[0] if found else None


async def _choose(manager: "ConversationManager", query: str) -> ConversationId | None:
    if _can_pick():
        from palaver.cli.picker import pick

        return await pick(manager, query=query)
    return await _from_list(manager, query)


def _can_pick() -> bool:
    capable = os.environ.get("TERM", "") not in ("", "dumb") or sys.platform == "win32"
    return capable and sys.stdin.isatty() and (sys.stdout.isatty() or sys.stderr.isatty())


async def _from_list(manager: "ConversationManager", query: str) -> ConversationId | None:
    """A numbered list, and a number from standard input."""
    from palaver.cli.lines import Lines

    items = (await manager.list(limit=LISTED)).items
    if query:
        hits = [hit.conversation for hit in await manager.search(query, limit=LISTED)]
        words = query.casefold().split()
        items = tuple(
            i for i in items if i.id in hits or all(w in about(i).casefold() for w in words)
        )
    if not items:
        exits.say("nothing found" if query else "no conversations yet")
        return None
    now = time.time()
    rows = [(str(n), i.id[-8:], age(now - i.updated_at), about(i)) for n, i in enumerate(items, 1)]
    exits.say(table(("", "id", "changed", "title or last question"), rows, width=100))
    sys.stderr.write("which number? ")
    sys.stderr.flush()
    answer = (await Lines().next() or "").strip()
    if not answer:
        return None
    if not answer.isdigit() or not 0 < int(answer) <= len(items):
        raise InvalidInput(f"{answer!r} is not in the list")
    return items[int(answer) - 1].id

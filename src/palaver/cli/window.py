"""Commands about a conversation's window: look at it, make it smaller, look behind a summary."""

import msgspec

from palaver.cli import exits
from palaver.cli.inspection import look, print_json, put
from palaver.cli.opening import Opened, Wanted
from palaver.cli.tables import terminal_width
from palaver.cli.window_text import brief, context_text, messages_text, report_text


class Wish(msgspec.Struct, frozen=True):
    """What the options of `palaver compact` say."""

    preview: bool = False
    strategy: str = ""
    instructions: str = ""
    model: str = ""


def context(db: str | None, name: str, *, as_json: bool) -> int:
    """Print what fills the window."""

    async def work(service: Opened) -> int:
        conversation = await service.manager.find(name)
        report = await conversation.context()
        if as_json:
            print_json(report)
        else:
            put(context_text(report, width=terminal_width()))
        return exits.OK

    return look(db, work, wanted=Wanted(db))


def compact(db: str | None, name: str, wish: Wish, *, as_json: bool) -> int:
    """Make the window smaller, or show what that would do."""

    async def work(service: Opened) -> int:
        conversation = await service.manager.find(name)
        do = conversation.preview_compaction if wish.preview else conversation.compact
        report = await do(
            strategy=wish.strategy,
            instructions=wish.instructions,
            by_model=wish.model != "offline",
        )
        if as_json:
            print_json(report.compaction)
        else:
            put(report_text(report, is_preview=wish.preview))
        return exits.OK

    return look(db, work, wanted=Wanted(db, summary_model=wish.model))


def undo_compaction(db: str | None, name: str) -> int:
    """Take the newest compaction back."""

    async def work(service: Opened) -> int:
        conversation = await service.manager.find(name)
        undone = await conversation.undo_compaction()
        put(f"undone: {brief(undone)}")
        return exits.OK

    return look(db, work)


def expand(db: str | None, name: str, handle: str, *, into_window: bool) -> int:
    """Print originals, and put them back where that is wanted."""
    from palaver.context.expanding import positions

    async def work(service: Opened) -> int:
        conversation = await service.manager.find(name)
        found = conversation.originals(handle)
        if into_window:
            await conversation.expand(handle)
        put(messages_text(found, positions(conversation.messages, handle).start))
        return exits.OK

    return look(db, work)

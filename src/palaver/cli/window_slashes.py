"""Slash commands about the conversation's window."""

from typing import TYPE_CHECKING

from palaver.cli.screen import Screen
from palaver.cli.session import ChatSession, plus
from palaver.cli.slash import Command
from palaver.cli.tables import terminal_width
from palaver.cli.window_text import brief, context_text, messages_text, report_text
from palaver.domain.errors import InvalidInput

if TYPE_CHECKING:
    from palaver.service.compacting import CompactionReport
    from palaver.service.conversation import Conversation


async def _begun(chat: ChatSession) -> "Conversation":
    if chat.conversation is None or not chat.conversation.messages:
        raise InvalidInput("nothing has been said yet")
    return chat.conversation


async def _context(chat: ChatSession, screen: Screen, rest: str) -> None:
    report = await (await _begun(chat)).context()
    screen.print(context_text(report, width=terminal_width()))


async def _compact(chat: ChatSession, screen: Screen, rest: str) -> None:
    conversation = await _begun(chat)
    word, _, told = rest.partition(" ")
    if word == "preview":
        report = await conversation.preview_compaction(instructions=told.strip())
        chat.cost = plus(chat.cost, report.cost_usd)
        chat.previewed = report
        screen.print(report_text(report, is_preview=True) + "\n/compact does it")
        return
    report = await _compacted(chat, conversation, rest)
    screen.print(report_text(report, is_preview=False) + "\n/undo-compaction takes it back")


async def _compacted(
    chat: ChatSession, conversation: "Conversation", told: str
) -> "CompactionReport":
    """What was previewed, where it still holds and nothing else is asked for."""
    previewed, chat.previewed = chat.previewed, None
    if previewed is not None and not told:
        try:
            return await conversation.compact(preview=previewed)
        except InvalidInput:  # the conversation has gone on: it is made anew
            pass
    report = await conversation.compact(instructions=told)
    chat.cost = plus(chat.cost, report.cost_usd)
    return report


async def _undo(chat: ChatSession, screen: Screen, rest: str) -> None:
    undone = await (await _begun(chat)).undo_compaction()
    screen.print(f"undone: {brief(undone)}")


async def _expand(chat: ChatSession, screen: Screen, rest: str) -> None:
    from palaver.context.expanding import positions

    conversation = await _begun(chat)
    is_back = rest.startswith("back ")
    name = rest.removeprefix("back ").strip()
    if not name:
        raise InvalidInput("say which: /expand m12, /expand m3-m9, /expand back m12")
    found = conversation.originals(name)
    if is_back:
        await conversation.expand(name)
    screen.print(messages_text(found, positions(conversation.messages, name).start))


async def _unpin(chat: ChatSession, screen: Screen, rest: str) -> None:
    from palaver.cli.branch_slashes import pin

    if not rest:
        raise InvalidInput("say which: /unpin MESSAGE; /pin lists them")
    await pin(chat, screen, f"off {rest}")


async def _previews(chat: ChatSession, given: str) -> list[tuple[str, str]]:
    return [("preview", "only show what would be done")]


COMMANDS = (
    Command("/context", "", "what fills the window, and what would go next", _context),
    Command("/compact", "[preview] [what to keep]", "make the window smaller", _compact, _previews),
    Command("/undo-compaction", "", "take the newest compaction back", _undo),
    Command("/expand", "[back] HANDLE", "the originals behind a summary: m12, m3-m9", _expand),
    Command("/unpin", "message", "no longer important", _unpin),
)

"""What a person means by fork, edit and undo, and what is said about it afterwards."""

from palaver.cli.numbering import message_named, numbered, ordered_leaves
from palaver.cli.safe import one_line
from palaver.domain.ids import MessageId
from palaver.domain.messages import Block, File, Image, Message, Text
from palaver.domain.state import ConversationState, tool_message_id
from palaver.service.branching import everywhere

PREVIEW = 60


def last_shared(state: ConversationState, name: str) -> MessageId | None:
    """The last message of a fork at the one that `name` means: the results of its calls belong to
    it. None for no name. Raises NotFound and InvalidInput."""
    if not name:
        return None
    message = message_named(state, name)
    results = tool_message_id(message.id)
    has_results = any(each.id == results for each in everywhere(state))
    return results if has_results else message.id


def instead_of(old: Message, text: str) -> tuple[Block, ...]:
    """A question with other words and the same attachments."""
    return (*(block for block in old.content if isinstance(block, Image | File)), Text(text))


def undone(message: Message) -> str:
    """What an undo took back."""
    return f"taken back: {preview(message)}"


def standing(state: ConversationState) -> str:
    """Where a conversation stands, in a line."""
    last = next((m for m in reversed(state.messages) if m.text.strip()), None)
    if last is None:
        return "now before the first message"
    ends = ordered_leaves(state)
    here = next((i for i, end in enumerate(ends, 1) if end == state.last), 0)
    where = f"now on branch {here} of {len(ends)}" if here and len(ends) > 1 else "now"
    return f"{where}: {preview(last)}"


def pinned(state: ConversationState) -> list[str]:
    """The pinned messages, a line each."""
    numbers: dict[MessageId, int] = {message.id: n for n, message in numbered(state)}
    by_id = {message.id: message for message in everywhere(state) if message.id in state.pins}
    return [
        f"{numbers.get(id, '(another branch)')}  {by_id[id].role}: {preview(by_id[id])}"
        for id in state.pins
        if id in by_id
    ]


def preview(message: Message) -> str:
    """The beginning of what a message says."""
    calls = ", ".join(f"[{call.name}]" for call in message.tool_calls)
    return one_line(message.text.strip() or calls or "(no text)", PREVIEW)

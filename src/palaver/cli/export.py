"""A conversation as a file: Markdown for people, JSON Lines of its facts for programs."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from palaver.domain.errors import InvalidInput
from palaver.domain.messages import (
    Block,
    File,
    Flag,
    Image,
    Message,
    Reasoning,
    Role,
    ToolCall,
    ToolResult,
)
from palaver.domain.state import ConversationState
from palaver.domain.values import Scope

if TYPE_CHECKING:
    from palaver.service.conversation import Conversation
    from palaver.service.manager import ConversationManager

NAMES = {Role.USER: "You", Role.ASSISTANT: "Assistant", Role.SYSTEM: "System", Role.TOOL: "Tools"}


def as_markdown(state: ConversationState) -> str:
    """The whole conversation to read: every message, every call with its result."""
    parts = [f"# {state.metadata.title or state.id}"]
    if state.preferences.system:
        parts.append(f"*System:* {state.preferences.system}")
    parts += [_message(message) for message in state.messages]
    return "\n\n".join(parts) + "\n"


def _message(message: Message) -> str:
    head = f"## {NAMES[message.role]}"
    if message.model:
        head += f" ({message.model})"
    if Flag.PARTIAL in message.flags:
        head += " — cut"
    blocks = (_block(block) for block in message.content)
    return "\n\n".join([head, *(text for text in blocks if text.strip())])


def _block(block: Block) -> str:
    match block:
        case Reasoning(text=text):
            return "\n".join(f"> {line}" for line in text.split("\n")) if text else ""
        case ToolCall(name=name, arguments=arguments):
            return f"**{name}**\n\n{fenced(arguments, 'json')}"
        case ToolResult(name=name):
            failed = " failed" if block.failed else ""
            return f"**{name}**{failed}\n\n{fenced(block.text)}"
        case Image() | File():
            return f"[{attached(block)}]"
        case _:
            return getattr(block, "text", "") or f"[{block.__struct_config__.tag}]"


def attached(block: Image | File) -> str:
    """What an attachment is called."""
    return block.name or block.url or str(block.blob or "")


def fenced(text: str, language: str = "") -> str:
    """`text` as a code block, whatever it holds."""
    longest = max((len(run) for run in _runs(text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _runs(text: str) -> Sequence[str]:
    import re

    return re.findall("`+", text)


async def as_lines(manager: "ConversationManager", conversation: "Conversation") -> str:
    """Every fact of the log as one line of JSON."""
    from palaver import codec

    facts = await manager.store.read(Scope(), conversation.id)
    return "".join(codec.encode_recorded(fact).decode() + "\n" for fact in facts)


async def exported(manager: "ConversationManager", conversation: "Conversation", kind: str) -> str:
    """The conversation as `md` or `jsonl`."""
    if kind == "jsonl":
        return await as_lines(manager, conversation)
    return as_markdown(conversation.state)


def write_new(path: Path, text: str) -> None:
    """Write a file that was not there. Raises InvalidInput when it is, or cannot be written."""
    try:
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except FileExistsError as error:
        raise InvalidInput(f"{path} exists already", hint="Choose another name.") from error
    except OSError as error:
        raise InvalidInput(f"cannot write {path}: {error.strerror or error}") from error

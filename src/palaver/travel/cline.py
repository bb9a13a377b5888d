"""Tasks of cline and of its relatives: messages of the Messages API in one list.

Newer files wrap the list in an object with the system prompt; older ones are the bare list. When
cline compacts, it writes a summary into the first messages; it is kept like anything that was said.
"""

from collections.abc import Iterator
from typing import Any

from palaver.domain.messages import Message, Role
from palaver.travel.base import Imported, RepairKind
from palaver.travel.content import blocks
from palaver.travel.draft import Draft
from palaver.travel.fields import obj, seconds, seq, string
from palaver.travel.source import Source

NAME = "cline"
_TYPED = frozenset(("text", "tool_use", "tool_result", "image", "thinking", "document", "file"))
_OWN = frozenset(("tool_use", "tool_result", "thinking"))
_ROLES = {"user": Role.USER, "assistant": Role.ASSISTANT, "system": Role.SYSTEM}


def sniff(source: Source) -> bool:
    """Whether a list of messages has blocks of the Messages API."""
    messages = _messages(source)
    if not messages or not all("role" in obj(message) for message in messages[:5]):
        return False
    kinds = {
        string(obj(part).get("type")) for m in messages[:50] for part in seq(obj(m).get("content"))
    }
    wrapped = bool({"agent", "system_prompt"} & set(source.object)) or any(
        "ts" in obj(message) for message in messages[:5]
    )
    return bool(kinds & _OWN) or (wrapped and bool(kinds & _TYPED))


def read(source: Source) -> Iterator[Imported]:
    """The one conversation of the file."""
    draft = Draft(NAME)
    draft.system = string(source.object.get("system_prompt"))
    draft.keep(session=string(source.object.get("sessionId")))
    for number, value in enumerate(_messages(source)):
        message = obj(value)
        role = _ROLES.get(string(message.get("role")))
        if role is None:
            draft.note(RepairKind.UNKNOWN_RECORD, number, "a message of nobody")
            continue
        draft.since(seconds(message.get("ts")))
        draft.model = _model(message) or draft.model
        of = Message(role, (), model=draft.model if role is Role.ASSISTANT else "")
        draft.say(role, blocks(message.get("content"), draft), number, of=of)
    made = draft.finish()
    if made is not None:
        yield made


def _messages(source: Source) -> list[Any]:
    if isinstance(source.document, list):
        return source.document
    return seq(source.object.get("messages"))


def _model(message: dict[str, Any]) -> str:
    told = obj(message.get("modelInfo"))
    name = string(told.get("id")) or string(told.get("modelId"))
    return (
        f"{string(told.get('provider')) or string(told.get('providerId'))}:{name}" if name else ""
    )

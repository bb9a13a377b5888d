"""Open Assistant's trees: a prompt with replies, each with replies of its own.

The head is reached by taking the reply of the best rank each time. The flat form (one message in
each record, with `parent_id`) is read as well.
"""

from collections.abc import Iterator
from typing import Any

from palaver.domain.messages import Message, Role, Text
from palaver.travel.base import Imported, RepairKind
from palaver.travel.draft import Draft
from palaver.travel.fields import obj, seconds, seq, string
from palaver.travel.plain import ROLES
from palaver.travel.source import Source

NAME = "oasst"


def sniff(source: Source) -> bool:
    """Whether the first record is a tree, or a message of one."""
    return any(
        "message_tree_id" in fields and ("prompt" in fields or "parent_id" in fields)
        for fields in source.head[:1]
    )


def read(source: Source) -> Iterator[Imported]:
    """Every tree of the file."""
    loose: dict[str, list[dict[str, Any]]] = {}
    for record in source.records():
        fields = record.fields
        tree = string(fields.get("message_tree_id"))
        if "prompt" in fields:
            yield from _conversation(tree, obj(fields["prompt"]))
        elif "text" in fields:
            loose.setdefault(tree, []).append(fields)
    for tree, messages in loose.items():
        yield from _conversation(tree, _grown(messages))


def _grown(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """The first message, with replies put into each."""
    known = {string(m.get("message_id")): {**m, "replies": []} for m in messages}
    first: dict[str, Any] = {}
    for message in known.values():
        above = known.get(string(message.get("parent_id")))
        if above is not None and above is not message:
            above["replies"].append(message)
        elif not first:
            first = message
    return first


def _conversation(tree: str, prompt: dict[str, Any]) -> Iterator[Imported]:
    draft = Draft(NAME)
    draft.keep(source=tree, language=string(prompt.get("lang")))
    head = _best(prompt)
    waiting: list[tuple[dict[str, Any], int | None]] = [(prompt, None)]
    number, end = 0, None
    while waiting:
        message, draft.last = waiting.pop()
        place = draft.last
        role = ROLES.get(string(message.get("role")))
        if role in (Role.USER, Role.ASSISTANT):
            draft.since(seconds(message.get("created_date")))
            of = Message(role, (), model=_model(message))
            place = draft.say(role, (Text(string(message.get("text"))),), number, of=of)
        else:
            draft.note(RepairKind.UNKNOWN_RECORD, number, "a message of nobody")
        end = place if message is head else end
        waiting += [(obj(reply), place) for reply in reversed(_replies(message))]
        number += 1
    draft.last = end
    made = draft.finish()
    if made is not None:
        yield made


def _model(message: dict[str, Any]) -> str:
    name = string(message.get("model_name"))
    return f"oasst:{name}" if name and message.get("synthetic") is True else ""


def _best(message: dict[str, Any]) -> dict[str, Any]:
    while replies := _replies(message):
        message = obj(replies[0])
    return message


def _replies(message: dict[str, Any]) -> list[Any]:
    """The replies, best first; those without a rank stay in their order behind the others."""
    return sorted(
        (reply for reply in seq(message.get("replies")) if isinstance(reply, dict)),
        key=lambda reply: (
            reply["rank"] if isinstance(reply.get("rank"), int | float) else float("inf")
        ),
    )

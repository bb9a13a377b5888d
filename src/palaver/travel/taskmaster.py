"""Taskmaster dialogues: utterances with the calls of a service in their annotations.

The calls stand at the utterance after which they were made; so they are calls of the assistant
between this utterance and the next one.
"""

from collections.abc import Iterator
from typing import Any

from palaver.domain.ids import CallId
from palaver.domain.messages import Role, Text, ToolCall, ToolResult
from palaver.travel.base import Imported, RepairKind
from palaver.travel.draft import Draft
from palaver.travel.fields import arguments, name_of, obj, readable, seq, string
from palaver.travel.plain import ROLES
from palaver.travel.source import Source

NAME = "taskmaster"


def sniff(source: Source) -> bool:
    """Whether a record has utterances with a speaker."""
    return any(
        "speaker" in obj(utterance)
        for fields in source.head[:1]
        for utterance in seq(fields.get("utterances"))[:1]
    )


def read(source: Source) -> Iterator[Imported]:
    """Every dialogue of the file."""
    for record in source.records():
        fields = record.fields
        draft = Draft(NAME)
        draft.keep(
            source=name_of(fields.get("conversation_id")),
            scenario=string(fields.get("scenario")),
            vertical=string(fields.get("vertical")),
        )
        for number, utterance in enumerate(map(obj, seq(fields.get("utterances")))):
            role = ROLES.get(string(utterance.get("speaker")).lower())
            if role is None:
                draft.note(RepairKind.UNKNOWN_RECORD, number, "an utterance of nobody")
                continue
            draft.say(role, (Text(string(utterance.get("text"))),), number)
            _serve(draft, utterance, number)
        made = draft.finish()
        if made is not None:
            yield made


def _serve(draft: Draft, utterance: dict[str, Any], number: int) -> None:
    """The calls of an utterance, each with its response."""
    waiting: list[dict[str, Any]] = []
    asked: dict[str, ToolCall] = {}
    for place, note in enumerate(map(obj, seq(utterance.get("annotations")))):
        name, value = note.get("name"), note.get("value")
        if name == "api_call":
            waiting.append({"name": string(value), "place": place})
        elif name == "request" and waiting:
            call = waiting.pop(0)
            id = CallId(f"call_{number}_{call['place']}")
            made = ToolCall(id, call["name"], arguments(value))
            asked[string(note.get("context")).removeprefix("api_call_")] = made
            draft.say(Role.ASSISTANT, (made,), number)
        elif name == "response":
            key = string(note.get("context")).removeprefix("api_response_")
            found = asked.pop(key, None)
            if found is not None:
                result = ToolResult(found.id, found.name, (Text(readable(value)),))
                draft.say(Role.TOOL, (result,), number)

"""Dialogues of the tau benchmarks: an agent with tools serves a simulated person.

In some domains the person has tools too (`requestor: user`). The agent never sees those calls, so
they are kept as text of the person. Ids of calls repeat within a dialogue.
"""

from collections.abc import Iterator
from typing import Any

from palaver.domain.messages import Role, Text
from palaver.travel.base import Imported, RepairKind
from palaver.travel.draft import Draft
from palaver.travel.fields import name_of, obj, readable, seconds, seq, string
from palaver.travel.plain import ROLES, calls, say
from palaver.travel.source import Source

NAME = "tau"


def sniff(source: Source) -> bool:
    """Whether records are rewarded dialogues, or messages say who asked for a tool."""
    return any(_is_dialogue(fields) for fields in _dialogues(source, only_head=True))


def read(source: Source) -> Iterator[Imported]:
    """Every dialogue of the file."""
    shared = obj(source.object.get("info"))
    policy = string(obj(shared.get("environment_info")).get("policy"))
    for fields in _dialogues(source):
        dialogue = _Dialogue(fields)
        dialogue.draft.system = dialogue.draft.system or policy
        yield from dialogue.conversation()


def _dialogues(source: Source, *, only_head: bool = False) -> Iterator[dict[str, Any]]:
    if runs := seq(source.object.get("simulations")):
        yield from map(obj, runs[:1] if only_head else runs)
    elif only_head:
        yield from source.head[:1]
    else:
        yield from (record.fields for record in source.records())


def _is_dialogue(fields: dict[str, Any]) -> bool:
    messages = _messages(fields)
    if not messages or not all("role" in obj(message) for message in messages[:3]):
        return False
    ours = {"reward", "reward_info", "traj"} & set(fields)
    return bool(ours) or any("requestor" in obj(message) for message in messages)


def _messages(fields: dict[str, Any]) -> list[Any]:
    return seq(fields.get("messages")) or seq(fields.get("traj"))


class _Dialogue:
    def __init__(self, fields: dict[str, Any]) -> None:
        self.draft = Draft(NAME)
        self._messages = _messages(fields)
        self.draft.system = string(fields.get("policy"))
        self.draft.keep(
            source=name_of(fields.get("id")),
            task=name_of(fields.get("task")) or name_of(fields.get("task_id")),
            trial=name_of(fields.get("trial")),
        )
        self._asked: dict[str, str] = {}
        """Calls of the person that wait for their result, as text by id."""

    def conversation(self) -> Iterator[Imported]:
        for number, message in enumerate(map(obj, self._messages)):
            role = ROLES.get(string(message.get("role")))
            self.draft.since(seconds(message.get("timestamp")))
            if role is None:
                self.draft.note(RepairKind.UNKNOWN_RECORD, number, "a message of nobody")
            elif role is Role.SYSTEM and number == 0 and not self.draft.system:
                self.draft.system = readable(message.get("content"))
            elif role is Role.USER and message.get("tool_calls"):
                self._ask(message, number)
            elif role is Role.TOOL and message.get("requestor") == "user":
                self._told(message, number)
            else:
                say(self.draft, role, message, number)
        made = self.draft.finish()
        if made is not None:
            yield made

    def _ask(self, message: dict[str, Any], number: int) -> None:
        self.draft.note(RepairKind.MISPLACED, number, "calls of the person's own tools")
        said = readable(message.get("content"))
        if said.strip():
            self.draft.say(Role.USER, (Text(said),), number)
        for call in calls(message, number):
            self._asked[call.id] = f"[{call.name} {call.arguments}]"

    def _told(self, message: dict[str, Any], number: int) -> None:
        asked = self._asked.pop(name_of(message.get("id")), "[tool]")
        said = f"{asked}\n{readable(message.get('content'))}"
        self.draft.say(Role.USER, (Text(said),), number)

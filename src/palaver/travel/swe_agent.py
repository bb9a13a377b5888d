"""Trajectories of SWE-agent: a history of thoughts and commands, or the bare steps.

A command becomes a call with one argument, and the observation that follows its result, so that
the conversation can go on with tools. Newer histories have calls of OpenAI's shape already.
"""

from collections.abc import Iterator
from typing import Any

from palaver.domain.ids import CallId
from palaver.domain.messages import Block, Message, Role, Text, ToolCall, ToolResult
from palaver.travel.base import Imported, RepairKind
from palaver.travel.content import result_content
from palaver.travel.draft import Draft
from palaver.travel.fields import json_text, name_of, obj, readable, seq, string
from palaver.travel.plain import ROLES, calls, say
from palaver.travel.source import Source

NAME = "swe-agent"
TOOL = "run"
"""The tool that a bare command is a call of; its argument is `command`."""


def sniff(source: Source) -> bool:
    """Whether there are messages of an agent, or steps with a thought and an observation."""
    for fields in source.head[:1]:
        messages = [obj(message) for message in _messages(fields)[:12]]
        if any("role" in m and ("agent" in m or "thought" in m) for m in messages):
            return True
        steps = [obj(step) for step in seq(fields.get("trajectory"))[:3]]
        if any(
            "observation" in step and ("thought" in step or "response" in step) for step in steps
        ):
            return True
        if string(fields.get("trajectory_format")).startswith("mini-swe-agent"):
            return True
    return False


def read(source: Source) -> Iterator[Imported]:
    """Every trajectory of the file."""
    for record in source.records():
        fields = record.fields
        draft = Draft(NAME)
        info = obj(fields.get("info")) or fields
        draft.keep(
            source=name_of(fields.get("id")) or name_of(fields.get("instance_id")),
            exit_status=string(info.get("exit_status")),
        )
        if messages := _messages(fields):
            _history(draft, messages)
        else:
            _steps(draft, seq(fields.get("trajectory")))
        made = draft.finish()
        if made is not None:
            yield made


def _messages(fields: dict[str, Any]) -> list[Any]:
    return seq(fields.get("history")) or seq(fields.get("messages"))


def _history(draft: Draft, messages: list[Any]) -> None:
    asked: CallId | None = None
    for number, message in enumerate(map(obj, messages)):
        role = ROLES.get(string(message.get("role")))
        if role is None:
            draft.note(RepairKind.UNKNOWN_RECORD, number, "a message of nobody")
        elif role is Role.SYSTEM and not draft.system:
            draft.system = _text(message.get("content"))
        elif role is Role.ASSISTANT:
            asked = _act(draft, message, number)
        elif role is Role.USER and asked is not None:
            _observe(draft, asked, message.get("content"), number)
            asked = None
        else:
            say(draft, role, message, number)


def _act(draft: Draft, message: dict[str, Any], number: int) -> CallId | None:
    """A message of the agent. Returns the id of the call that its command became, if it did."""
    content, thought = _text(message.get("content")), string(message.get("thought"))
    action = string(message.get("action")).strip()
    made: list[Block] = []
    asked: CallId | None = None
    if given := list(calls(message, number)):
        made = [Text(content), *given]
    elif action:
        asked = CallId(f"call_{number}")
        # The content is thought and command; where it is not, nothing of it may be lost.
        whole = action in content and thought.strip() in content
        made = [
            Text(thought if whole and thought.strip() else "" if whole else content),
            ToolCall(asked, TOOL, json_text({"command": action})),
        ]
    else:
        made = [Text(content)]
    of = Message(Role.ASSISTANT, (), model=draft.model)
    draft.say(Role.ASSISTANT, [b for b in made if b != Text("")], number, of=of)
    return asked


def _observe(draft: Draft, asked: CallId, content: Any, number: int) -> None:
    result = ToolResult(asked, TOOL, tuple(result_content(content, draft)))
    draft.say(Role.TOOL, (result,), number)


def _steps(draft: Draft, steps: list[Any]) -> None:
    for number, step in enumerate(map(obj, steps)):
        message = {**step, "content": readable(step.get("response")) or step.get("thought")}
        asked = _act(draft, message, number)
        if asked is not None:
            _observe(draft, asked, step.get("observation"), number)


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(_text(obj(part).get("text")) for part in content)
    return string(content)

"""Histories as other programs keep them: every kind, whole and broken, made from a number."""

import json
import random
from collections.abc import Sequence
from typing import Any

from palaver.domain.messages import Message, Role
from palaver.domain.text import clean
from tests.context.histories import history

Fields = dict[str, Any]


def dictionaries(messages: Sequence[Message]) -> list[Fields]:
    """Our messages as chat completions has them."""
    made: list[Fields] = []
    for message in messages:
        if message.role is Role.TOOL:
            made += [
                {"role": "tool", "tool_call_id": r.call_id, "content": r.text}
                for r in message.tool_results
            ]
            continue
        fields: Fields = {"role": str(message.role), "content": message.text}
        if message.tool_calls:
            fields["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for call in message.tool_calls
            ]
            fields["content"] = message.text or None
        made.append(fields)
    return made


def broken(seed: int) -> list[Fields]:
    """A history with whatever goes wrong in real ones."""
    chance = random.Random(seed)
    made = dictionaries(history(seed))
    for _ in range(chance.randint(0, 5)):
        at = chance.randrange(len(made))
        _BREAKS[chance.randrange(len(_BREAKS))](chance, made, at)
        if not made:
            made = [{"role": "user", "content": "hello"}]
    return made


def _lose(chance: random.Random, made: list[Fields], at: int) -> None:
    del made[at]


def _twice(chance: random.Random, made: list[Fields], at: int) -> None:
    made.insert(chance.randint(0, len(made)), dict(made[at]))


def _late(chance: random.Random, made: list[Fields], at: int) -> None:
    made.insert(chance.randint(at, len(made) - 1), made.pop(at))


def _empty(chance: random.Random, made: list[Fields], at: int) -> None:
    made[at] = {**made[at], "content": chance.choice((None, "", [], " \n"))}


def _bare(chance: random.Random, made: list[Fields], at: int) -> None:
    made[at] = {k: v for k, v in made[at].items() if k != "content"}


def _in_parts(chance: random.Random, made: list[Fields], at: int) -> None:
    text = made[at].get("content")
    if isinstance(text, str) and text:
        parts: list[Any] = [{"type": "text", "text": text}]
        if made[at]["role"] == "user":
            parts.append({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}})
        made[at] = {**made[at], "content": parts}


def _odd_id(chance: random.Random, made: list[Fields], at: int) -> None:
    odd = chance.choice(("", "functions.x:0", "0", "call_" + "x" * 60, None))
    if made[at].get("tool_calls"):
        first, *rest = made[at]["tool_calls"]
        made[at] = {**made[at], "tool_calls": [{**first, "id": odd}, *rest]}
    elif made[at]["role"] == "tool":
        made[at] = {**made[at], "tool_call_id": odd}


def _old(chance: random.Random, made: list[Fields], at: int) -> None:
    call = {"name": "get", "arguments": chance.choice(('{"a": 1}', "", "{broken", None))}
    made.insert(at, {"role": "assistant", "content": None, "function_call": call})
    if chance.random() < 0.7:
        made.insert(at + 1, {"role": "function", "name": "get", "content": "42"})


def _flat(chance: random.Random, made: list[Fields], at: int) -> None:
    call = {"id": f"flat{at}", "name": "get user", "arguments": {"user_id": "mia_li_3668"}}
    role = chance.choice(("assistant", "assistant", "user"))
    made.insert(at, {"role": role, "content": None, "tool_calls": [call]})
    if chance.random() < 0.7:
        made.insert(at + 1, {"role": "tool", "id": f"flat{at}", "content": {"a": 1}})


def _other_roles(chance: random.Random, made: list[Fields], at: int) -> None:
    if made[at]["role"] == "system":
        made[at] = {**made[at], "role": "developer"}


def _surrogates(chance: random.Random, made: list[Fields], at: int) -> None:
    if isinstance(made[at].get("content"), str):
        made[at] = {**made[at], "content": made[at]["content"] + " \ud83d \x00"}


_BREAKS = (
    _lose,
    _twice,
    _late,
    _empty,
    _bare,
    _in_parts,
    _odd_id,
    _old,
    _flat,
    _other_roles,
    _surrogates,
)


def faults(messages: Sequence[Fields], *, is_open: bool = False) -> list[str]:
    """What chat completions or Anthropic would refuse, in a history of dictionaries."""
    found: list[str] = []
    waiting: list[str] = []
    ids: set[str] = set()
    has_begun = False
    old = ""
    for at, message in enumerate(messages):
        role = message["role"]
        if role == "tool":
            if message["tool_call_id"] not in waiting:
                found.append(f"{at}: result of no call")
            else:
                waiting.remove(message["tool_call_id"])
            if not isinstance(message.get("content"), str | list):
                found.append(f"{at}: result without content")
            continue
        if role == "function":
            if message["name"] != old:
                found.append(f"{at}: result of no function")
            old = ""
            continue
        if waiting or old:
            found.append(f"{at}: stands between a call and its result")
        if role not in ("system", "developer") and not has_begun:
            has_begun = True
            if role != "user":
                found.append(f"{at}: the {role} begins")
        found += [f"{at}: {fault}" for fault in _own_faults(message)]
        waiting = [call["id"] for call in message.get("tool_calls") or ()]
        old = (message.get("function_call") or {}).get("name", "")
        found += [f"{at}: id {id} again" for id in waiting if id in ids]
        ids.update(waiting)
    if (waiting or old) and not is_open:
        found.append("the end: calls wait")
    return found


def _own_faults(message: Fields) -> list[str]:
    found = []
    calls = message.get("tool_calls") or ()
    if calls and message["role"] != "assistant":
        found.append("calls of somebody else than the assistant")
    for call in calls:
        name = call["function"]["name"]
        if (
            not call["id"]
            or len(call["id"]) > 40
            or not call["id"].replace("_", "").replace("-", "").isalnum()
        ):
            found.append(f"id {call['id']!r}")
        if not name or " " in name:
            found.append(f"name {name!r}")
        arguments = call["function"]["arguments"]
        if arguments.strip() and not isinstance(json.loads(clean(arguments)[0]), dict):
            found.append(f"arguments {arguments!r}")
    content = message.get("content")
    is_empty = not content or (isinstance(content, str) and not content.strip())
    if is_empty and not calls and "function_call" not in message:
        found.append("nothing is said")
    return found

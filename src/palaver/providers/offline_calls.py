"""Tool calls from a person's words: which tool is meant, and its arguments by its own schema.

Tools are recognised by words in their names, arguments by their types, so any tool of that kind
will do, whoever wrote it.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from palaver.providers.base import ToolSpec

KINDS: dict[str, tuple[re.Pattern[str], str]] = {
    "calculate": (re.compile(r"calc"), "Calculating"),
    "time": (re.compile(r"^(?!.*convert).*(current|get|now|what).*time|^time$|clock"), "The time"),
    "search_conversations": (
        re.compile(r"(search|find).*(conversation|chat|histor|message)"),
        "Searching conversations",
    ),
    "search_files": (re.compile(r"(search|find|grep).*(file|code|text)|grep"), "Searching files"),
    "list_files": (re.compile(r"list.*(file|dir|folder)|^ls$"), "Listing files"),
    "read_file": (re.compile(r"(read|open|view|cat).*file|^cat$"), "Reading files"),
    "fetch": (re.compile(r"fetch|http|browse|download|(get|read|open)_?(url|page)"), "Fetching"),
}
"""Kind of work → how tools for it are named, and how it is called in an answer."""


class Wanted(msgspec.Struct, frozen=True):
    """A call to make. `at` orders the calls of one message as the person did."""

    tool: str
    arguments: dict[str, Any]
    at: int = 0


class Note(msgspec.Struct, frozen=True):
    """Something to say instead of a call."""

    text: str
    at: int = 0


def kind_of(name: str) -> str:
    """The kind of work that a tool's name tells of, or the empty string."""
    plain = name.lower().replace("-", "_")
    return next((kind for kind, (pattern, _) in KINDS.items() if pattern.search(plain)), "")


def call(tools: Sequence[ToolSpec], kind: str, value: str | None, at: int) -> Wanted | Note:
    """A call of the first tool of that kind with `value`; a note where none is offered."""
    tool = next((tool for tool in tools if kind_of(tool.name) == kind), None)
    if tool is None:
        return Note(f"{KINDS[kind][1]} needs a tool that is not available here.", at)
    main = main_argument(tool)
    missing = [name for name in _required(tool) if name != main or value is None]
    if missing or (main is None and value):
        return Note(f"I cannot fill in the arguments of `{tool.name}`: {_usage(tool)}", at)
    return Wanted(tool.name, {} if value is None or main is None else {main: value}, at)


def explicit(tool: ToolSpec, rest: str, at: int) -> Wanted | Note:
    """The call that a person spelled out: JSON, `key=value` pairs, or the one text it takes."""
    rest = rest.strip()
    properties = tool.schema.get("properties", {})
    if rest.startswith("{"):
        try:
            value, _ = json.JSONDecoder().raw_decode(rest)
        except ValueError as error:
            return Note(f"The arguments for `{tool.name}` are not valid JSON: {error}.", at)
        return Wanted(tool.name, value, at)
    pairs = _PAIR.findall(rest)
    if pairs and not _PAIR.sub("", rest).strip(" ,;.") and all(k in properties for k, _ in pairs):
        return Wanted(tool.name, {k: _typed(v, properties[k]) for k, v in pairs}, at)
    required = _required(tool)
    if not rest:
        return Note(f"`{tool.name}` needs arguments: {_usage(tool)}", at) if required else (
            Wanted(tool.name, {}, at)
        )  # fmt: skip
    main = main_argument(tool)
    only = main or (required[0] if len(required) == 1 else None)
    if only is None or set(required) - {only}:
        return Note(f"I do not see the arguments of `{tool.name}` in that: {_usage(tool)}", at)
    return Wanted(tool.name, {only: _typed(_unquoted(rest), properties.get(only, {}))}, at)


def main_argument(tool: ToolSpec) -> str | None:
    """The property that takes what the call is about: the first required text, else the first."""
    properties = tool.schema.get("properties", {})
    texts = [name for name, schema in properties.items() if "string" in _types(schema)]
    required = _required(tool)
    return next((name for name in texts if name in required), texts[0] if texts else None)


def _required(tool: ToolSpec) -> list[str]:
    return list(tool.schema.get("required", ()))


def _types(schema: Any) -> list[str]:
    if not isinstance(schema, dict):
        return []
    if "anyOf" in schema:
        return [kind for option in schema["anyOf"] for kind in _types(option)]
    kind = schema.get("type", "string" if "enum" in schema else "")
    return kind if isinstance(kind, list) else [kind]


def _usage(tool: ToolSpec) -> str:
    required = _required(tool)
    shown = [
        f"{name}=<{'|'.join(_types(schema)) or 'value'}>" + ("" if name in required else "?")
        for name, schema in tool.schema.get("properties", {}).items()
    ]
    return f"write `use {tool.name} with {' '.join(shown)}`" + (
        " (a question mark: may be left out)." if len(shown) > len(required) else "."
    )


def _typed(text: str, schema: Any) -> Any:
    """`text` as the type that the schema asks for; as it stands where that does not work."""
    kinds = _types(schema)
    plain = _unquoted(text)
    if "string" in kinds or not kinds:
        return plain
    try:
        return json.loads(plain)
    except ValueError:
        return plain


def _unquoted(text: str) -> str:
    match = _QUOTED.fullmatch(text.strip())
    return match[2] if match else text.strip()


_PAIR = re.compile(r"(\w+)=(\"[^\"]*\"|'[^']*'|[^\s,;]+)")
_QUOTED = re.compile(r"([\"'`“‘])(.*)[\"'`”’]", re.DOTALL)

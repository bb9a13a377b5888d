"""Tools that a client offers for a turn: taken in, or refused with a reason."""

import re
from collections.abc import Sequence
from functools import lru_cache

import msgspec
from msgspec.structs import replace

from palaver.domain.errors import InvalidInput
from palaver.domain.text import clean
from palaver.domain.values import ClientTool
from palaver.tools.validation import check_schema

MOST_TOOLS = 128
"""As many as OpenAI takes in one request."""
MOST_BYTES = 512 * 1024
"""Of all names, descriptions and schemas together. They are kept with each turn."""
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def checked_tools(offered: Sequence[ClientTool]) -> tuple[ClientTool, ...]:
    """`offered`, as it can be stored and sent to any provider. Raises InvalidInput."""
    if len(offered) > MOST_TOOLS:
        raise InvalidInput(f"{len(offered)} tools are offered; at most {MOST_TOOLS} are accepted")
    taken: dict[str, ClientTool] = {}
    size = 0
    for tool in offered:
        if not isinstance(tool, ClientTool):
            raise InvalidInput(f"a client's tool is a ClientTool, not {type(tool).__name__}")
        if not _NAME.fullmatch(tool.name):
            raise InvalidInput(
                f"{tool.name[:80]!r} cannot be a tool's name",
                hint="Use 1 to 64 letters, digits, `_` and `-`.",
            )
        if tool.name in taken:
            raise InvalidInput(f"two tools are named {tool.name!r}")
        schema = _encoded(tool)
        size += len(schema) + len(tool.description.encode("utf-8", "replace"))
        if size > MOST_BYTES:
            raise InvalidInput(f"the tools have more than {MOST_BYTES:,} bytes")
        taken[tool.name] = replace(
            tool,
            description=clean(tool.description)[0],
            parameters_schema=_checked(schema, tool.name),
        )
    return tuple(taken.values())


def _encoded(tool: ClientTool) -> bytes:
    try:
        # Some clients leave out what every provider wants to see.
        schema = {"type": "object", **tool.parameters_schema}
        if "properties" not in schema:
            schema["properties"] = {}
        return msgspec.json.encode(schema)
    except (TypeError, ValueError, RecursionError, UnicodeEncodeError) as error:
        raise InvalidInput(f"{tool.name}: the schema is not JSON: {error}") from error


@lru_cache(maxsize=MOST_TOOLS)
def _checked(schema: bytes, name: str) -> "dict[str, object]":
    """The schema in `schema`. The same client sends the same ones with each turn, and to check one
    takes a hundred times as long as to compare it."""
    read: dict[str, object] = msgspec.json.decode(schema)
    check_schema(read, name)
    return read

"""What the server says when nothing is scripted: useful for people who try a client against it."""

from typing import Any

from palaver.testing.provider_server.journal import Received
from palaver.testing.script import Call, Line


def echo(received: Received) -> list[Line]:
    """Repeat what was said; call the first offered tool when asked for a tool; tell its result."""
    if received.results:
        return [f"The tool said: {'; '.join(received.results)}"]
    if received.tools and "tool" in received.said.casefold():
        name, schema = next(iter(received.tools.items()))
        return ["Let me see.", Call(name, sample(schema, received.said))]
    return [f"You said: {received.said or '(nothing)'}"]


def sample(schema: dict[str, Any], text: str) -> dict[str, Any]:
    """An object with a value for each required property."""
    properties = schema.get("properties") or {}
    return {name: _value(properties.get(name) or {}, text) for name in schema.get("required") or ()}


def _value(schema: dict[str, Any], text: str) -> object:
    for field in ("const", "default"):
        if field in schema:
            return schema[field]
    if schema.get("enum"):
        return schema["enum"][0]
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = kind[0]
    if kind == "object":
        return sample(schema, text)
    plain: dict[object, object] = {
        "integer": schema.get("minimum", 1),
        "number": schema.get("minimum", 1),
        "boolean": True,
        "array": [],
        "null": None,
    }
    return plain.get(kind, text)

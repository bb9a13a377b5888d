"""JSON Schemas as structured output of the Messages API accepts them.

The API compiles the schema into a grammar and refuses what a grammar cannot say: bounds of
numbers, lengths and counts, and objects that are open. Such bounds move into the description,
where the model reads them; whoever asked for the schema validates the answer against the original.
Source: https://docs.anthropic.com/en/docs/build-with-claude/structured-outputs
"""

from typing import Any

_BOUNDS = frozenset(
    {
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
        *("minLength", "maxLength", "minItems", "maxItems", "uniqueItems"),
        *("minProperties", "maxProperties"),
    }
)
_BY_NAME = frozenset(("properties", "$defs", "definitions", "patternProperties"))
_LISTS = frozenset(("anyOf", "oneOf", "allOf", "prefixItems"))


def accepted(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with closed objects, and with bounds as words. The original is left alone."""
    made: dict[str, Any] = {}
    said: list[str] = []
    for name, value in schema.items():
        if name in _BOUNDS and not (name == "minItems" and value in (0, 1)):
            said.append(f"{name}: {value}")
        elif name in _BY_NAME and isinstance(value, dict):
            made[name] = {key: _inner(inner) for key, inner in value.items()}
        elif name in _LISTS and isinstance(value, list):
            # `oneOf` is not known to the API; the difference is checked by validation.
            made["anyOf" if name == "oneOf" else name] = [_inner(inner) for inner in value]
        elif name == "items":
            made[name] = _inner(value)
        else:
            made[name] = value
    if made.get("type") == "object" or "properties" in made:
        made["additionalProperties"] = False
    if said:
        described = str(made.get("description", ""))
        made["description"] = f"{described} ({', '.join(said)})".strip()
    return made


def _inner(value: Any) -> Any:
    return accepted(value) if isinstance(value, dict) else value

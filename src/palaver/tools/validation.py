"""Whether arguments satisfy a tool's schema, and what to tell the model when they don't.

A model mends its call when it reads which field is wrong, what was expected there, and what it
sent. jsonschema is imported with the first schema that is compiled, not at start-up.
"""

import difflib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from palaver.domain.errors import InvalidInput, ToolArgumentsError

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError
    from jsonschema.protocols import Validator

PROBLEMS = 5
"""Problems told at once; more are not read anyway."""
_SHOWN_CHARS = 80


def check_schema(schema: dict[str, Any], label: str) -> None:
    """Raises InvalidInput unless `schema` is a JSON Schema of an object that needs no network."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    if schema.get("type") != "object":
        raise InvalidInput(f"{label}: the parameters' schema must have the type 'object'")
    for reference in _references(schema):
        if not reference.startswith("#"):
            raise InvalidInput(f"{label}: the schema refers to {reference!r}, outside of itself")
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise InvalidInput(f"{label}: not a JSON Schema: {error.message}") from error
    except RecursionError as error:
        raise InvalidInput(f"{label}: the schema is nested too deeply") from error


def compile_schema(schema: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    """A function that raises ToolArgumentsError for arguments that do not satisfy `schema`."""
    from jsonschema import Draft202012Validator
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    # An empty registry: a `$ref` is never fetched.
    validator = Draft202012Validator(schema, registry=Registry())

    def validate(arguments: dict[str, Any]) -> None:
        try:
            problems = _problems(validator, schema, arguments)
        except RecursionError as error:
            raise ToolArgumentsError("the arguments are nested too deeply") from error
        except Unresolvable as error:
            raise ToolArgumentsError(f"the tool's own schema is broken: {error}") from error
        if problems:
            raise _failure(schema, problems)

    return validate


def _problems(validator: "Validator", schema: dict[str, Any], arguments: Any) -> list[str]:
    errors = sorted(validator.iter_errors(arguments), key=lambda error: list(map(str, error.path)))
    found: dict[str, None] = {}
    for error in errors:
        for text in _explained(error, schema):
            found[text] = None
    return list(found)


def _failure(schema: dict[str, Any], problems: list[str]) -> ToolArgumentsError:
    told = problems[:PROBLEMS]
    if len(problems) > PROBLEMS:
        told.append(f"and {len(problems) - PROBLEMS} more problems")
    text = "the arguments do not fit the tool:\n" + "\n".join(f"- {line}" for line in told)
    names = schema.get("properties", {})
    required = schema.get("required", [])
    listed = ", ".join(f"{name}{'' if name in required else ' (optional)'}" for name in names)
    return ToolArgumentsError(
        text,
        suggestions=(
            "Correct these fields and call the tool again.",
            f"Its parameters: {listed}." if listed else "It takes no parameters: pass {}.",
        ),
    )


def _explained(error: "ValidationError", schema: dict[str, Any]) -> Iterator[str]:
    rules = error.schema if isinstance(error.schema, dict) else {}
    match error.validator:
        case "required":
            yield from _missing(error, rules)
        case "additionalProperties" | "unevaluatedProperties":
            yield from _surplus(error, rules)
        case "anyOf" | "oneOf":
            yield _alternatives(error, rules, schema)
        case "type":
            yield f"{_place(error)}: expected {_kind(rules)}, {_got(error)}{_hint(rules)}"
        case "enum" | "const":
            options = rules.get("enum", [rules.get("const")])
            meant = _closest(error.instance, options) + _hint(rules)
            yield f"{_place(error)}: expected {_options(options)}, {_got(error)}{meant}"
        case _:
            message = error.message.replace(repr(error.instance), _shown(error.instance), 1)
            yield f"{_place(error)}: {_short(message, 200)}{_hint(rules)}"


def _missing(error: "ValidationError", rules: dict[str, Any]) -> Iterator[str]:
    present = _names(error)
    for name in rules.get("required", []):
        if name not in present:
            part = rules.get("properties", {}).get(name, {})
            kind = _kind(part) if isinstance(part, dict) else "a value"
            yield f"{_place(error, name)}: required but missing; expected {kind}{_hint(part)}"


def _surplus(error: "ValidationError", rules: dict[str, Any]) -> Iterator[str]:
    known, present = list(rules.get("properties", {})), _names(error)
    missing = [name for name in known if name not in present]
    for name in present:
        if name not in known:
            yield f"{_place(error, name)}: no such parameter{_closest(name, missing)}"


def _names(error: "ValidationError") -> list[str]:
    return list(error.instance) if isinstance(error.instance, dict) else []


def _alternatives(error: "ValidationError", rules: dict[str, Any], schema: dict[str, Any]) -> str:
    from jsonschema.exceptions import relevance

    # Where one alternative fits but for something inside it, that something is the message.
    deeper = [e for e in error.context or () if len(e.relative_path) > 0]
    if deeper:
        return next(_explained(max(deeper, key=relevance), schema))
    parts = [part for part in rules.get(str(error.validator), []) if isinstance(part, dict)]
    kinds = " or ".join(dict.fromkeys(_kind(part) for part in parts)) or "another value"
    return f"{_place(error)}: expected {kinds}, {_got(error)}{_hint(rules)}"


def _got(error: "ValidationError") -> str:
    return f"got {_shown(error.instance)}"


def _place(error: "ValidationError", *more: str) -> str:
    path = ""
    for step in (*error.absolute_path, *more):
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else str(step)
    return f"`{_short(path, _SHOWN_CHARS)}`" if path else "the arguments"


_KINDS = {
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "array": "an array",
    "object": "an object",
    "null": "null",
}


def _kind(rules: dict[str, Any]) -> str:
    if "enum" in rules:
        return _options(rules["enum"])
    if "$ref" in rules:
        return f"a {str(rules['$ref']).rpartition('/')[2]} object"
    for word in ("anyOf", "oneOf"):
        if word in rules:
            return " or ".join(dict.fromkeys(_kind(part) for part in rules[word]))
    kinds = rules.get("type", [])
    names = [kinds] if isinstance(kinds, str) else list(kinds)
    return " or ".join(_KINDS.get(name, name) for name in names) or "a value"


def _options(options: Iterable[Any]) -> str:
    listed = [_shown(option) for option in options]
    if len(listed) > 12:
        listed = [*listed[:12], "…"]
    return listed[0] if len(listed) == 1 else "one of " + ", ".join(listed)


def _closest(name: Any, known: Iterable[Any]) -> str:
    texts = [option for option in known if isinstance(option, str)]
    close = difflib.get_close_matches(name[:100], texts, n=1) if isinstance(name, str) else []
    return f"; did you mean {_shown(close[0])}?" if close else ""


def _hint(rules: Any) -> str:
    text = rules.get("description", "") if isinstance(rules, dict) else ""
    return f" ({_short(str(text), 160)})" if text else ""


def _shown(value: Any) -> str:
    try:
        text = msgspec.json.encode(value).decode()
    except (TypeError, ValueError, RecursionError):
        text = repr(value)
    return _short(text, _SHOWN_CHARS)


def _short(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _references(schema: Any) -> Iterator[str]:
    waiting = [schema]
    while waiting:
        current = waiting.pop()
        if isinstance(current, dict):
            if isinstance(current.get("$ref"), str):
                yield current["$ref"]
            waiting.extend(current.values())
        elif isinstance(current, list):
            waiting.extend(current)

"""Replies in a shape: from a Python type to a JSON Schema, and from the reply's text back."""

import re
from typing import Any

import msgspec

from palaver.domain.errors import InvalidInput, PalaverError
from palaver.domain.values import OutputSchema


class OutputInvalid(PalaverError):
    """The model's reply is not of the asked shape. `text` holds what it said."""

    code = "output_invalid"
    default_hint = "Ask again, simplify the schema, or use a model with structured output."

    def __init__(self, message: str, *, text: str) -> None:
        super().__init__(message)
        self.text = text


class OutputType:
    """A shape for replies: a Struct, dataclass, TypedDict, pydantic model, or a JSON Schema."""

    def __init__(self, shape: Any) -> None:
        self._shape = shape
        self.schema = OutputSchema(_name(shape), _schema(shape))

    @classmethod
    def of(cls, stored: OutputSchema) -> "OutputType":
        """The shape that a turn was opened with: replies are plain objects."""
        made = cls(stored.schema)
        made.schema = stored
        return made

    def parse(self, text: str) -> Any:
        """The reply as a value of the shape (a plain object for a schema). Raises OutputInvalid."""
        try:
            if hasattr(self._shape, "model_validate_json"):
                return self._shape.model_validate_json(text)
            if isinstance(self._shape, dict):
                return self._checked(msgspec.json.decode(text))
            return msgspec.json.decode(text, type=self._shape)
        except (ValueError, msgspec.MsgspecError) as error:
            problem = f"the reply does not have the shape that was asked for: {error}"
            raise OutputInvalid(problem, text=text) from error

    def _checked(self, value: Any) -> Any:
        import jsonschema

        problem = jsonschema.exceptions.best_match(
            jsonschema.Draft202012Validator(self._shape).iter_errors(value)
        )
        if problem is not None:
            raise ValueError(problem.message)
        return value


def shape_of(output: Any) -> OutputType | None:
    """What a caller or a stored turn asks for. Raises InvalidInput for what has no JSON Schema."""
    if output is None or isinstance(output, OutputType):
        return output
    return OutputType.of(output) if isinstance(output, OutputSchema) else OutputType(output)


def schema_of(output: Any) -> OutputSchema | None:
    """The same as it is stored."""
    shape = shape_of(output)
    return None if shape is None else shape.schema


def _name(shape: Any) -> str:
    name = shape.get("title", "reply") if isinstance(shape, dict) else shape.__name__
    return re.sub(r"[^A-Za-z0-9_-]", "_", str(name))[:64] or "reply"


def _schema(shape: Any) -> dict[str, Any]:
    if isinstance(shape, dict):
        schema = shape
    elif hasattr(shape, "model_json_schema"):
        schema = shape.model_json_schema()
    else:
        try:
            (schema,), components = msgspec.json.schema_components(
                [shape], ref_template="#/$defs/{name}"
            )
        except TypeError as error:
            raise InvalidInput(f"no JSON Schema can be made of {shape!r}: {error}") from error
        schema = _inlined(schema, components)
    if schema.get("type") != "object":
        raise InvalidInput(
            "the shape of a reply must be an object",
            hint="Wrap the value in a class with one field.",
        )
    return schema


def _inlined(schema: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    """The root schema itself, other components under `$defs`: providers want the object on top."""
    root = schema
    if "$ref" in schema:
        root = dict(components[schema["$ref"].rsplit("/", 1)[1]])
    return {**root, "$defs": components} if components else root

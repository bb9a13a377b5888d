"""A function's parameters as JSON Schema, and JSON values as its arguments.

Every type that msgspec knows works: scalars, containers, Literal, Enum, Optional and unions,
TypedDict, dataclasses, Structs, dates. Pydantic models are recognised by their methods
(`model_json_schema`, `model_validate`), so pydantic is needed only by who uses it.
"""

import inspect
import typing
from collections.abc import Callable
from typing import Annotated, Any, get_args, get_origin

import msgspec

from palaver.domain.errors import InvalidInput, ToolArgumentsError
from palaver.tools import docstrings
from palaver.tools.definition import ExecutionContext

_REFS = "#/$defs/{name}"


class Parameter(msgspec.Struct, frozen=True):
    """One parameter that the model fills."""

    name: str
    annotation: Any
    description: str = ""
    default: Any = inspect.Parameter.empty

    @property
    def is_required(self) -> bool:
        """Whether there is no default."""
        return self.default is inspect.Parameter.empty


class Signature(msgspec.Struct, frozen=True):
    """What a tool's function takes and says of itself."""

    summary: str
    parameters: tuple[Parameter, ...]
    context: str | None
    """The parameter that receives the ExecutionContext, if any."""
    schema: dict[str, Any]

    def convert(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """JSON values as values of the annotated types. Raises ToolArgumentsError."""
        converted = {}
        for parameter in self.parameters:
            if parameter.name in arguments:
                converted[parameter.name] = _convert(parameter, arguments[parameter.name])
        return converted


def inspect_function(function: Callable[..., Any]) -> Signature:
    """The signature of a function that is to be a tool. Raises InvalidInput with what to change."""
    label = getattr(function, "__qualname__", repr(function))
    summary, described = docstrings.parse(inspect.getdoc(function))
    hints = _hints(function, label)
    context, found = None, []
    for name, parameter in _parameters(function, label):
        annotation = hints.get(name, Any)
        if _is_context(annotation):
            if context is not None:
                raise InvalidInput(f"{label}: only one parameter can be the ExecutionContext")
            context = name
            continue
        text = _annotated_description(annotation) or described.get(name, "")
        found.append(Parameter(name, annotation, text, parameter.default))
    parameters = tuple(found)
    return Signature(summary, parameters, context, _schema(parameters, label))


def _hints(function: Callable[..., Any], label: str) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError) as error:
        raise InvalidInput(
            f"{label}: its annotations cannot be resolved: {error}",
            hint="Annotate with types that are importable where the function is defined.",
        ) from error


def _parameters(function: Callable[..., Any], label: str) -> list[tuple[str, inspect.Parameter]]:
    parameters = list(inspect.signature(function).parameters.items())
    for number, (name, parameter) in enumerate(parameters):
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise InvalidInput(
                f"{label}: `{parameter}` cannot be described to a model",
                hint="Name every parameter, or take one `dict` or `list`.",
            )
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise InvalidInput(
                f"{label}: `{name}` is positional-only; a model passes arguments by name",
                hint="Remove the `/` from the signature.",
            )
        if number == 0 and name in ("self", "cls") and parameter.annotation is parameter.empty:
            raise InvalidInput(
                f"{label}: a method is no tool before it is bound",
                hint="Use `tool(instance.method)`, or a subclass of Tool.",
            )
    return parameters


def _is_context(annotation: Any) -> bool:
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    rest = [part for part in get_args(annotation) if part is not type(None)] or [annotation]
    return len(rest) == 1 and rest[0] is ExecutionContext


def _annotated_description(annotation: Any) -> str:
    if get_origin(annotation) is not Annotated:
        return ""
    for note in get_args(annotation)[1:]:
        text = note if isinstance(note, str) else getattr(note, "description", None)
        if isinstance(text, str):
            return inspect.cleandoc(text)
    return ""


def _schema(parameters: tuple[Parameter, ...], label: str) -> dict[str, Any]:
    foreign: dict[str, Any] = {}
    properties: dict[str, Any] = {}
    definitions: dict[str, Any] = {}
    for parameter, shape, parts in _shapes(parameters, label, foreign):
        definitions.update(parts)
        properties[parameter.name] = _described(_inlined(shape, parts), parameter)
    schema: dict[str, Any] = {
        "type": "object",
        "properties": properties,
        "required": [parameter.name for parameter in parameters if parameter.is_required],
        # A misspelt optional parameter is to be noticed, not ignored.
        "additionalProperties": False,
    }
    definitions.update(foreign)
    needed = _reachable(properties, definitions)
    if needed:
        schema["$defs"] = needed
    return schema


def _shapes(
    parameters: tuple[Parameter, ...], label: str, foreign: dict[str, Any]
) -> list[tuple[Parameter, dict[str, Any], dict[str, Any]]]:
    types = [parameter.annotation for parameter in parameters]
    try:
        shapes, parts = msgspec.json.schema_components(
            types, schema_hook=lambda kind: _foreign_schema(kind, foreign), ref_template=_REFS
        )
    except (TypeError, ValueError, NameError) as error:
        raise InvalidInput(
            f"{label}: a parameter's type cannot be described to a model: {error}",
            hint="Use JSON-like types, dataclasses, Structs, TypedDicts or pydantic models.",
        ) from error
    return [(parameter, shape, parts) for parameter, shape in zip(parameters, shapes, strict=True)]


def _foreign_schema(kind: type, foreign: dict[str, Any]) -> dict[str, Any]:
    describe = getattr(kind, "model_json_schema", None)
    if describe is None:
        raise TypeError(f"{kind!r} has no JSON Schema")
    # Two models may both define a `Part`: the definitions of each carry its name.
    schema: dict[str, Any] = dict(describe(ref_template=f"#/$defs/{kind.__name__}.{{model}}"))
    for name, part in schema.pop("$defs", {}).items():
        foreign[f"{kind.__name__}.{name}"] = part
    return schema


def _inlined(shape: dict[str, Any], parts: dict[str, Any]) -> dict[str, Any]:
    """An enumeration in place of a reference to it: shorter, and every provider reads it."""
    name = str(shape.get("$ref", "")).rpartition("/")[2]
    part = parts.get(name, {})
    if "enum" not in part:
        return dict(shape)
    rest = {key: value for key, value in shape.items() if key != "$ref"}
    return {key: value for key, value in part.items() if key != "title"} | rest


def _described(shape: dict[str, Any], parameter: Parameter) -> dict[str, Any]:
    if parameter.description:
        shape = shape | {"description": parameter.description}
    if not parameter.is_required:
        try:
            plain = msgspec.to_builtins(parameter.default, enc_hook=_refuse)
            msgspec.json.encode(plain)
        except (TypeError, ValueError, NotImplementedError):
            return shape
        shape = shape | {"default": plain}
    return shape


def _refuse(value: Any) -> Any:
    raise NotImplementedError(type(value))


def _reachable(properties: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """The definitions that are referred to, directly or through others."""
    found: dict[str, Any] = {}
    waiting: list[Any] = [properties]
    while waiting:
        current = waiting.pop()
        if isinstance(current, dict):
            reference = current.get("$ref")
            if isinstance(reference, str):
                name = reference.removeprefix("#/$defs/").replace("~1", "/").replace("~0", "~")
                if name in definitions and name not in found:
                    found[name] = definitions[name]
                    waiting.append(definitions[name])
            waiting.extend(current.values())
        elif isinstance(current, list):
            waiting.extend(current)
    return dict(sorted(found.items()))


def _convert(parameter: Parameter, value: Any) -> Any:
    try:
        return _typed(value, parameter.annotation)
    except msgspec.ValidationError as error:
        # JSON knows one kind of number: 3.0 is a valid integer there.
        whole = _with_integers(value)
        if whole != value or repr(whole) != repr(value):
            try:
                return _typed(whole, parameter.annotation)
            except msgspec.ValidationError:
                pass
        message = str(error).replace("`$", f"`{parameter.name}").rstrip(".")
        where = "" if f"`{parameter.name}" in message else f" - at `{parameter.name}`"
        raise ToolArgumentsError(message + where) from error


def _typed(value: Any, annotation: Any) -> Any:
    return msgspec.convert(value, annotation, dec_hook=_foreign_value, str_keys=True)


def _foreign_value(kind: type, value: Any) -> Any:
    return kind.model_validate(value)  # type: ignore[attr-defined]


def _with_integers(value: Any) -> Any:
    match value:
        case float() if value.is_integer():
            return int(value)
        case list():
            return [_with_integers(item) for item in value]
        case dict():
            return {key: _with_integers(item) for key, item in value.items()}
        case _:
            return value

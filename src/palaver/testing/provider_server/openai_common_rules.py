"""What both OpenAI APIs refuse in the same words: keys, models, types, tool definitions."""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from palaver.testing.provider_server.refusal import Refused, bad
from palaver.testing.provider_server.terms import (
    Terms,
    is_number,
    is_whole,
    schema_problem,
    strict_schema,
)

_NAME = re.compile(r"[a-zA-Z0-9_-]+")
_PICTURE = re.compile(r"data:image/(png|jpeg|jpg|gif|webp);base64,(.*)", re.DOTALL)
_KINDS: dict[type, str] = {
    str: "a string",
    dict: "an object",
    list: "an array",
    bool: "a boolean",
    int: "an integer",
    float: "a decimal",
    type(None): "null",
}


def check_headers(headers: Mapping[str, str], terms: Terms) -> None:
    """Refuse what has no key or a wrong one (401)."""
    key = headers.get("authorization", "").removeprefix("Bearer").strip()
    if not key:
        raise Refused(
            401,
            "invalid_request_error",
            "You didn't provide an API key. You need to provide your API key in an Authorization "
            "header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
        )
    if not terms.accepts(key):
        raise Refused(
            401,
            "invalid_request_error",
            f"Incorrect API key provided: {key[:4]}****. "
            "You can find your API key at https://platform.openai.com/account/api-keys.",
            code="invalid_api_key",
        )


def check_model(body: Mapping[str, Any], terms: Terms) -> None:
    """Refuse a missing or unknown model (404)."""
    model = body.get("model")
    if not isinstance(model, str) or not model:
        bad("you must provide a model parameter")
    if not terms.knows(model):
        raise Refused(
            404,
            "invalid_request_error",
            f"The model `{model}` does not exist or you do not have access to it.",
            code="model_not_found",
        )


def missing(param: str) -> NoReturn:
    """Refuse for a parameter that is not there."""
    code = "missing_required_parameter"
    bad(f"Missing required parameter: '{param}'.", param=param, code=code)


def wrong_type(param: str, expected: str, value: object) -> NoReturn:
    """Refuse for a value of another JSON type."""
    got = _KINDS.get(type(value), "something else")
    text = f"Invalid type for '{param}': expected {expected}, but got {got} instead."
    bad(text, param=param, code="invalid_type")


def wrong_value(param: str, value: object, supported: Sequence[str]) -> NoReturn:
    """Refuse for a value that is not one of `supported`."""
    names = [f"'{name}'" for name in supported]
    text = names[0] if len(names) == 1 else f"{', '.join(names[:-1])}, and {names[-1]}"
    bad(
        f"Invalid value: '{value}'. Supported values are: {text}.",
        param=param,
        code="invalid_value",
    )


def check_text(value: object, param: str) -> str:
    """`value` as text, else refuse."""
    if value is None:
        missing(param)
    if not isinstance(value, str):
        wrong_type(param, "a string", value)
    return value


def check_array(value: object, param: str, *, least: int = 1) -> list[Any]:
    """`value` as an array of at least so many items, else refuse."""
    if not isinstance(value, list):
        wrong_type(param, "an array of objects", value)
    if len(value) < least:
        bad(
            f"Invalid '{param}': empty array. Expected an array with minimum length {least}, but "
            "got an empty array instead.",
            param=param,
            code="empty_array",
        )
    return value


def check_range(body: Mapping[str, Any], field: str, low: float, high: float) -> None:
    """Refuse a number outside of its bounds."""
    value = body.get(field)
    if value is None:
        return
    if not is_number(value):
        wrong_type(field, "a decimal", value)
    if not low <= value <= high:
        side, sign, bound = (
            ("below minimum", ">=", low) if value < low else ("above maximum", "<=", high)
        )
        bad(
            f"Invalid '{field}': decimal {side} value. Expected a value {sign} {bound:g}, but got "
            f"{value} instead.",
            param=field,
            code=f"decimal_{side.replace(' ', '_')}_value",
        )


def check_least(body: Mapping[str, Any], field: str, least: int) -> None:
    """Refuse an integer that is too small."""
    value = body.get(field)
    if value is None:
        return
    if not is_whole(value):
        wrong_type(field, "an integer", value)
    if value < least:
        bad(
            f"Invalid '{field}': integer below minimum value. Expected a value >= {least}, but "
            f"got {value} instead.",
            param=field,
            code="integer_below_min_value",
        )


def check_name(name: object, param: str, *, longest: int = 64) -> str:
    """Refuse a name of a tool or schema that is no identifier."""
    text = check_text(name, param)
    if not _NAME.fullmatch(text):
        bad(
            f"Invalid '{param}': string does not match pattern. Expected a string that matches "
            "the pattern '^[a-zA-Z0-9_-]+$'.",
            param=param,
            code="invalid_value",
        )
    check_length(text, param, longest)
    return text


def check_length(text: str, param: str, longest: int) -> None:
    """Refuse text that is too long."""
    if len(text) > longest:
        bad(
            f"Invalid '{param}': string too long. Expected a string with maximum length {longest}, "
            f"but got a string with length {len(text)} instead.",
            param=param,
            code="string_above_max_length",
        )


def check_function(function: Mapping[str, Any], param: str) -> str:
    """Refuse a tool definition; returns its name."""
    name = check_name(function.get("name"), f"{param}.name")
    where, at = f"function '{name}'", f"{param}.parameters"
    schema = function.get("parameters")
    if schema is not None:
        if not isinstance(schema, dict):
            wrong_type(at, "an object", schema)
        if schema.get("type") != "object":
            bad(
                f"Invalid schema for {where}: schema must be a JSON Schema of 'type: \"object\"', "
                f"got 'type: \"{schema.get('type')}\"'.",
                param=at,
                code="invalid_function_parameters",
            )
        check_schema(schema, where, at)
    if function.get("strict") is True:
        strict_schema(schema, where, at)
    return name


def check_schema(schema: object, where: str, param: str) -> None:
    """Refuse what is no JSON Schema."""
    if problem := schema_problem(schema):
        text = f"Invalid schema for {where}: {problem}"
        bad(text, param=param, code="invalid_function_parameters")


def check_json_schema(wanted: Mapping[str, Any], param: str) -> None:
    """Refuse the format of an answer: name and schema are needed, `strict` closes objects."""
    name = check_name(wanted.get("name"), f"{param}.name")
    schema = wanted.get("schema")
    if schema is None:
        missing(f"{param}.schema")
    where = f"response_format '{name}'"
    check_schema(schema, where, param)
    if wanted.get("strict") is True:
        strict_schema(schema, where, param)


def check_picture(url: object, param: str) -> None:
    """Refuse a picture that is neither an address nor base64 of a known type."""
    text = check_text(url, param)
    if text.startswith(("http://", "https://")):
        return
    found = _PICTURE.fullmatch(text)
    if found is None:
        if not text.startswith("data:"):
            bad(f"Invalid '{param}'. Expected a valid URL.", param=param, code="invalid_value")
        bad(
            "You uploaded an unsupported image. Please make sure your image has of one the "
            "following formats: ['png', 'jpeg', 'gif', 'webp'].",
            code="invalid_image_format",
        )
    try:
        ok = bool(base64.b64decode(found[2], validate=True))
    except (binascii.Error, ValueError):
        ok = False
    if not ok:
        bad("Invalid base64 image_url.", code="invalid_base64")

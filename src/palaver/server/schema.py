"""Bodies and answers as the types that the rest of the program uses, in JSON and in OpenAPI.

Each type is described once, where it is defined: `body` and `answers` name it in a route, `read`
takes it in, `reply` gives it out, and `describe` puts its schema into the document.
"""

from typing import Any, TypeVar

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.requests import Request
from starlette.responses import Response

from palaver.domain.errors import InvalidInput, PalaverError
from palaver.server.errors import PROBLEM_JSON, Problem

T = TypeVar("T")
_REF = "#/components/schemas/{name}"
_kinds: set[Any] = {Problem}
JSON = "application/json"


class BadJson(PalaverError):
    """The body is no JSON."""

    code = "bad_json"
    default_hint = "Send one JSON object in UTF-8."


def _ref(kind: Any) -> dict[str, Any]:
    _kinds.add(kind)
    (schema,), _ = msgspec.json.schema_components([kind], ref_template=_REF)
    return schema


def body(kind: Any, *, example: Any = None) -> dict[str, Any]:
    """`openapi_extra` of a route that takes a JSON body of this type."""
    content: dict[str, Any] = {"schema": _ref(kind)}
    if example is not None:
        content["example"] = example
    return {"requestBody": {"required": True, "content": {JSON: content}}}


def answers(
    status: int, kind: Any = None, description: str = "Done.", *, errors: tuple[int, ...] = ()
) -> dict[int | str, dict[str, Any]]:
    """`responses` of a route: the good one, and the errors that it may have beside the common ones
    (401, 403, 422, 429, 503)."""
    good: dict[str, Any] = {"description": description}
    if kind is not None:
        good["content"] = {JSON: {"schema": _ref(kind)}}
    found: dict[int | str, dict[str, Any]] = {status: good}
    for each in {400, 401, 403, 413, 421, 422, 429, 500, 503, *errors} - {status}:
        found[each] = {
            "description": "An error.",
            "content": {PROBLEM_JSON: {"schema": _ref(Problem)}},
        }
    return found


async def read(request: Request, kind: type[T]) -> T:
    """The body of a request. Raises BadJson, and InvalidInput where a field is wrong."""
    raw = await request.body()
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        raise InvalidInput(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadJson(f"the body is no JSON: {error}") from error


def reply(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A value as a response."""
    return Response(
        msgspec.json.encode(value), status_code=status, headers=headers, media_type=JSON
    )


def describe(app: FastAPI) -> None:
    """Put the types' schemas into the OpenAPI document."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
                tags=app.openapi_tags,
            )
            kinds = sorted(_kinds, key=repr)
            _, components = msgspec.json.schema_components(kinds, ref_template=_REF)
            made.setdefault("components", {}).setdefault("schemas", {}).update(components)
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]

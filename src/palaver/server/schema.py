"""Bodies and answers as the types that the rest of the program uses, in JSON and in OpenAPI.

Each type is described once, where it is defined: `body` and `answers` name it in a route, `read`
takes it in, `reply` gives it out, and `document` puts its schema where it is named.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar, cast

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from palaver.domain.errors import InvalidInput, PalaverError
from palaver.server.errors import PROBLEM_JSON, TITLES, Problem
from palaver.server.json_form import check_form

T = TypeVar("T")
PLACE = "#/kinds/"
"""Stands in a route for a type's schema until all types are known, and with them their names."""
kinds: list[Any] = []
"""Every type that a route names, as `document` finds it."""
alternatives: dict[tuple[str, str], tuple[str, ...]] = {}
"""Fields of which a value has exactly one, by the type's module and name."""
JSON = "application/json"
EVENTS = "text/event-stream"
COMMON = (400, 401, 403, 408, 413, 415, 421, 422, 429, 431, 500, 503)
"""Errors that every route may answer with."""
STORED = (507,)
"""And those that write."""
OPEN: dict[str, Any] = {"security": []}
"""`openapi_extra` of a route that needs no key."""


class BadJson(PalaverError):
    """The body is no JSON."""

    code = "bad_json"
    default_hint = "Send one JSON object in UTF-8."


def _ref(kind: Any) -> dict[str, Any]:
    if kind not in kinds:
        kinds.append(kind)
    return {"$ref": f"{PLACE}{kinds.index(kind)}"}


def either(*fields: str) -> Callable[[type[T]], type[T]]:
    """Say of a type that a value has exactly one of these fields, which are `UNSET` otherwise."""

    def noted(kind: type[T]) -> type[T]:
        alternatives[kind.__module__, kind.__name__] = fields
        return kind

    return noted


def body(kind: Any, *, example: Any = None, required: bool = True) -> dict[str, Any]:
    """`openapi_extra` of a route that takes a JSON body of this type."""
    content: dict[str, Any] = {"schema": _ref(kind)}
    if example is not None:
        _kind_of(example, kind)
        content["example"] = example
    return {"requestBody": {"required": required, "content": {JSON: content}}}


def bytes_body(*media_types: str, description: str) -> dict[str, Any]:
    """`openapi_extra` of a route that takes bytes."""
    content = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in media_types}
    return {"requestBody": {"required": True, "description": description, "content": content}}


def _kind_of(example: Any, kind: Any) -> None:
    """An example that the type refuses is found when the module is imported, not by a reader."""
    msgspec.json.decode(msgspec.json.encode(example), type=kind)


def answers(
    status: int,
    kind: Any = None,
    description: str = "Done.",
    *,
    errors: Sequence[int] = (),
    example: Any = None,
    location: str = "",
    links: Mapping[str, Any] | None = None,
) -> dict[int | str, dict[str, Any]]:
    """`responses` of a route: the good one, and the errors that it may have beside `COMMON`.

    `location`: what the header of that name leads to. `links`: see `link`.
    """
    good: dict[str, Any] = {"description": description}
    if kind is not None:
        content: dict[str, Any] = {"schema": _ref(kind)}
        if example is not None:
            _kind_of(example, kind)
            content["example"] = example
        good["content"] = {JSON: content}
    if location:
        header = {"description": location, "required": True, "schema": {"type": "string"}}
        good["headers"] = {"Location": header}
    if links:
        good["links"] = dict(links)
    return {status: good} | problems(*{*COMMON, *errors} - {status})


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Answers of this kind, of which the document has one description each."""
    return {
        status: {
            "description": TITLES[status],
            "content": {PROBLEM_JSON: {"schema": _ref(Problem)}},
        }
        for status in sorted(statuses)
    }


def events(*among: Any) -> dict[str, Any]:
    """`content` of an answer that streams values of these types: each event's `data` is one."""
    schema = {"anyOf": [_ref(kind) for kind in among]}
    data = {"type": "string", "contentMediaType": JSON, "contentSchema": schema}
    names = {"type": "string", "description": "The `type` of the data."}
    id = {"type": "string", "description": "For `Last-Event-ID`."}
    properties = {"id": id, "event": names, "data": data, "retry": {"type": "integer"}}
    return {EVENTS: {"schema": {"type": "object", "properties": properties}}}


def link(operation: str, description: str = "", **parameters: str) -> dict[str, Any]:
    """A link from an answer to another operation: its parameters by where they stand, such as
    `$response.body#/id`."""
    return {"operationId": operation, "parameters": parameters, "description": description}


async def read(request: Request, kind: type[T], *, default: T | None = None) -> T:
    """The body of a request; `default` stands for an empty one. Raises BadJson for what is no JSON
    or might be read in two ways, and InvalidInput where a field is wrong."""
    raw = await request.body()
    if not raw and default is not None:
        return default
    try:
        await check_form(raw, depth=request.app.state.server.settings.json_depth)
        return cast("T", _decoder(cast("Hashable", kind)).decode(raw))
    except msgspec.ValidationError as error:
        raise InvalidInput(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise BadJson(f"the body is no JSON: {_short(error)}") from error


@lru_cache(maxsize=256)
def _decoder(kind: Hashable) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(cast("Any", kind))


def _short(error: BaseException) -> str:
    return str(error).encode("utf-8", "replace").decode()[:200]


def reply(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A value as a response."""
    return Response(
        msgspec.json.encode(value), status_code=status, headers=headers, media_type=JSON
    )

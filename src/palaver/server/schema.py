"""Bodies and answers as the types that the rest of the program uses, in JSON and in OpenAPI.

Each type is described once, where it is defined: `body` and `answers` name it in a route, `read`
takes it in, `reply` gives it out, and `describe` puts its schema into the document.
"""

import json
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar, cast

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.requests import Request
from starlette.responses import Response

from palaver.domain.errors import InvalidInput, PalaverError
from palaver.server.errors import PROBLEM_JSON, TITLES, Problem
from palaver.server.json_form import check_names

T = TypeVar("T")
_REF = "#/components/schemas/"
_PLACE = "#/kinds/"
"""Stands in a route for a type's schema until all types are known, and with them their names."""
_kinds: list[Any] = []
_either: dict[tuple[str, str], tuple[str, ...]] = {}
_AREAS = {"palaver.server.v1.": "OpenAI", "palaver.server.agui.": "AgUi"}
"""Types of these are named so where another area has one of the same name."""
JSON = "application/json"
EVENTS = "text/event-stream"
COMMON = (400, 401, 403, 408, 413, 415, 421, 422, 429, 431, 500, 503)
"""Errors that every route may answer with."""
STORED = (507,)
"""And those that write."""
OPEN: dict[str, Any] = {"security": []}
"""`openapi_extra` of a route that needs no key."""
TAGS = [
    {"name": "conversations", "description": "Make, find, read, change and erase conversations."},
    {"name": "turns", "description": "Say something and follow the answer."},
    {"name": "branches", "description": "Undo, redo, edit, regenerate, fork. Nothing is lost."},
    {"name": "context", "description": "What fills the window, and making it smaller."},
    {"name": "outbox", "description": "What waits until a model can be reached."},
    {"name": "files", "description": "Pictures and documents for messages."},
    {"name": "transfer", "description": "Conversations in and out, as documents."},
    {"name": "catalogue", "description": "Models, tools, usage."},
    {"name": "ag-ui", "description": "AG-UI: runs for user interfaces that speak it."},
    {"name": "openai", "description": "What clients of OpenAI's API speak."},
    {"name": "keys", "description": "Who may do what, and who did what."},
    {"name": "server", "description": "Health and version."},
]
SECURITY = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A key (`pal_…`, from `palaver keys create`), or a token of the issuer that "
        "the server trusts. A server without keys, which listens on a loopback address only, asks "
        "for none.",
    },
    "key": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "The same key in a header of its own.",
    },
}


class BadJson(PalaverError):
    """The body is no JSON."""

    code = "bad_json"
    default_hint = "Send one JSON object in UTF-8."


def _ref(kind: Any) -> dict[str, Any]:
    if kind not in _kinds:
        _kinds.append(kind)
    return {"$ref": f"{_PLACE}{_kinds.index(kind)}"}


def either(*fields: str) -> Callable[[type[T]], type[T]]:
    """Say of a type that a value has exactly one of these fields, which are `UNSET` otherwise."""

    def noted(kind: type[T]) -> type[T]:
        _either[kind.__module__, kind.__name__] = fields
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


def events(kind: Any) -> dict[str, Any]:
    """`content` of an answer that streams values of this type: each event's `data` is one."""
    data = {"type": "string", "contentMediaType": JSON, "contentSchema": _ref(kind)}
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
        await check_names(raw)
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


def describe(app: FastAPI) -> None:
    """Put the types' schemas, and what all routes have in common, into the OpenAPI document."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
                tags=TAGS,
            )
            components = made.setdefault("components", {})
            components["responses"] = _shared(made)
            components.setdefault("schemas", {}).update(_put_in(made))
            components["securitySchemes"] = SECURITY
            made["security"] = [{name: []} for name in SECURITY]
            made["servers"] = [{"url": "/"}]
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _put_in(document: dict[str, Any]) -> dict[str, Any]:
    """Put every type's schema in its places; returns the named ones."""
    inline, named = msgspec.json.schema_components(_kinds, ref_template=_REF + "{name}")
    for (module, name), fields in _either.items():
        found = named.get(f"{module}.{name}") or named.get(name)
        if found is not None:
            found["oneOf"] = [{"required": [field]} for field in fields]
    places = {f"{_PLACE}{i}": schema for i, schema in enumerate(inline)}
    names = {_REF + old: _REF + new for old, new in _names(named).items()}
    _replace(document, places)
    _rename(document, names)
    _rename(named, names)
    return {names[_REF + old].removeprefix(_REF): schema for old, schema in named.items()}


def _names(named: Iterable[str]) -> dict[str, str]:
    """The types' names in the document. Two of one name come with their modules, of which the
    document says only the area."""
    found: dict[str, str] = {}
    for old in sorted(named):
        module, _, name = old.rpartition(".")
        area = next((a for start, a in _AREAS.items() if module.startswith(start)), "")
        new = f"{area}{name}"
        found[old] = old if new in found.values() else new
    return found


def _replace(value: Any, instead: Mapping[str, dict[str, Any]]) -> None:
    """Put schemas in place of references to them, everywhere below `value`."""
    for each in _below(value):
        found = instead.get(each.get("$ref", ""))
        if found is not None:
            del each["$ref"]
            each.update(found)


def _rename(value: Any, names: Mapping[str, str]) -> None:
    """Give references, those of discriminators included, other names."""
    for each in _below(value):
        for key, old in each.items():
            if isinstance(old, str) and old in names:
                each[key] = names[old]


def _below(value: Any) -> Iterator[dict[str, Any]]:
    """Every object of a document, the innermost first."""
    if isinstance(value, list):
        for each in value:
            yield from _below(each)
    elif isinstance(value, dict):
        for each in value.values():
            yield from _below(each)
        yield value


def _shared(document: dict[str, Any]) -> dict[str, Any]:
    """Take the answers that many operations have in the same words out of them."""
    shared: dict[str, Any] = {}
    same = {json.dumps(made): str(status) for status, made in problems(*TITLES).items()}
    for operation in _operations(document):
        responses = operation["responses"]
        for status, response in responses.items():
            if same.get(json.dumps(response)) == status:
                name = f"Problem{status}"
                shared[name] = response
                responses[status] = {"$ref": f"#/components/responses/{name}"}
    return dict(sorted(shared.items()))


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        yield from (each for each in path.values() if "responses" in each)

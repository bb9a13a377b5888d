"""The OpenAPI document: what the routes say, with every type's schema put in its places.

FastAPI writes the operations; the types are msgspec's, and the texts of their fields are read from
the source. It is made once, in a thread: it takes some hundred milliseconds.
"""

import asyncio
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from palaver.server import schema
from palaver.server.errors import TITLES
from palaver.server.field_docs import docs_of, structs_in
from palaver.server.schema import JSON, problems

_REF = "#/components/schemas/"
_AREAS = {"palaver.server.v1.": "OpenAI", "palaver.server.agui.": "AgUi"}
"""Types of these are named so where another area has one of the same name."""
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


def describe(app: FastAPI, asks: Mapping[str, str]) -> None:
    """Put the types' schemas, and what all routes have in common, into the OpenAPI document.

    `asks`: the permission that an operation asks for, by its id.
    """

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
            for operation in _operations(made):
                if permission := asks.get(operation["operationId"]):
                    operation["security"] = [{name: [permission]} for name in SECURITY]
            app.openapi_schema = made
        return app.openapi_schema

    async def written(request: Request) -> Response:
        return Response(await asyncio.to_thread(_written, app), media_type=JSON)

    app.openapi = openapi  # type: ignore[method-assign]
    assert app.openapi_url is not None
    app.router.routes.insert(0, Route(app.openapi_url, written, include_in_schema=False))


_texts: WeakKeyDictionary[FastAPI, bytes] = WeakKeyDictionary()


def _written(app: FastAPI) -> bytes:
    found = _texts.get(app)
    if found is None:
        found = _texts[app] = json.dumps(app.openapi()).encode()
    return found


def _put_in(document: dict[str, Any]) -> dict[str, Any]:
    """Put every type's schema in its places; returns the named ones."""
    inline, named = msgspec.json.schema_components(schema.kinds, ref_template=_REF + "{name}")
    for (module, name), fields in schema.alternatives.items():
        found = named.get(f"{module}.{name}") or named.get(name)
        if found is not None:
            found["oneOf"] = [{"required": [field]} for field in fields]
    for kind in structs_in(schema.kinds):
        component = named.get(f"{kind.__module__}.{kind.__name__}") or named.get(kind.__name__, {})
        for field, text in docs_of(kind).items():
            component.get("properties", {}).get(field, {}).setdefault("description", text)
    places = {f"{schema.PLACE}{i}": made for i, made in enumerate(inline)}
    names = {_REF + old: _REF + new for old, new in _names(named).items()}
    _replace(document, places)
    _rename(document, names)
    _rename(named, names)
    return {names[_REF + old].removeprefix(_REF): made for old, made in named.items()}


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

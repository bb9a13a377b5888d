"""All ways into the server, as its app has them: no list that somebody could forget to extend."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.routing import WebSocketRoute

from palaver.server.app import create_app
from palaver.server.core import Server

OPEN = {
    ("GET", "/api/health/live"),
    ("GET", "/api/health/ready"),
    ("GET", "/api/version"),
    ("GET", "/api/openapi.json"),
    ("GET", "/api/docs"),
}
"""What needs no key, each for a reason: probes, the version, and the description of the API, which
is the same for everybody."""


class Way(msgspec.Struct, frozen=True):
    """A method and a path, with an example of a body where it takes one."""

    method: str
    path: str
    body: Any = None
    query: tuple[str, ...] = ()
    is_documented: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """Of the ids in the path."""
        return tuple(p.strip("{}").partition(":")[0] for p in self.path.split("/") if "{" in p)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def at(self, ids: Mapping[str, str]) -> str:
        """The path with these ids in it."""
        parts = self.path.split("/")
        return "/".join(ids[p.strip("{}").partition(":")[0]] if "{" in p else p for p in parts)


def app_of(server: Server) -> FastAPI:
    """The app behind everything that wraps it."""
    app: Any = create_app(server)
    while not isinstance(app, FastAPI):
        app = app._app
    return app


def ways(server: Server) -> list[Way]:
    """Every method of every route that needs a key."""
    app = app_of(server)
    document = app.openapi()["paths"]
    found = []
    for route in iter_route_contexts(app.routes):
        path = route.path or ""
        for method in sorted(set(route.methods or ()) - {"HEAD", "OPTIONS"}):
            if (method, path) not in OPEN:
                described = document.get(_documented(path), {}).get(method.lower())
                found.append(_way(method, path, described))
    return found


def sockets(server: Server) -> list[str]:
    """The path of every WebSocket."""
    routes = iter_route_contexts(app_of(server).routes)
    return [r.path or "" for r in routes if isinstance(r.original_route, WebSocketRoute)]


def _documented(path: str) -> str:
    return "/".join(
        "{" + p.strip("{}").partition(":")[0] + "}" if "{" in p else p for p in path.split("/")
    )


def _way(method: str, path: str, described: Any) -> Way:
    if described is None:
        return Way(method, path, is_documented=False)
    content = described.get("requestBody", {}).get("content", {})
    body = content.get("application/json", {}).get("example")
    if content and body is None:
        body = b"words" if "application/json" not in content else {}
    query = tuple(p["name"] for p in described.get("parameters", ()) if p["in"] == "query")
    return Way(method, path, body, query)


def sent(way: Way) -> dict[str, Any]:
    """The body of a request, as an HTTP client takes it."""
    if way.body is None:
        return {}
    if isinstance(way.body, bytes):
        return {"data": way.body, "headers": {"content-type": "text/plain"}}
    return {"data": json.dumps(way.body), "headers": {"content-type": "application/json"}}

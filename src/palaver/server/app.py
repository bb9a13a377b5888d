"""The app: START READING HERE. Each module adds its routes; `gate` stands before all of them."""

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.types import ASGIApp

from palaver import __version__
from palaver.server import (
    branches,
    catalogue,
    context,
    conversations,
    docs_page,
    document,
    errors,
    files,
    health,
    keys,
    operations,
    outbox,
    tickets,
    transfer,
    turns,
    usage,
    ws,
)
from palaver.server.agui import route as agui
from palaver.server.core import Server, asked_by
from palaver.server.gate import Gate
from palaver.server.v1 import app as v1

ABOUT = """Conversations with language models: they are kept, compacted, streamed and recovered.

Every id is one of the caller's own tenant; others do not exist. Errors have one shape, `Problem`.
"""
ROUTERS = (
    health.router,
    conversations.router,
    turns.router,
    branches.router,
    context.router,
    outbox.router,
    files.router,
    transfer.router,
    catalogue.router,
    usage.router,
    keys.router,
    operations.audit_router,
    agui.router,
    tickets.router,
    ws.router,
)
"""Below `/api`."""


def operation_of(route: APIRoute) -> str:
    """The route's stable name, by which generated clients call it."""
    area = route.path.split("/")[1]
    return route.name if area == "api" else f"{area}_{route.name}"


def asks() -> dict[str, str]:
    """What each operation asks of its caller, by the operation's name."""
    named = [("", router) for router in ROUTERS] + [("v1_", router) for router in v1.ROUTERS]
    routes = [(area, r) for area, router in named for r in router.routes if isinstance(r, APIRoute)]
    found = {f"{area}{route.name}": asked_by(route.endpoint) for area, route in routes}
    return {name: permission for name, permission in found.items() if permission is not None}


def create_app(server: Server) -> ASGIApp:
    """The whole server as one ASGI app."""
    app = FastAPI(
        title="Palaver",
        version=__version__,
        description=ABOUT,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        generate_unique_id_function=operation_of,
    )
    app.state.server = server
    errors.install(app)
    for router in ROUTERS:
        app.include_router(router, prefix="/api")
    app.include_router(operations.metrics_router)
    app.include_router(docs_page.router)
    for router in v1.ROUTERS:
        app.include_router(router, prefix="/v1")
    document.describe(app, asks())
    return v1.OpenAIErrors(Gate(app, server))

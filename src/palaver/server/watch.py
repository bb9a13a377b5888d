"""What is noted of each answer as it leaves: limits in its head, the audit log, metrics."""

from starlette.types import Scope

from palaver.server import limits
from palaver.server.audit import template_of
from palaver.server.core import Server

OPENAI = "/v1/"


class Watch:
    """Sees the beginning of every answer."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def begins(self, scope: Scope, status: int) -> list[tuple[bytes, bytes]]:
        """A request is about to be answered: what it did is durable in the audit log when this
        returns. Gives the headers that say what is left of the caller's limits."""
        server = self._server
        server.metrics.request(scope["method"], template_of(scope), status)
        await server.audit.answered(scope, status)
        left = scope.get(limits.QUOTA)
        if left is None:
            return []
        return limits.headers(left, is_openai=scope["path"].startswith(OPENAI))

    async def refused_socket(self, scope: Scope, why: str) -> None:
        """A socket was refused before it was one."""
        await self._server.audit.refused(scope, why)

"""What tests of the REST API say again and again."""

from typing import Any

from tests.server.conftest import Served


async def call(
    served: Served, method: str, path: str, *, status: int = 200, **request: Any
) -> dict[str, Any]:
    """The answer to a request that has this status; empty for one without content."""
    async with served.http.request(method, f"/api{path}", **request) as response:
        assert response.status == status, await response.text()
        if not response.content_type.endswith("json"):
            return {}
        found: dict[str, Any] = await response.json()
        return found


async def say(served: Served, conversation: str, text: str, **more: Any) -> dict[str, Any]:
    """The whole answer to a message."""
    path = f"/conversations/{conversation}/turns?wait=30"
    return await call(served, "POST", path, json={"text": text, **more})

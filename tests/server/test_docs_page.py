"""The page that shows the API."""

import html

from tests.server.conftest import Serving


async def test_it_shows_every_operation_and_runs_nothing(serving: Serving) -> None:
    """Every operation and type is on it; it needs no key, no script and no other host."""
    served = await serving()
    key = await served.key("read")
    async with served.http.get("/api/docs") as answer:
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("text/html")
        policy = answer.headers["content-security-policy"]
        page = await answer.text()
    assert "script" not in policy
    assert "<script" not in page
    assert "http://" not in page.replace("http://127.0.0.1", "")
    async with served.http.get("/api/openapi.json", headers=key) as answer:
        document = await answer.json()
    for path, methods in document["paths"].items():
        assert f"<code>{html.escape(path)}</code>" in page
        assert all(f"<b>{method.upper()}</b>" in page for method in methods)
    for name in document["components"]["schemas"]:
        assert f'id="{name}"' in page

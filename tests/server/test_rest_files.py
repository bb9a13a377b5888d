"""Files over HTTP: stored once, told by their bytes, never shown by a browser."""

import pytest

from palaver.testing import ScriptedModel
from tests.server.conftest import Serving
from tests.server.rest_calls import call

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000020000000308020000001216f14d"
    "0000000c4944415408d763f8cfc000000301010018dd8db00000000049454e44ae426082"
)


async def test_uploaded_and_said(serving: Serving) -> None:
    """The block of an upload goes into a message as it is, and the model gets the picture."""
    model = ScriptedModel(["A dot."])
    served = await serving(model)
    headers = {"content-type": "image/png"}
    file = await call(served, "POST", "/files?name=dot.png", data=PNG, headers=headers, status=201)
    assert file["block"] == {
        "type": "image",
        "media_type": "image/png",
        "blob": file["id"],
        "name": "dot.png",
        "width": 2,
        "height": 3,
    }
    path = f"/conversations/{await served.conversation()}/turns?wait=30"
    content = [{"type": "text", "text": "What is it?"}, file["block"]]
    await call(served, "POST", path, json={"content": content})
    picture = model.requests[0].messages[-1].content[1]
    assert getattr(picture, "blob", None) == file["id"]


async def test_named_by_id_alone(serving: Serving) -> None:
    """A message may name a file by its id alone: the bytes tell what it is."""
    served = await serving(ScriptedModel(["A dot."]))
    headers = {"content-type": "image/png"}
    file = await call(served, "POST", "/files", data=PNG, headers=headers, status=201)
    path = f"/conversations/{await served.conversation()}/turns?wait=30"
    block = {"type": "image", "blob": file["id"], "media_type": "image/gif", "width": 7}
    answer = await call(served, "POST", path, json={"content": [block]})
    conversation = answer["message"]["parent"]
    assert conversation
    text = await call(
        served, "POST", "/files", data=b"words", headers={"content-type": "text/plain"}, status=201
    )
    wrong = {"type": "image", "blob": text["id"]}
    await call(served, "POST", path, json={"content": [wrong]}, status=422)


async def test_stored_once(serving: Serving) -> None:
    """The same bytes have the same id; they come back as a download that no browser runs."""
    served = await serving()
    headers = {"content-type": "text/html"}
    page = b"<script>alert(1)</script>"
    one = await call(served, "POST", "/files?name=a.html", data=page, headers=headers, status=201)
    two = await call(served, "POST", "/files?name=b.html", data=page, headers=headers, status=201)
    assert one["id"] == two["id"]
    response = await served.http.get(f"/api/files/{one['id']}", params={"name": 'a"\r\n.html'})
    assert await response.read() == page
    assert response.content_type == "application/octet-stream"
    assert response.headers["x-content-type-options"] == "nosniff"
    found = response.headers["content-disposition"]
    assert found == "attachment; filename*=UTF-8''a%22%0D%0A.html"


@pytest.mark.parametrize(
    "data,kind,status",
    [
        pytest.param(b"no picture", "image/png", 422, id="said to be a picture"),
        pytest.param(PNG, "image/jpeg", 422, id="another picture"),
        pytest.param(PNG, "text/plain", 422, id="a picture said to be text"),
        pytest.param(b"MZ", "application/x-msdownload", 415, id="of a type that is not taken"),
        pytest.param(b"", "text/plain", 422, id="empty"),
    ],
)
async def test_not_taken(serving: Serving, data: bytes, kind: str, status: int) -> None:
    """What is not what it is said to be is refused, and so is what nobody attaches."""
    served = await serving()
    headers = {"content-type": kind}
    await call(served, "POST", "/files", data=data, headers=headers, status=status)


async def test_too_large(serving: Serving) -> None:
    """An upload is counted as it comes, whatever it says of its length."""
    served = await serving(upload_bytes=1000)

    async def endless() -> object:
        for _ in range(100):
            yield b"x" * 100

    response = await served.http.post(
        "/api/files", data=endless(), headers={"content-type": "text/plain"}
    )
    assert response.status == 413


async def test_of_another_tenant(serving: Serving) -> None:
    """A file of another tenant is not there: not to be had, not to be said."""
    served = await serving(ScriptedModel(["Yes."]))
    ours, theirs = await served.key(), await served.key(tenant="theirs")
    headers = {"content-type": "text/plain", **theirs}
    file = await call(served, "POST", "/files", data=b"secret", headers=headers, status=201)
    await call(served, "GET", f"/files/{file['id']}", headers=ours, status=404)
    path = f"/conversations/{await served.conversation()}/turns"
    body = {"content": [file["block"]]}
    await call(served, "POST", path, json=body, headers=ours, status=404)

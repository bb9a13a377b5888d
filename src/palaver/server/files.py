"""Files over HTTP: uploaded as they are, kept once by their content, named in messages by their id.

Nothing is believed of what an upload says about itself that its bytes can tell, and nothing that
comes back from here is ever shown by a browser: it is a download of the type that was told.
"""

from collections.abc import AsyncIterator
from typing import Annotated
from urllib.parse import quote

import msgspec
from fastapi import APIRouter, Header, Query, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response, StreamingResponse

from palaver.domain.errors import InvalidInput, PalaverError
from palaver.domain.ids import BlobId
from palaver.domain.messages import File, Image
from palaver.domain.pictures import PICTURES
from palaver.domain.text import clean
from palaver.server.core import Reader, Writer
from palaver.server.given import described
from palaver.server.schema import STORED, answers, bytes_body, link, reply

router = APIRouter(tags=["files"])
BYTES = "application/octet-stream"
_OFFICE = "application/vnd.openxmlformats-officedocument."
ATTACHED = (
    "image/*",
    "audio/*",
    "text/*",
    "application/json",
    "application/xml",
    "application/pdf",
    "application/rtf",
    "application/zip",
    "application/msword",
    "application/vnd.ms-excel",
    f"{_OFFICE}presentationml.presentation",
    f"{_OFFICE}spreadsheetml.sheet",
    f"{_OFFICE}wordprocessingml.document",
    BYTES,
)
"""Taken where the settings name nothing."""


class WrongMediaType(PalaverError):
    """The server does not take files of this type."""

    code = "wrong_media_type"


class UploadedFile(msgspec.Struct, frozen=True):
    """A stored file. One that no message names is deleted after a day at the earliest."""

    id: BlobId
    """By its content: the same bytes have the same id."""
    name: str
    media_type: str
    size: int
    """Bytes."""
    block: Image | File
    """What goes into a message's `content` as it is."""


def is_taken(media_type: str, allowed: tuple[str, ...]) -> bool:
    """Whether files of this type may come in; `text/*` stands for all of its kind."""
    whole = f"{media_type.partition('/')[0]}/*"
    return media_type in allowed or whole in allowed or "*/*" in allowed


@router.post(
    "/files",
    status_code=201,
    openapi_extra=bytes_body(
        "image/png", "application/pdf", "text/plain", BYTES, description="The file as it is."
    ),
    responses=answers(
        201,
        UploadedFile,
        "It is stored.",
        errors=STORED,
        location="The file.",
        links={"download": link("download_file", file="$response.body#/id")},
    ),
    response_model=None,
)
async def upload_file(
    request: Request,
    caller: Writer,
    name: Annotated[str, Query(max_length=300, description="The file's name.")] = "",
    content_type: Annotated[str, Header(include_in_schema=False)] = BYTES,
) -> Response:
    """Store a picture or a document for messages. The body is the file, `Content-Type` its type."""
    declared = content_type.partition(";")[0].strip().lower()
    if not is_taken(declared, caller.server.settings.file_types or ATTACHED):
        raise WrongMediaType(
            f"files of the type {declared[:100]!r} are not taken",
            hint="`server.file_types` of the settings lists those that are.",
        )
    scope, blobs = caller.principal.scope, caller.server.parts.blobs
    shown = clean(name)[0]
    blob = await blobs.put(scope, _some(request.stream()))
    block = await described(caller, blob, name=shown, media_type=declared)
    if isinstance(block, Image) and declared not in (block.media_type, BYTES):
        raise InvalidInput(
            f"the file is {block.media_type}, not the {declared} that it is said to be"
        )
    size = await blobs.size(scope, blob)
    made = UploadedFile(blob, shown, block.media_type, size, block)
    return reply(made, 201, headers={"location": f"/api/files/{blob}"})


async def _some(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The pieces that hold anything. Raises InvalidInput where none does, or where they end too
    early."""
    has_come = False
    try:
        async for piece in pieces:
            if piece:
                has_come = True
                yield piece
    except ClientDisconnect:
        raise InvalidInput("the upload broke off") from None
    if not has_come:
        raise InvalidInput("the file is empty")


def _downloaded() -> dict[int | str, dict[str, object]]:
    found = answers(200, None, "The file, as a download.", errors=(404,))
    binary = {"schema": {"type": "string", "format": "binary"}}
    found[200]["content"] = dict.fromkeys((BYTES, *PICTURES), binary)
    return found


@router.get("/files/{file}", responses=_downloaded(), response_model=None)
async def download_file(
    caller: Reader,
    file: str,
    name: Annotated[str, Query(max_length=300, description="To be saved under.")] = "",
) -> Response:
    """A stored file, or the whole output of a tool."""
    blob = BlobId(file)
    scope, blobs = caller.principal.scope, caller.server.parts.blobs
    found = await described(caller, blob, name="", media_type=BYTES)
    size = await blobs.size(scope, blob)
    saved = quote(clean(name)[0] or blob.partition(":")[2][:16], safe="")
    headers = {
        "content-length": str(size),
        "content-disposition": f"attachment; filename*=UTF-8''{saved}",
        "etag": f'"{blob}"',
    }
    kind = found.media_type if isinstance(found, Image) else BYTES
    return StreamingResponse(blobs.get(scope, blob), media_type=kind, headers=headers)

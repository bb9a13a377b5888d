"""Conversations in and out, as documents."""

from collections.abc import Mapping
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from palaver.domain.errors import InvalidInput
from palaver.server.core import Reader, Writer
from palaver.server.schema import STORED, answers, bytes_body, reply
from palaver.service.transfer import ExportFormat, ImportReport

router = APIRouter(tags=["transfer"])
MEDIA_TYPES: Mapping[ExportFormat, tuple[str, str]] = {
    "markdown": ("text/markdown; charset=utf-8", "md"),
    "jsonl": ("application/x-ndjson", "jsonl"),
    "openai": ("application/json", "json"),
    "html": ("text/html; charset=utf-8", "html"),
}


class ImportPage(msgspec.Struct, frozen=True):
    """What came in: every conversation of the file."""

    items: tuple[ImportReport, ...]
    cursor: str | None = None


def _exported() -> dict[int | str, dict[str, object]]:
    found = answers(200, None, "The document, as a download.", errors=(404,))
    found[200]["content"] = {
        kind.partition(";")[0]: {"schema": {"type": "string"}} for kind, _ in MEDIA_TYPES.values()
    } | {"application/json": {"schema": {"type": "object"}}}
    return found


@router.get("/conversations/{conversation}/export", responses=_exported(), response_model=None)
async def export_conversation(
    caller: Reader, conversation: str, format: ExportFormat = "markdown"
) -> Response:
    """A conversation as a document: Markdown, lossless JSON Lines (which `import` takes back),
    OpenAI's chat format, or an HTML page that stands alone."""
    data = await caller.manager.export(conversation, format)
    kind, ending = MEDIA_TYPES[format]
    return Response(
        data,
        headers={
            "content-type": kind,
            "content-disposition": f'attachment; filename="{conversation}.{ending}"',
        },
    )


@router.post(
    "/import",
    status_code=201,
    openapi_extra=bytes_body(
        "application/octet-stream",
        "application/json",
        "application/x-ndjson",
        "text/markdown",
        description="The file as it is: an export of Palaver, or of one of the programs that the "
        "reference of imports lists.",
    ),
    responses=answers(201, ImportPage, "What came in.", errors=STORED),
    response_model=None,
)
async def import_conversations(
    request: Request,
    caller: Writer,
    name: Annotated[
        str, Query(max_length=300, description="The file's name, which helps to tell its format.")
    ] = "",
    format: Annotated[
        str | None, Query(max_length=50, description="Its format, where that is not to be guessed.")
    ] = None,
) -> Response:
    """Store every conversation that a file holds. 422 for a file that nothing can read; then
    nothing is stored."""
    data = await request.body()
    if not data:
        raise InvalidInput("the body is empty", hint="Send the file as the body.")
    reports = await caller.manager.import_conversations(data, name=name, format=format)
    return reply(ImportPage(reports), 201)

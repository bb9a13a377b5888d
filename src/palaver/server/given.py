"""What callers say, checked for its form before anything else sees it.

The blocks that an upload answers with go into a message as they are; of what they claim about a
file nothing is believed that its bytes can tell.
"""

import mimetypes
from collections.abc import Sequence
from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta

from palaver.domain.errors import InvalidInput, NotFound
from palaver.domain.ids import BlobId
from palaver.domain.messages import Block, File, Image, Text
from palaver.domain.pictures import PICTURES, picture_size, picture_type
from palaver.domain.values import ClientTool, OutputSchema
from palaver.server.core import Caller

Line: TypeAlias = Annotated[str, Meta(max_length=500)]
"""A title, a tag, a name."""
Name: TypeAlias = Annotated[str, Meta(max_length=200)]
Key: TypeAlias = Annotated[str, Meta(min_length=1, max_length=255)]
"""An idempotency key."""
AnyId: TypeAlias = Annotated[str, Meta(min_length=1, max_length=300)]
"""Of a message, a call, a blob, wherever it came from."""
Long: TypeAlias = Annotated[str, Meta(max_length=2_000_000)]
"""Characters; `message_bytes` of the settings may be the nearer bound."""
MediaType: TypeAlias = Annotated[
    str, Meta(pattern=r"^$|^[A-Za-z0-9.+-]{1,60}/[A-Za-z0-9.+_-]{1,120}$")
]
Address: TypeAlias = Annotated[str, Meta(pattern="^https?://", max_length=4_000)]
Pixels: TypeAlias = Annotated[int, Meta(ge=0, le=1_000_000)]
Bytes: TypeAlias = Annotated[int, Meta(ge=0, le=2**53)]
HEAD_BYTES = 64 * 1024
"""Of a file, in which a picture says what it is and how large."""


class GivenText(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="text", tag_field="type"
):
    """Text."""

    text: Long


class GivenImage(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="image", tag_field="type"
):
    """A picture: by the id of an uploaded file, or by an address that the provider reads."""

    blob: AnyId | None = None
    url: Address | None = None
    name: Line = ""
    media_type: MediaType = ""
    width: Pixels = 0
    height: Pixels = 0


class GivenFile(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="file", tag_field="type"
):
    """A document: by the id of an uploaded file, or by an address that the provider reads."""

    blob: AnyId | None = None
    url: Address | None = None
    name: Line = ""
    media_type: MediaType = ""
    size: Bytes = 0


GivenBlock: TypeAlias = GivenText | GivenImage | GivenFile
Content: TypeAlias = Annotated[tuple[GivenBlock, ...], Meta(min_length=1, max_length=100)]


class GivenOutput(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The shape that the answer is to have: a JSON Schema of an object."""

    schema: dict[str, Any]
    name: Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,64}$")] = "reply"

    def checked(self) -> OutputSchema:
        """As the rest of the program takes it. Raises InvalidInput."""
        import jsonschema

        if self.schema.get("type") != "object":
            raise InvalidInput("the shape of an answer must be an object")
        try:
            jsonschema.Draft202012Validator.check_schema(self.schema)
        except jsonschema.SchemaError as error:
            raise InvalidInput(f"this is no JSON Schema: {error.message[:200]}") from error
        return OutputSchema(self.name, self.schema)


class GivenTool(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tool that the caller runs: its calls are held until the caller gives their results."""

    name: Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,64}$")]
    description: Annotated[str, Meta(max_length=10_000)] = ""
    parameters_schema: dict[str, Any] = {}
    """JSON Schema of an object; empty: no arguments."""


def tools_of(given: Sequence[GivenTool]) -> tuple[ClientTool, ...]:
    """As the rest of the program takes them."""
    return tuple(ClientTool(t.name, t.description, t.parameters_schema) for t in given)


async def said(
    caller: Caller, text: str | None, content: Sequence[GivenBlock] | None
) -> str | tuple[Block, ...]:
    """What is to be said. Raises InvalidInput, and NotFound for a file that is not there."""
    if (text is None) == (content is None):
        raise InvalidInput("give either `text` or `content`")
    if text is not None:
        return text
    assert content is not None
    return tuple([await _block(caller, given) for given in content])


async def _block(caller: Caller, given: GivenBlock) -> Block:
    match given:
        case GivenText(text=text):
            return Text(text)
        case GivenImage() | GivenFile() if (given.blob is None) == (given.url is None):
            raise InvalidInput("a picture or file has either a `blob` or a `url`")
        case GivenImage(blob=None):
            return Image(given.media_type, None, given.url, given.name, given.width, given.height)
        case GivenFile(blob=None):
            return File(given.media_type, None, given.url, given.name, given.size)
        case _:
            assert given.blob is not None
            found = await described(
                caller, BlobId(given.blob), name=given.name, media_type=given.media_type
            )
            if isinstance(given, GivenImage) and not isinstance(found, Image):
                raise InvalidInput("this file is no picture", hint="Attach it as a `file`.")
            return found


async def described(caller: Caller, blob: BlobId, *, name: str, media_type: str) -> Image | File:
    """The block for a stored file. Raises NotFound, and InvalidInput for what is said to be a
    picture and is none."""
    scope, blobs = caller.principal.scope, caller.server.parts.blobs
    size = await blobs.size(scope, blob)
    head = await _head(caller, blob)
    picture = picture_type(head)
    if picture:
        width, height = picture_size(head)
        return Image(picture, blob, name=name, width=width, height=height)
    if media_type in PICTURES:
        raise InvalidInput(f"this file is not the {media_type} that it is said to be")
    kind = media_type or mimetypes.guess_type(name)[0] or "application/octet-stream"
    return File(kind, blob, name=name, size=size)


async def _head(caller: Caller, blob: BlobId) -> bytes:
    head = b""
    pieces = caller.server.parts.blobs.get(caller.principal.scope, blob)
    try:
        async for piece in pieces:
            head += piece
            if len(head) >= HEAD_BYTES:
                break
    finally:
        close = getattr(pieces, "aclose", None)
        if close is not None:
            await close()
    if not head:
        raise NotFound(f"there is no file {blob[:80]!r}")
    return head[:HEAD_BYTES]

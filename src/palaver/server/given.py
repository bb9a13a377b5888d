"""What callers say, checked for its form before anything else sees it.

The blocks that an upload answers with go into a message as they are; of what they claim about a
file nothing is believed that its bytes can tell.
"""

import mimetypes
from collections.abc import Sequence
from typing import Annotated, Any, Protocol, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from palaver.domain.errors import InvalidInput, NotFound
from palaver.domain.ids import BlobId
from palaver.domain.messages import Block, File, Image, Text
from palaver.domain.pictures import PICTURES, picture_size, picture_type
from palaver.domain.values import ClientTool, OutputSchema
from palaver.server.core import Caller
from palaver.server.schema import either

Line: TypeAlias = Annotated[str, Meta(max_length=500)]
"""A title, a tag, a name."""
Name: TypeAlias = Annotated[str, Meta(max_length=200)]
Key: TypeAlias = Annotated[str, Meta(min_length=1, max_length=255)]
"""An idempotency key."""
AnyId: TypeAlias = Annotated[str, Meta(min_length=1, max_length=300)]
"""Of a message, a call, a blob, wherever it came from."""
Said: TypeAlias = Annotated[str, Meta(pattern=r"\S", min_length=1, max_length=2_000_000)]
"""Text that says something."""
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


@either("blob", "url")
class GivenImage(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="image", tag_field="type"
):
    """A picture: by the id of an uploaded file, or by an address that the provider reads."""

    blob: AnyId | UnsetType = UNSET
    url: Address | UnsetType = UNSET
    name: Line = ""
    media_type: MediaType = ""
    width: Pixels = 0
    height: Pixels = 0


@either("blob", "url")
class GivenFile(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="file", tag_field="type"
):
    """A document: by the id of an uploaded file, or by an address that the provider reads."""

    blob: AnyId | UnsetType = UNSET
    url: Address | UnsetType = UNSET
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


class Saying(Protocol):
    """Something that is said: `text` or `content`."""

    @property
    def text(self) -> str | UnsetType:
        """Words alone."""
        ...

    @property
    def content(self) -> Sequence[GivenBlock] | UnsetType:
        """Words, pictures and files."""
        ...


async def said(caller: Caller, given: Saying) -> str | tuple[Block, ...]:
    """What is to be said. Raises InvalidInput, and NotFound for a file that is not there."""
    text, content = given.text, given.content
    if isinstance(text, UnsetType) == isinstance(content, UnsetType):
        raise InvalidInput("give either `text` or `content`")
    if not isinstance(text, UnsetType):
        return text
    assert not isinstance(content, UnsetType)
    return tuple([await _block(caller, block) for block in content])


async def _block(caller: Caller, given: GivenBlock) -> Block:
    match given:
        case GivenText(text=text):
            return Text(text)
        case GivenImage(blob=UnsetType(), url=str(url)):
            return Image(given.media_type, None, url, given.name, given.width, given.height)
        case GivenFile(blob=UnsetType(), url=str(url)):
            return File(given.media_type, None, url, given.name, given.size)
        case (
            GivenImage(blob=str(blob), url=UnsetType()) | GivenFile(blob=str(blob), url=UnsetType())
        ):
            found = await described(
                caller, BlobId(blob), name=given.name, media_type=given.media_type
            )
            if isinstance(given, GivenImage) and not isinstance(found, Image):
                raise InvalidInput("this file is no picture", hint="Attach it as a `file`.")
            return found
        case _:
            raise InvalidInput("a picture or file has either a `blob` or a `url`")


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

"""What requests of both OpenAI APIs share: whom they go to, attachments, schemas, effort."""

import base64
import re
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

import msgspec

from palaver.domain.errors import InvalidInput
from palaver.domain.messages import File, Image
from palaver.providers.base import BlobReader, ModelInfo, ToolSpec

Effort: TypeAlias = Literal["off", "low", "medium", "high"]
_NAME = re.compile(r"[^A-Za-z0-9_-]")
_TEXTUAL = re.compile(
    r"text/|application/(json|xml|yaml|toml|x-ndjson|javascript|x-sh)|.*\+(json|xml)$"
)


class Server(msgspec.Struct, frozen=True):
    """The address and what is known of who answers there."""

    base_url: str

    @property
    def host(self) -> str:
        """Its name without port, in lower case."""
        return urlsplit(self.base_url).hostname or ""

    @property
    def is_openai(self) -> bool:
        """OpenAI itself."""
        return self.host == "api.openai.com" or self.host.endswith(".api.openai.com")

    @property
    def is_azure(self) -> bool:
        """OpenAI's models at Azure: the same API, another header for the key."""
        return self.host.endswith((".openai.azure.com", ".services.ai.azure.com"))

    def url(self, path: str) -> str:
        """The address of an endpoint; a query of the base address stays behind the path."""
        parts = urlsplit(self.base_url)
        return parts._replace(path=parts.path.rstrip("/") + path).geturl()


class Refused(msgspec.Struct):
    """What this server has refused, so that it is not asked for again. Grows while requests run."""

    stream_options: bool = False
    max_tokens: bool = False
    summary: bool = False
    encrypted: bool = False

    def learn(self, message: str) -> bool:
        """Whether the text of a refusal names something that can be left out from now on."""
        for name, pattern in _NEGOTIABLE:
            if not getattr(self, name) and re.search(pattern, message, re.IGNORECASE):
                setattr(self, name, True)
                return True
        return False


_NEGOTIABLE = (
    ("stream_options", r"stream_options|include_usage"),
    ("max_tokens", r"'?max_tokens'? is not supported.*max_completion_tokens"),
    ("summary", r"reasoning[._ ]summar"),
    ("encrypted", r"encrypted[_ ]content.{0,60}support|support.{0,60}encrypted[_ ]content"),
)


def opened(fields: bytes, name: bytes) -> bytes:
    """The object `fields` with one more field, up to the beginning of that one's array."""
    return b'%s,"%s":[' % (fields[:-1], name)


class Attachments(msgspec.Struct, frozen=True):
    """Gets at pictures and files for a model, as far as it takes them."""

    info: ModelInfo
    read_blob: BlobReader | None = None

    async def image_url(self, image: Image) -> str | None:
        """The picture's address, or its bytes as a data: address; None if the model takes none.

        Raises InvalidInput for a picture without source, NotFound for a blob that is gone.
        """
        if not self.info.images:
            return None
        return image.url or await self._data_url(image, image.media_type or "image/png")

    async def file_url(self, file: File) -> str | None:
        """The file's bytes as a data: address; None if the model takes no files or it has none."""
        if not self.info.files or file.blob is None:
            return None
        return await self._data_url(file, file.media_type or "application/octet-stream")

    async def file_text(self, file: File) -> str | None:
        """What is in a text file; None for every other kind."""
        if file.blob is None or not _TEXTUAL.match(file.media_type):
            return None
        text = (await self._bytes(file)).decode("utf-8", "replace")
        return f"{file.name or 'File'}:\n\n{text}"

    async def _data_url(self, block: Image | File, media_type: str) -> str:
        encoded = base64.b64encode(await self._bytes(block)).decode()
        return f"data:{media_type};base64,{encoded}"

    async def _bytes(self, block: Image | File) -> bytes:
        if block.blob is None:
            raise InvalidInput("an attachment has neither blob nor address")
        if self.read_blob is None:
            raise InvalidInput("an attachment cannot be read: the request has no blob reader")
        return await self.read_blob(block.blob)


def left_out(block: Image | File) -> str:
    """What the model is told in the place of an attachment that it cannot take."""
    what = "picture" if isinstance(block, Image) else "file"
    name = block.name or block.url or block.media_type or "without name"
    return f"[{what} left out, this model cannot take it: {name}]"


def schema_name(name: str) -> str:
    """A name as the API allows it: 1 to 64 letters, digits, `_` and `-`."""
    return _NAME.sub("_", name)[:64] or "reply"


def function(tool: ToolSpec) -> dict[str, Any]:
    """A tool's name, description and schema."""
    return {"name": tool.name, "description": tool.description, "parameters": tool.schema}


def effort(model: str, wanted: Effort | None) -> str | None:
    """The API's word for how much to think. `off` is the least that the model can do.

    Source: https://platform.openai.com/docs/guides/reasoning (o-series from `low`, gpt-5 from
    `minimal`, gpt-5.1 and later from `none`).
    """
    if wanted != "off":
        return wanted
    name = model.rpartition("/")[2]
    if re.match(r"o[134](-|$)", name):
        return "low"
    return "minimal" if re.match(r"gpt-5(-|$)", name) else "none"


_UNSUPPORTED = frozenset(
    (
        "allOf",
        "oneOf",
        "not",
        "if",
        "then",
        "else",
        "patternProperties",
        "dependentRequired",
        "dependentSchemas",
        "unevaluatedProperties",
        "propertyNames",
        "default",
    )
)


def allows_strict(schema: dict[str, Any]) -> bool:
    """Whether the API accepts the schema with `strict`: closed objects, everything required.

    Source: https://platform.openai.com/docs/guides/structured-outputs (supported schemas).
    """
    return schema.get("type") == "object" and "anyOf" not in schema and _is_closed(schema)


def _is_closed(schema: Any) -> bool:
    if not isinstance(schema, dict):
        return False
    if not _UNSUPPORTED.isdisjoint(schema):
        return False
    if "properties" in schema or schema.get("type") == "object":
        names = schema.get("properties", {})
        if schema.get("additionalProperties") is not False:
            return False
        if set(schema.get("required", ())) != set(names):
            return False
    inner = [*schema.get("properties", {}).values(), *schema.get("anyOf", ())]
    inner += [*schema.get("$defs", {}).values(), *schema.get("definitions", {}).values()]
    if "items" in schema:
        inner.append(schema["items"])
    return all(_is_closed(part) for part in inner)

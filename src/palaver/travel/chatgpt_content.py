"""What a node of a ChatGPT export says, as blocks.

Marks that the product turns into footnotes, chips and carousels are private characters in the text.
Where the export tells what they stood for, that is put in their place; the others go.
"""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from palaver.domain.messages import Block, File, Image, Reasoning, ResultContent, Text
from palaver.travel.attachments import described
from palaver.travel.base import RepairKind
from palaver.travel.chatgpt_files import Export
from palaver.travel.draft import Draft
from palaver.travel.fields import json_text, name_of, obj, readable, seq, string

_MARK = re.compile("\ue200([^\ue200\ue201]*)\ue201")
_PRIVATE = re.compile("[\ue200-\ue20f]")
_FOOTNOTE = re.compile(r"【\d+(?::\d+)?†[^】]*】")
_POINTER = re.compile(r"^(?:file-service|sediment)://")


def hidden(message: dict[str, Any]) -> bool:
    """Whether the product never showed it. Weight 0 alone hides what is no speech of a person."""
    metadata = obj(message.get("metadata"))
    if metadata.get("is_visually_hidden_from_conversation") is True:
        return True
    role = obj(message.get("author")).get("role")
    return message.get("weight") == 0 and role not in ("user", "assistant")


class Content:
    """Blocks of one conversation; bytes come from the archive, where there is one."""

    def __init__(self, draft: Draft, export: Export | None) -> None:
        self._draft, self._export = draft, export
        self.record = 0
        """The node that is read, for what is noted about it."""
        self._names: dict[str, str] = {}
        """Of the node's attachments, by id."""

    def blocks(self, message: dict[str, Any]) -> Iterator[Block]:
        """What a person or the model says; nothing where it is empty."""
        content = obj(message.get("content"))
        attachments = map(obj, seq(obj(message.get("metadata")).get("attachments")))
        self._names = {name_of(a.get("id")): string(a.get("name")) for a in attachments}
        match content.get("content_type"):
            case "code":
                language = string(content.get("language"))
                code = string(content.get("text"))
                if code.strip():
                    yield Text(_fenced(code, "" if language == "unknown" else language))
            case _:
                for part in self._parts(content):
                    if not isinstance(part, Text):
                        yield part
                    elif text := _plain(part.text, obj(message.get("metadata"))):
                        yield Text(text)
        yield from self._attached(message)

    def raw(self, message: dict[str, Any]) -> str:
        """What a tool was told: code without its fence."""
        content = obj(message.get("content"))
        return string(content.get("text")) if content.get("content_type") == "code" else ""

    def results(self, message: dict[str, Any]) -> Iterator[ResultContent]:
        """What a tool gave."""
        for part in self._parts(obj(message.get("content"))):
            if isinstance(part, Text):
                text = _plain(part.text, obj(message.get("metadata")))
                if text:
                    yield Text(text)
            else:
                yield part

    def thoughts(self, message: dict[str, Any]) -> Iterator[Reasoning]:
        """The model's visible thinking."""
        for thought in seq(obj(message.get("content")).get("thoughts")):
            fields = obj(thought)
            told = (string(fields.get("summary")), string(fields.get("content")))
            if text := "\n\n".join(t for t in told if t):
                yield Reasoning(text)

    def instructions(self, message: dict[str, Any]) -> str:
        """What the person told every conversation about themselves and how to answer."""
        content = obj(message.get("content"))
        if content.get("content_type") != "user_editable_context":
            return ""
        given = obj(obj(message.get("metadata")).get("user_context_message_data"))
        about = string(given.get("about_user_message")) or string(content.get("user_profile"))
        how = string(given.get("about_model_message")) or string(content.get("user_instructions"))
        return "\n\n".join(text.strip() for text in (about, how) if text.strip())

    def _parts(self, content: dict[str, Any]) -> Iterator[Text | Image | File]:
        """The parts of a message, else whichever field holds its text."""
        if isinstance(content.get("parts"), list):
            for part in content["parts"]:
                yield from (Text(part),) if isinstance(part, str) else self._part(obj(part))
            return
        for name in ("result", "text", "content", "summary"):
            if text := readable(content.get(name)):
                titles = (string(content.get(field)) for field in ("title", "url", "name"))
                yield Text("\n".join([*(title for title in titles if title), text]))
                return
        if set(content) - {"content_type", "parts"} and content.get("content_type") != "text":
            told = {k: v for k, v in content.items() if k != "content_type" and v}
            if told:
                yield Text(json_text(told))

    def _part(self, part: dict[str, Any]) -> Iterator[Text | Image | File]:
        match part.get("content_type"):
            case "image_asset_pointer":
                yield self._picture(part)
            case "audio_transcription":
                yield Text(string(part.get("text")))
            case "audio_asset_pointer":
                yield from self._audio(part)
            case "real_time_user_audio_video_asset_pointer":
                yield from self._audio(obj(part.get("audio_asset_pointer")))
            case _:
                if text := string(part.get("text")) or (json_text(part) if part else ""):
                    yield Text(text)

    def _picture(self, part: dict[str, Any]) -> Text | Image | File:
        prompt = string(obj(obj(part.get("metadata")).get("dalle")).get("prompt"))
        made = self._stored(string(part.get("asset_pointer")), "picture", prompt[:200])
        width, height = part.get("width"), part.get("height")
        if isinstance(made, Image) and isinstance(width, int) and isinstance(height, int):
            return msgspec.structs.replace(made, width=max(0, width), height=max(0, height))
        return made

    def _audio(self, part: dict[str, Any]) -> Iterator[File | Image]:
        """A recording; without its bytes nothing, for what was said stands beside it."""
        made = self._stored(string(part.get("asset_pointer")), "recording", "")
        if not isinstance(made, Text):
            yield made

    def _attached(self, message: dict[str, Any]) -> Iterator[Block]:
        """Files beside the text; pictures among them stand in the text already."""
        shown = json_text(obj(message.get("content")).get("parts"))
        for item in seq(obj(message.get("metadata")).get("attachments")):
            attachment = obj(item)
            id, name = name_of(attachment.get("id")), string(attachment.get("name"))
            if (id or name) and not (id and id in shown):
                yield self._stored(id, "file", name, string(attachment.get("mime_type")))

    def _stored(
        self, pointer: str, what: str, name: str, media_type: str = ""
    ) -> Text | Image | File:
        """The block for a file of the archive; text that says so where it is not there."""
        id = _POINTER.sub("", pointer).split("#")[0]
        data = self._export.file(id) if self._export is not None and id else None
        if data is None:
            told = name or id
            self._draft.note(
                RepairKind.UNKNOWN_RECORD, self.record, f"a {what} without bytes: {told}"
            )
            return Text(f"[{what}: {told}]")
        self._draft.blob(data)
        return described(data, media_type=media_type, name=name or self._names.get(id, ""))


def _plain(text: str, metadata: dict[str, Any]) -> str:
    """`text` without the product's private marks; what they stood for where it is told."""
    if "\ue200" not in text and "†" not in text:
        return text if text.strip() else ""
    for item in seq(metadata.get("content_references")):
        reference = obj(item)
        matched, alt = string(reference.get("matched_text")), string(reference.get("alt"))
        if "\ue200" in matched or "†" in matched:
            text = text.replace(matched, alt)
    text = _MARK.sub(_named, text)
    text = _FOOTNOTE.sub("", _PRIVATE.sub("", text))
    return text if text.strip() else ""


def _named(mark: "re.Match[str]") -> str:
    """The name that a mark shows; most show only a symbol."""
    kind, _, rest = mark[1].partition("\ue202")
    if kind != "entity":
        return ""
    try:
        told = msgspec.json.decode(rest)
    except (msgspec.DecodeError, RecursionError):
        return ""
    return told[1] if isinstance(told, list) and len(told) > 1 and isinstance(told[1], str) else ""


def _fenced(code: str, language: str) -> str:
    longest = max((len(run) for run in re.findall("`+", code)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{code}\n{fence}"

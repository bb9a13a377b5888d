"""A conversation as one page that stands alone: it loads nothing, runs nothing, tells nobody.

Everything that came from people, models and tools is escaped or rendered by `html_text`; the page's
own policy forbids scripts and requests should that ever fail.
"""

from html import escape

from palaver.domain.messages import (
    File,
    Image,
    Reasoning,
    Refusal,
    ResultContent,
    Role,
    Text,
    ToolCall,
    Unknown,
)
from palaver.domain.pictures import picture_type
from palaver.domain.state import ConversationState
from palaver.travel.attachments import ReadBlob, data_url
from palaver.travel.html_page import page
from palaver.travel.html_text import linked, plain, rendered
from palaver.travel.transcript import (
    NAMES,
    Entry,
    Exchange,
    Part,
    attached,
    day,
    entries,
    indented,
    title,
)

MAX_PICTURE = 8 * 1024 * 1024
"""Bytes of a picture within the page; a bigger one is named only."""
MAX_PICTURES = 64 * 1024 * 1024
"""Bytes of all pictures of a page."""
_SYSTEM = 800
"""Characters of instructions above which they are folded: people look for what was said."""
_TOLD = 60
"""Characters of a call's arguments beside its name."""


def write(state: ConversationState, *, blobs: ReadBlob, reasoning: bool = True) -> str:
    """The path of the conversation as an HTML document; `reasoning` shows what the model thought,
    folded. Pictures are within the page, up to `MAX_PICTURES`."""
    writer = _Writer(blobs, state.preferences.language, reasoning)
    said = _said_in(state)
    before: tuple[Entry | None, ...] = (None, *said)
    articles = [
        writer.article(number, entry, goes_on=last is not None and _same(last, entry))
        for number, (last, entry) in enumerate(zip(before, said, strict=False), 1)
    ]
    count = len(articles)
    return page(
        title=title(state),
        header=_header(state),
        body="\n".join(articles) or "<p>Nothing has been said yet.</p>",
        footer=f"{count} {'message' if count == 1 else 'messages'} · exported by Palaver",
    )


def _said_in(state: ConversationState) -> list[Entry]:
    said = list(entries(state.messages))
    if state.preferences.system:
        said.insert(0, Entry(Role.SYSTEM, (Text(state.preferences.system),)))
    return said


def _same(one: Entry, other: Entry) -> bool:
    """Whether one speaker goes on, as the model does between calls."""
    return one.role is other.role is Role.ASSISTANT and one.model == other.model


def _header(state: ConversationState) -> str:
    facts = [
        day(state.created_at),
        state.preferences.model,
        *(f"#{tag}" for tag in state.metadata.tags),
    ]
    about = "".join(f"<span>{escape(fact)}</span>" for fact in facts if fact)
    return f'<h1 dir="auto">{escape(title(state))}</h1>\n<p class="about">{about}</p>'


class _Writer:
    """One page in the making: it counts what the pictures take."""

    def __init__(self, blobs: ReadBlob, language: str, reasoning: bool) -> None:
        self._blobs, self._language, self._reasoning = blobs, language, reasoning
        self._room = MAX_PICTURES

    def article(self, number: int, entry: Entry, *, goes_on: bool) -> str:
        """One message with an anchor of its own; where its speaker goes on, the name is not shown
        again but still read out."""
        # An empty `lang` says that the language is not known; the page's own is English.
        language = self._language if entry.role is Role.ASSISTANT else ""
        inside = "\n".join(text for part in entry.parts if (text := self._part(part, entry.role)))
        name = NAMES[entry.role]
        kind = f"{entry.role} on" if goes_on else str(entry.role)
        return (
            f'<article id="m{number}" class="{kind}" aria-labelledby="m{number}-who">\n'
            f'<div class="who"><h2 id="m{number}-who">{name}</h2>'
            f"{f'<span>{escape(entry.model)}</span>' if entry.model else ''}"
            f'<a href="#m{number}" aria-label="Link to message {number}">{number}</a></div>\n'
            f'<div lang="{escape(language)}" dir="auto">\n{inside}\n</div>\n'
            + "".join(f'<p class="note">{escape(note)}</p>\n' for note in entry.notes)
            + "</article>"
        )

    def _part(self, part: Part, role: Role) -> str:
        match part:
            case Text(text=text):
                said = _said(text, breaks=role is not Role.ASSISTANT)
                long = role is Role.SYSTEM and len(text) > _SYSTEM
                return _folded(f"Instructions, {len(text):,} characters", said) if long else said
            case Refusal(text=text):
                return f'<p class="note">The model declined.</p>\n{_said(text)}'
            case Reasoning(text=text):
                return _thought(text) if self._reasoning and text.strip() else ""
            case Image():
                return self._image(part)
            case File():
                return _file(part)
            case Exchange():
                return self._exchange(part)
            case Unknown(kind=kind):
                return f'<p class="attached">[{escape(kind)}: a kind that is not shown]</p>'

    def _exchange(self, exchange: Exchange) -> str:
        call, result = exchange.call, exchange.result
        parts = []
        if call is not None and call.arguments.strip() not in ("", "{}"):
            parts.append(f'<h3 lang="en">Arguments</h3>\n{plain(indented(call.arguments))}')
        if result is not None:
            parts.append('<h3 lang="en">Result</h3>')
            parts += [self._output(block) for block in result.content] or ["<p>(empty)</p>"]
        kind = "status failed" if exchange.status not in ("done",) else "status"
        return (
            f'<details class="tool"><summary dir="ltr"><strong>{escape(exchange.name)}</strong> '
            f"{_brief(call)}"
            f'<span class="{kind}" lang="en">{exchange.status}</span></summary>\n'
            f'<div class="inside">{"".join(parts)}</div></details>'
        )

    def _output(self, block: ResultContent) -> str:
        match block:
            case Text(text=text):
                return plain(text)
            case Image():
                return self._image(block)
            case File():
                return _file(block)

    def _image(self, image: Image) -> str:
        name = attached(image)
        if image.url is not None:
            return f'<p class="attached">{linked(image.url, f"🖼 {name}")}</p>'
        data = self._blobs(image.blob) if image.blob is not None else None
        if data is None:
            return _missing(name, "its bytes are not here")
        # What the bytes are decides, not what somebody called them.
        kind = picture_type(data)
        if not kind:
            return _missing(name, "not a picture that is shown")
        if len(data) > min(MAX_PICTURE, self._room):
            return _missing(name, "too large for this page")
        self._room -= len(data)
        caption = f"<figcaption>{escape(image.name)}</figcaption>" if image.name else ""
        source = data_url(kind, data)
        return f'<figure><img src="{source}" alt="{escape(name)}">{caption}</figure>'


def _said(text: str, *, breaks: bool = False) -> str:
    return f'<div class="said">\n{rendered(text, breaks=breaks)}</div>' if text.strip() else ""


def _thought(text: str) -> str:
    return _folded("Reasoning", _said(text))


def _folded(summary: str, inside: str) -> str:
    return (
        f'<details class="thought"><summary lang="en" dir="ltr">{summary}</summary>\n'
        f'<div class="inside">{inside}</div></details>'
    )


def _brief(call: ToolCall | None) -> str:
    """The beginning of the arguments, on one line."""
    if call is None or call.arguments.strip() in ("", "{}"):
        return ""
    line = " ".join(call.arguments[: _TOLD * 8].split())
    return f"<code>{escape(line if len(line) <= _TOLD else line[:_TOLD] + '…')}</code> "


def _file(file: File) -> str:
    told = ", ".join(t for t in (file.media_type, f"{file.size:,} bytes" if file.size else "") if t)
    name = attached(file)
    shown = linked(file.url, f"📄 {name}") if file.url else f"📄 {escape(name)}"
    return f'<p class="attached">{shown}{f" ({escape(told)})" if told else ""}</p>'


def _missing(name: str, why: str) -> str:
    return f'<p class="attached">🖼 {escape(name)} ({why})</p>'

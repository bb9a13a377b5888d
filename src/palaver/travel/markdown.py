"""A conversation as Markdown, to read, print or paste.

What is said is Markdown already and stays as it is, with three exceptions: a code block that was
never closed gets its end, and HTML at the beginning of a line shows as text, so that no message
swallows the rest of the page; pictures are links, so that opening the file calls nobody. What
tools took and gave is fenced, whatever it holds.
"""

import re

from palaver.domain.messages import File, Image, Reasoning, Refusal, ResultContent, Text, Unknown
from palaver.domain.state import ConversationState
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

_OPENING = re.compile(r" {0,3}(`{3,}|~{3,})(.*)$")
_HTML = re.compile(r"^( {0,3})(<(?=[/!?a-z]))", re.IGNORECASE)
_SPECIAL = re.compile(r"([\\`*_\[\]<>#|~])")
_LINKABLE = re.compile(r"https?://[^\s<>()\\\x00-\x1f]+$", re.IGNORECASE)


def write(state: ConversationState, *, reasoning: bool = False, fold_over: int | None = 40) -> str:
    """The path of the conversation. Tool output of more than `fold_over` lines is folded by
    `<details>` (None: never); `reasoning` shows what the model thought."""
    parts = [f"# {_escaped(title(state))}"]
    if about := _about(state):
        parts.append(about)
    if state.preferences.system:
        parts.append(f"## System\n\n{settled(state.preferences.system)}")
    for entry in entries(state.messages):
        parts.append(_heading(entry))
        shown = (_part(part, reasoning, fold_over) for part in entry.parts)
        parts += [text for text in shown if text.strip()]
    return "\n\n".join(parts) + "\n"


def _about(state: ConversationState) -> str:
    facts = [day(state.created_at), state.preferences.model, *state.metadata.tags]
    return " · ".join(f"*{_escaped(fact)}*" for fact in facts if fact)


def _heading(entry: Entry) -> str:
    head = f"## {NAMES[entry.role]}"
    if entry.model:
        head += f" ({_escaped(entry.model)})"
    return head + "".join(f"\n\n*[{note}]*" for note in entry.notes)


def _part(part: Part, reasoning: bool, fold_over: int | None) -> str:
    match part:
        case Text(text=text):
            return settled(text)
        case Refusal(text=text):
            return f"*Declined:* {settled(text)}"
        case Reasoning(text=text):
            return _quoted(settled(text)) if reasoning and text else ""
        case Image() | File():
            return _attachment(part)
        case Exchange():
            return _exchange(part, fold_over)
        case Unknown(kind=kind):
            return f"*[{_escaped(kind)}: a kind of content that is not shown]*"


def _exchange(exchange: Exchange, fold_over: int | None) -> str:
    parts = [f"**{_escaped(exchange.name)}** — {exchange.status}"]
    if exchange.call is not None and exchange.call.arguments.strip() not in ("", "{}"):
        parts.append(_folded("Arguments", indented(exchange.call.arguments), "json", fold_over))
    if exchange.result is not None:
        parts += [_output(block, fold_over) for block in exchange.result.content]
    return "\n\n".join(part for part in parts if part)


def _output(block: ResultContent, fold_over: int | None) -> str:
    if isinstance(block, Text):
        return _folded("Result", block.text, "", fold_over) if block.text else ""
    return _attachment(block)


def _folded(label: str, text: str, language: str, fold_over: int | None) -> str:
    lines = text.count("\n") + 1
    if fold_over is None or lines <= fold_over:
        return fenced(text, language)
    summary = f"<summary>{label}: {lines} lines</summary>"
    return f"<details>\n{summary}\n\n{fenced(text, language)}\n\n</details>"


def _attachment(block: Image | File) -> str:
    kind = "Picture" if isinstance(block, Image) else "File"
    name = _escaped(attached(block))
    if block.url and _LINKABLE.match(block.url):
        return f"{kind}: [{name}]({block.url})"
    told = f", {block.media_type}" if block.media_type else ""
    return f"*[{kind}: {name}{told}]*"


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in text.split("\n"))


def _escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", text)


def fenced(text: str, language: str = "") -> str:
    """`text` as a code block, whatever it holds."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def settled(text: str) -> str:
    """Markdown that ends where it ends: open code blocks are closed, lines of HTML are text,
    pictures are links."""
    # Without an address nothing is a picture, and "so it was![1]" keeps its mark. No pattern: one
    # that looks for the end of the brackets takes minutes for a text of nothing but beginnings.
    pictures = "](" in text or "]:" in text
    fence, lines = "", []
    for line in text.split("\n"):
        if fence:
            if _closes(line, fence):
                fence = ""
        elif opening := _opening(line):
            fence = opening
        else:
            line = _HTML.sub(r"\1\\\2", line)  # noqa: PLW2901
            line = line.replace("![", "[") if pictures else line  # noqa: PLW2901
        lines.append(line)
    return "\n".join([*lines, fence] if fence else lines)


def _opening(line: str) -> str:
    match = _OPENING.match(line)
    # "```a`b" is a line of inline code: the info string of a backtick fence holds no backtick.
    if match is None or (match[1][0] == "`" and "`" in match[2]):
        return ""
    return match[1]


def _closes(line: str, fence: str) -> bool:
    bare = line.strip()
    return len(line) - len(line.lstrip(" ")) < 4 and bare == fence[0] * max(len(fence), len(bare))

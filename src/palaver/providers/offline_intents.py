"""What a person asks the offline responder for, read by patterns. Pure: text in, wishes out.

Each reader takes its part out of the text, so that one message can hold several requests.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence

from palaver.providers.base import ToolSpec
from palaver.providers.offline_arithmetic import expressions
from palaver.providers.offline_calls import Note, Wanted, call, explicit
from palaver.providers.offline_places import zone_of

Wish = Wanted | Note
_Tools = Sequence[ToolSpec]
MOST_CALLS = 16
_LONGEST = 20_000
"""Characters of a message that are looked at; requests to a program are short."""

_I = re.IGNORECASE
_QUOTED = r"[\"“'‘`]([^\"”'’`\n]+)[\"”'’`]"
_PATH = rf"(?:{_QUOTED}|((?:~|\.{{1,2}})?/?[\w\-.]+(?:/[\w\-.]*)+|[\w\-]*\.?[\w\-]+\.\w{{1,8}}|(?:Makefile|README|LICENSE|Dockerfile|CHANGELOG)\b))"  # noqa: E501
_DETERMINERS = r"(?:(?:the|my|our|all|these|this|past|old|previous|earlier|other|of)\s+)*"
_FILES = r"(?:files?|folders?|code|project|documents?|director(?:y|ies)|sources?)\b"
_CHATS = r"(?:conversations?|chats?|history|discussions?|messages?)\b"
_END = r"(?=\s*(?:[?!;\n]|\.(?:\s|$)|$|,?\s+and\s+(?:what|then|list|read|search|use|call|fetch)))"

_URL = re.compile(r"https?://[^\s<>\"'`]+[^\s<>\"'`.,;:!?)\]}]", _I)
_FETCHES = re.compile(
    r"\b(?:fetch|get|open|download|read|visit|load|show|look|summari[sz]e|check|browse|what)\b", _I
)
_EXPLICIT = re.compile(r"^\s*/tool\s+(\S+)[ \t]*(.*)", _I | re.DOTALL)
_UNKNOWN_TOOL = re.compile(r"\b(?:use|call|run|invoke)\s+(?:the\s+)?tool\s+[`\"']?([\w-]+)", _I)
_READ = re.compile(
    rf"\b(?:read|show|open|display|print|cat|view)\s+(?:(?:me|us|the|my|this|contents?|of|file|text|in)\s+)*{_PATH}",
    _I,
)  # fmt: skip
_LIST = re.compile(
    r"\b(?:list|show|see|which|what)\s+(?:(?:me|all|the|my|of|available|your|any)\s+)*"
    r"(?:files?|folders?|director(?:y|ies)|documents?)\b"
    rf"(?:\s+(?:are\s+)?(?:there\s+)?(?:in|under|inside|of)\s+(?:(?:the|my|folder|directory)\s+)*(?:{_QUOTED}|([\w./~\-]+)))?",
    _I,
)  # fmt: skip
_LS = re.compile(r"^\s*(?:ls|dir)(?:\s+([\w./~\-]+))?\s*$", _I)
_HERE = {"this", "the", "here", "there", "current", "folder", "directory", "it", "my"}
_TIME = re.compile(
    r"\b(?:what(?:'s|’s|\s+is)?\s+(?:the\s+)?(?:current\s+|local\s+)?(?:time|date)\b(?:\s+is\s+it)?"
    r"|what\s+time\s+is\s+it|(?:current|local)\s+(?:time|date)|what\s+day\s+is\s+(?:it|today)"
    r"|^\s*time\s+(?=in\s)|(?:tell|give)\s+me\s+the\s+(?:time|date)|today[’']s\s+date|the\s+time\s+(?=in\s)"
    r"|what[’']?s\s+today|date\s+today)(?:\s+(?:right\s+)?now|\s+today|\s+currently)*"
    r"(?:\s+(?:in|at|for)\s+([^?!;\n]+))?",
    _I,
)  # fmt: skip


def wishes(text: str, tools: _Tools) -> list[Wish]:
    """Calls to make and notes to say, in the order in which the text asks for them."""
    text = text[:_LONGEST]
    normal = unicodedata.normalize("NFKC", text)
    if spelled := _EXPLICIT.match(normal):
        return [_spelled(tools, spelled[1], spelled[2], 0)]
    found: list[Wish] = []
    rest = normal
    for read in _READERS:
        got, rest = read(rest, tools)
        found += got
    unique: dict[str, Wish] = {}
    for wish in sorted(found, key=lambda wish: wish.at):
        key = (
            wish.text if isinstance(wish, Note) else f"{wish.tool} {sorted(wish.arguments.items())}"
        )
        unique.setdefault(key, wish)
    return list(unique.values())[:MOST_CALLS]


def _spelled(tools: _Tools, name: str, rest: str, at: int) -> Wish:
    tool = next((tool for tool in tools if tool.name.lower() == name.lower().strip("`'\"")), None)
    if tool is None:
        offered = ", ".join(f"`{tool.name}`" for tool in tools) or "none"
        return Note(f"There is no tool `{name}` here. Available: {offered}.", at)
    return explicit(tool, rest, at)


def _uses(text: str, tools: _Tools) -> tuple[list[Wish], str]:
    names = "|".join(re.escape(t.name) for t in sorted(tools, key=lambda t: -len(t.name)))
    found: list[Wish] = []
    if names:
        pattern = re.compile(
            rf"\b(?:use|call|run|invoke)\s+(?:the\s+)?(?:tool\s+)?[`\"']?({names})\b[`\"']?(?:\s+tool\b)?"
            r"(?:\s+(?:with|on|for|to)\b|\s*:)?\s*(.*?)(?=,?\s+and\s+(?:use|call|run|invoke)\s|[\n;]|$)",
            _I,
        )  # fmt: skip
        for match in pattern.finditer(text):
            arguments = match[2]
            if not arguments.rstrip().endswith(("}", "]", ")", '"')):
                arguments = arguments.rstrip(" .!?")
            found.append(_spelled(tools, match[1], arguments, match.start()))
            text = _without(text, match)
    for match in _UNKNOWN_TOOL.finditer(text):
        found.append(_spelled(tools, match[1], "", match.start()))
        text = _without(text, match)
    return found, text


def _urls(text: str, tools: _Tools) -> tuple[list[Wish], str]:
    found: list[Wish] = []
    is_asked = bool(_FETCHES.search(text)) or bool(_URL.fullmatch(text.strip()))
    for match in _URL.finditer(text):
        if is_asked:
            found.append(call(tools, "fetch", match[0], match.start()))
        text = _without(text, match)
    return found, text


def _search(kind: str, where: str) -> Callable[[str, _Tools], tuple[list[Wish], str]]:
    query = rf"(?:{_QUOTED}|(.+?))"
    verbs = r"\b(?:search|look|grep|find|scan)\b(?:\s+(?:up|through|in|across|within))?"
    patterns = (
        re.compile(rf"{verbs}\s+{_DETERMINERS}{where}\s+for\s+{query}{_END}", _I),
        re.compile(
            rf"{verbs}(?:\s+for)?\s+{query}\s+(?:in|across|within|through|inside)\s+{_DETERMINERS}{where}",
            _I,
        ),
        re.compile(
            rf"\b(?:in\s+)?which\s+{where}\s+(?:did\s+\w+|contains?|mentions?)\s+"
            rf"(?:\w+\s+about\s+)?{query}{_END}",
            _I,
        ),
    )

    def read(text: str, tools: _Tools) -> tuple[list[Wish], str]:
        found: list[Wish] = []
        for pattern in patterns:
            for match in pattern.finditer(text):
                wanted = (match[1] or match[2]).strip(" \"'`")
                found.append(call(tools, kind, wanted, match.start()))
                text = _without(text, match)
        return found, text

    return read


def _lists(text: str, tools: _Tools) -> tuple[list[Wish], str]:
    found: list[Wish] = []
    if match := _LS.match(text):
        return [call(tools, "list_files", match[1], 0)], ""
    for match in _LIST.finditer(text):
        folder = match[1] or (match[2] or "").rstrip(".")
        named = None if folder.lower() in _HERE or not folder else folder
        found.append(call(tools, "list_files", named, match.start()))
        text = _without(text, match)
    return found, text


def _reads(text: str, tools: _Tools) -> tuple[list[Wish], str]:
    found: list[Wish] = []
    for match in _READ.finditer(text):
        path = (match[1] or match[2]).rstrip(".")
        found.append(call(tools, "read_file", path, match.start()))
        text = _without(text, match)
    return found, text


def _times(text: str, tools: _Tools) -> tuple[list[Wish], str]:
    found: list[Wish] = []
    for match in _TIME.finditer(text):
        places = match[1]
        if places is None:
            found.append(_now(tools, match.start()))
            text = _without(text, match)
            continue
        end = match.start(1)
        for piece in re.finditer(r"\s*(?:,|\band\b|&)?\s*((?:(?!,|\band\b|&).)+)", places):
            place = re.sub(r"\b(?:right\s+)?now\b|\bplease\b|\btoday\b", "", piece[1]).strip(" .")
            zone = zone_of(place)
            if zone is None and end > match.start(1):
                break  # what follows the first place may be another request
            at = match.start() + piece.start()
            found.append(call(tools, "time", zone, at) if zone else Note(_unknown_place(place), at))
            end = match.start(1) + piece.end()
        text = text[: match.start()] + " " * (end - match.start()) + text[end:]
    return found, text


def _now(tools: _Tools, at: int) -> Wish:
    here = call(tools, "time", None, at)
    return here if isinstance(here, Wanted) else call(tools, "time", "UTC", at)


def _unknown_place(place: str) -> str:
    return (
        f"I do not know the time zone of “{place[:60]}”. Name a large city near it, "
        "or a zone such as Europe/Oslo."
    )


def _sums(text: str, tools: _Tools) -> tuple[list[Wish], str]:
    found = expressions(text)
    return [call(tools, "calculate", found_.text, found_.at) for found_ in found], text


def _without(text: str, match: re.Match[str]) -> str:
    return text[: match.start()] + " " * (match.end() - match.start()) + text[match.end() :]


def _readers() -> Iterator[Callable[[str, _Tools], tuple[list[Wish], str]]]:
    yield _uses
    yield _urls
    yield _search("search_conversations", _CHATS)
    yield _search("search_files", _FILES)
    yield _reads
    yield _lists
    yield _times
    yield _sums


_READERS = tuple(_readers())

"""`recall`: what was said before and no longer stands in the window, word for word.

A compaction leaves handles (`m12`, the twelfth message of the conversation); the record behind them
is the history of the call, so nothing is asked of any store. Searching works in every script: words
are looked for as they are written, inside of longer ones too, and where a script has no spaces, by
pairs of characters.
"""

import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Annotated

import msgspec

from palaver.domain.errors import ToolArgumentsError
from palaver.domain.messages import Message, Role
from palaver.tools.decorator import FunctionTool, tool
from palaver.tools.definition import ExecutionContext

NAME = "recall"
OUTPUT_CHARS = 12_000
"""Of one answer, about 3,000 tokens: what is recalled must not fill the window again."""
_SNIPPET = 300
_RANGE = re.compile(r"m?([1-9][0-9]{0,8})(?:-m?([1-9][0-9]{0,8}))?", re.ASCII)
_DASH = re.compile(r"\s*(?:[-–—]|\.\.+)\s*")
_WORD = re.compile(r"\w+")
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]{3,}")
_WHO = {Role.USER: "user", Role.ASSISTANT: "you", Role.TOOL: "tools", Role.SYSTEM: "system"}


def _recall(
    context: ExecutionContext,
    messages: str = "",
    query: str = "",
    offset: Annotated[int, msgspec.Meta(ge=0)] = 0,
) -> str:
    """Read earlier messages of this conversation that were summarised or cut, word for word.

    Give the handles that a summary or a stub names, or words to search for.

    Args:
        messages: Handles, as `m12`, `m3-m9` or `m3, m7`.
        query: Words that the messages contain. Leave empty when you know the handles.
        offset: Characters to skip of the first message, to read on in a long one.
    """
    path = context.history
    if messages.strip():
        return _read(path, list(_positions(messages, len(path))), offset)
    if query.strip():
        return _found(path, query)
    raise ToolArgumentsError(
        "nothing was asked for", suggestions=("Give `messages` (as m12) or a `query`.",)
    )


def recall_tool(*, only_compacted: bool = False) -> FunctionTool[..., str]:
    """The tool. `only_compacted`: models are offered it only while there is something to recall."""
    made = tool(effect="read", name=NAME, timeout_s=20)(_recall)
    made.definition = msgspec.structs.replace(
        made.definition, only_compacted=only_compacted, is_hidden=only_compacted
    )
    return made


def _positions(names: str, length: int) -> Iterator[int]:
    """Of the messages that are named, in the order in which they are."""
    for name in re.split(r"[,;\s\[\]]+", _DASH.sub("-", names).strip(",; []\n")):
        found = _RANGE.fullmatch(name)
        first = int(found[1]) if found else 0
        last = int(found[2] or found[1]) if found else 0
        if not found or first > last or last > length:
            raise ToolArgumentsError(
                f"there is no message {name[:40]!r}",
                suggestions=(f"Handles go from m1 to m{length}; a range is m3-m9.",),
            )
        yield from range(first - 1, last)


def _read(path: Sequence[Message], positions: Sequence[int], offset: int) -> str:
    parts: list[str] = []
    room = OUTPUT_CHARS
    for number, at in enumerate(positions):
        text = _whole(path[at])
        skipped = offset if number == 0 else 0
        shown = text[skipped : skipped + room]
        room -= len(shown)
        parts.append(f"[m{at + 1}, {_WHO[path[at].role]}]\n{shown}")
        if skipped + len(shown) < len(text):
            parts.append(
                f"[… {len(text) - skipped - len(shown):,} more characters: recall m{at + 1} with"
                f" offset {skipped + len(shown)}]"
            )
        if room <= 0 and number + 1 < len(positions):
            parts.append(f"[… and {len(positions) - number - 1} more, from m{at + 2}]")
            break
    return "\n\n".join(parts)


def _whole(message: Message) -> str:
    said = [message.text] if message.text else []
    said += [f"(called {call.name} with {call.arguments})" for call in message.tool_calls]
    for result in message.tool_results:
        failed = " failed" if result.failed else ""
        said.append(f"({result.name}{failed})\n{result.text}")
    return "\n".join(said) or "(no text)"


def _found(path: Sequence[Message], query: str) -> str:
    terms = _terms(query)
    texts = [_folded(_whole(message)) for message in path]
    weights = {term: _weight(sum(term in text for text in texts), len(texts)) for term in terms}
    scored = [
        (sum(weight for term, weight in weights.items() if term in text), at)
        for at, text in enumerate(texts)
        if not _is_recall(path[at])
    ]
    # Of equals the newest: what was said last holds.
    best = sorted((found for found in scored if found[0] > 0), reverse=True)[:8]
    if not best:
        return f"Nothing was found for {query[:100]!r}. Try fewer or other words."
    return "\n\n".join(_excerpt(path, at, terms) for _, at in best)


def _is_recall(message: Message) -> bool:
    names = [result.name for result in message.tool_results]
    names += [call.name for call in message.tool_calls]
    return bool(names) and set(names) == {NAME}


def _terms(query: str) -> list[str]:
    found: dict[str, None] = {}
    for word in _WORD.findall(_folded(query)):
        if _UNSPACED.fullmatch(word):
            found |= dict.fromkeys(word[i : i + 2] for i in range(len(word) - 1))
        else:
            found[word] = None
    return list(found) or [_folded(query).strip()]


def _weight(documents: int, of: int) -> float:
    return math.log(1 + of / documents) if documents else 0.0


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _excerpt(path: Sequence[Message], at: int, terms: Sequence[str]) -> str:
    text = " ".join(_folded(_whole(path[at])).split())
    plain = " ".join(_whole(path[at]).split())
    # Folding may change lengths; then the folded form is shown, which is the same to a reader.
    shown = plain if len(plain) == len(text) else text
    first = min((p for p in (text.find(term) for term in terms) if p >= 0), default=0)
    start = max(0, first - _SNIPPET // 3)
    cut = shown[start : start + _SNIPPET]
    before, after = "…" if start else "", "…" if start + _SNIPPET < len(shown) else ""
    return f"[m{at + 1}, {_WHO[path[at].role]}] {before}{cut}{after}"

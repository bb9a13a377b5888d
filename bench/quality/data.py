"""Conversations that are cut at some point: what came before is shortened, what came after tells
what would have been needed. They lie beside the checkout and are read where they are."""

import gzip
import json
import os
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from palaver.context.groups import groups
from palaver.context.tokens import message_tokens
from palaver.domain.ids import CallId
from palaver.domain.messages import Message, Refusal, Role, Text, ToolCall, ToolResult
from palaver.travel import detect
from palaver.travel.base import Imported

BESIDE = Path(__file__).parents[2].parent / "shared" / "data"
DATA = Path(os.environ.get("PALAVER_TEST_DATA") or BESIDE)
LEAST_ARGUMENT = 4
"""Characters; shorter strings stand in any text by chance."""
LEAST_PREFIX = 400
"""Tokens; what is shorter nobody shortens."""


class Case(msgspec.Struct, frozen=True):
    """A conversation up to a cut. `needed`: arguments of later calls that stand in it."""

    name: str
    prefix: list[Message]
    needed: tuple[str, ...]

    @property
    def said(self) -> list[str]:
        """The user's messages."""
        return [m.text for m in self.prefix if m.role is Role.USER and m.text]


def count(message: Message) -> int:
    """Tokens as Palaver estimates them; every contestant is counted so."""
    return message_tokens(message).total


@cache
def dialogues(name: str) -> list[tuple[str, str, list[Message]]]:
    """Id, system prompt and messages of a file of service dialogues."""
    file = DATA / "service_dialogues" / f"{name}.jsonl.gz"
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        ids = [json.loads(line)["id"] for line in lines]
    read = list(detect.read(file.read_bytes(), name=file.name))
    return [(id, c.system, path_of(c)) for id, c in zip(ids, read, strict=True)]


@cache
def pi_session() -> list[Message]:
    """The long coding session, without its aborted branches."""
    (file,) = (DATA / "coding_agents" / "sessions").glob("pi__*")
    (conversation,) = detect.read(file.read_bytes(), name=file.name)
    return path_of(conversation)


def path_of(conversation: Imported) -> list[Message]:
    """The messages from the first one to the head."""
    known = {message.id: message for message in conversation.messages}
    path: list[Message] = []
    at = conversation.head
    while at is not None:
        path.append(known[at])
        at = known[at].parent
    return path[::-1]


def cut(
    name: str, system: str, path: list[Message], shares: Sequence[float] = (0.4, 0.6, 0.8)
) -> Iterator[Case]:
    """The conversation cut between groups, where later calls need something of what was before."""
    whole = groups(path)
    starts = {whole[int(len(whole) * share)].start for share in shares if len(whole) > 2}
    for start in sorted(starts):
        prefix = path[:start]
        if sum(map(count, prefix)) >= LEAST_PREFIX:
            needed = future_arguments(prefix, path[start:], system)
            if needed:
                yield Case(f"{name}@{start}", prefix, needed)


def future_arguments(
    prefix: Sequence[Message], future: Sequence[Message], system: str
) -> tuple[str, ...]:
    """String arguments of calls in `future` that stand in `prefix` as whole tokens, and not in the
    system prompt; each once."""
    text = text_of(prefix)
    found: dict[str, None] = {}
    for call in (call for message in future for call in message.tool_calls):
        for value in _strings(_arguments(call)):
            is_long = len(value) >= LEAST_ARGUMENT
            if is_long and value not in found and holds(text, value) and not holds(system, value):
                found[value] = None
    return tuple(found)


def _arguments(call: ToolCall) -> Any:
    try:
        return call.parsed()
    except ValueError:
        return {}


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for member in value.values():
            yield from _strings(member)
    elif isinstance(value, list):
        for member in value:
            yield from _strings(member)


def text_of(messages: Sequence[Message]) -> str:
    """All text of messages, as it stands and with the escapes of JSON undone."""
    parts: list[str] = []
    for message in messages:
        for block in message.content:
            if isinstance(block, Text | Refusal):
                parts.append(block.text)
            elif isinstance(block, ToolCall):
                parts += [block.name, block.arguments]
            elif isinstance(block, ToolResult):
                parts.append(block.text)
    text = "\n".join(parts)
    return f"{text}\n" + text.replace('\\"', '"').replace("\\n", "\n").replace("\\/", "/")


def holds(text: str, value: str) -> bool:
    """Whether `value` stands in `text`, not within a longer word."""
    at = text.find(value)
    while at >= 0:
        before, after = text[at - 1 : at], text[at + len(value) : at + len(value) + 1]
        if not _is_word(before) and not _is_word(after):
            return True
        at = text.find(value, at + 1)
    return False


def _is_word(sign: str) -> bool:
    return sign.isalnum() or sign == "_"


def interleaved(size: int = 10) -> Iterator[Case]:
    """Several dialogues at once: the first halves one after another, then the second halves."""
    # One run of each task.
    runs = [d for d in dialogues("tau_airline") if d[0].endswith("-0")]
    for first in range(0, len(runs) - size + 1, size):
        halves: list[list[Message]] = [[], []]
        for number, (_, _, path) in enumerate(runs[first : first + size]):
            whole = groups(path)
            middle = whole[len(whole) // 2].start
            halves[0] += [_renamed(m, number) for m in path[:middle]]
            halves[1] += [_renamed(m, number) for m in path[middle:]]
        joined = _alternating([*halves[0], *halves[1]])
        yield from cut(f"interleaved-{first}", runs[0][1], joined, (0.35, 0.5, 0.7))


def _renamed(message: Message, number: int) -> Message:
    content = tuple(
        msgspec.structs.replace(block, id=CallId(f"{number}-{block.id}"))
        if isinstance(block, ToolCall)
        else msgspec.structs.replace(block, call_id=CallId(f"{number}-{block.call_id}"))
        if isinstance(block, ToolResult)
        else block
        for block in message.content
    )
    return msgspec.structs.replace(message, content=content)


def _alternating(messages: Sequence[Message]) -> list[Message]:
    made: list[Message] = []
    for message in messages:
        speaks = message.role is Role.ASSISTANT
        if speaks and made and made[-1].role is Role.ASSISTANT:
            made.append(Message.user("Go on with the other matter."))
        made.append(message)
    return made


class Meeting(msgspec.Struct, frozen=True):
    """`turns`: speaker and words. `queries`: an answer and the turns that it is from."""

    turns: list[tuple[str, str]]
    queries: list[tuple[str, list[int]]]


_NOISE = re.compile(r"\{[a-z]+\}")


def meetings() -> list[Meeting]:
    """The minutes of QMSum with their specific queries."""
    with gzip.open(DATA / "segmentation" / "qmsum.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [_meeting(json.loads(line)) for line in lines]


def _meeting(fields: dict[str, Any]) -> Meeting:
    turns = [
        (turn["speaker"], _NOISE.sub("", turn["content"]).strip())
        for turn in fields["meeting_transcripts"]
    ]
    queries = [
        (
            query["answer"],
            sorted(
                {
                    at
                    for first, last in query["relevant_text_span"]
                    for at in range(int(first), int(last) + 1)
                    if at < len(turns)
                }
            ),
        )
        for query in fields["specific_query_list"]
    ]
    return Meeting(turns, queries)

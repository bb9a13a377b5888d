"""Sessions of Claude Code: JSON Lines of records that name their parents.

One message of the API is written as several lines with the same `message.id`, each with a block of
it; results come as lines of the user, each behind the line of its call. Read literally, parallel
calls would be branches. So lines of one message are joined first and results are put behind the
message of their call; what still has two children is a branch: somebody went back and said
something else. Lines of sub-agents (`isSidechain`) stand between and are left out.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from msgspec.structs import replace

from palaver.domain.messages import Block, Message, Role, StopReason, Text, ToolCall, ToolResult
from palaver.travel.base import Imported, RepairKind
from palaver.travel.content import blocks
from palaver.travel.draft import Draft
from palaver.travel.fields import obj, seconds, string
from palaver.travel.source import Record, Source

NAME = "claude-code"
_INTERRUPTED = "[Request interrupted by user"
_QUIET = frozenset(
    (
        "system",
        "file-history-snapshot",
        "queue-operation",
        "progress",
        "attachment",
        "result",
        "stream_event",
        "last-prompt",
        "permission-mode",
        "agent-name",
        "agent-color",
        "tag",
        "mode",
        "pr-link",
        "rate_limit_event",
    )
)
"""Book-keeping that never was part of the conversation."""
_TITLES = {"summary": "summary", "custom-title": "customTitle", "ai-title": "aiTitle"}
_STOPS = {
    "end_turn": StopReason.END_TURN,
    "tool_use": StopReason.TOOL_USE,
    "max_tokens": StopReason.MAX_TOKENS,
    "stop_sequence": StopReason.STOP_SEQUENCE,
    "refusal": StopReason.REFUSAL,
    "pause_turn": StopReason.PAUSE,
    "model_context_window_exceeded": StopReason.CONTEXT_FULL,
}


def sniff(source: Source) -> bool:
    """Whether lines hold messages of the API, each with its speaker."""
    return any(_is_spoken(fields) for fields in _unwrapped(source) or source.head)


def read(source: Source) -> Iterator[Imported]:
    """The one conversation of the file."""
    lines = _unwrapped(source)
    if lines is None:
        records = list(source.records())
    else:
        records = [Record(number, value) for number, value in enumerate(lines)]
    made = _Session(sidechain=_is_sidechain(records)).conversation(records)
    if made is not None:
        yield made


def _unwrapped(source: Source) -> list[Any] | None:
    lines = source.object.get("loglines")
    return lines if isinstance(lines, list) else None


def _is_spoken(fields: Any) -> bool:
    said = obj(fields)
    speakers = ("user", "assistant")
    return said.get("type") in speakers and obj(said.get("message")).get("role") in speakers


def _is_sidechain(records: Iterable[Record]) -> bool:
    """Whether the file is the log of a sub-agent: then its lines are the conversation."""
    spoken = [r.fields.get("isSidechain") is True for r in records if _is_spoken(r.fields)]
    return bool(spoken) and all(spoken)


class _Session:
    def __init__(self, *, sidechain: bool) -> None:
        self._draft = Draft(NAME)
        self._sidechain = sidechain
        self._places: dict[str, int | None] = {}
        """Where a line's message is, by the line's uuid; for book-keeping, that of its parent."""
        self._answers: dict[str, int] = {}
        """Where an API message is, by its id."""
        self._owners: dict[str, int] = {}
        """Where the message of a call is, by the call's id."""
        self._ends: dict[int, int] = {}
        """Where the newest result behind a message with calls is."""
        self._groups: dict[int, int] = {}
        """Where the message is that a result answers."""
        self._followed: set[int] = set()
        """Places behind which somebody said something else than results."""
        self._aside: tuple[int, int] | None = None

    def conversation(self, records: Iterable[Record]) -> Imported | None:
        for record in records:
            self._take(record)
        self._end_aside()
        return self._draft.finish()

    def _take(self, record: Record) -> None:
        fields = record.fields
        uuid, draft = string(fields.get("uuid")), self._draft
        if record.damage or not fields:
            draft.note(RepairKind.UNKNOWN_RECORD, record.number, record.damage or "no object")
        elif fields.get("isSidechain") is True and not self._sidechain:
            first, count = self._aside or (record.number, 0)
            self._aside = (first, count + 1)
        elif _is_spoken(fields):
            if uuid and uuid in self._places:
                return  # sessions that were resumed repeat lines
            self._end_aside()
            self._describe(fields)
            self._say(fields, record.number, uuid)
        else:
            self._note(fields, record.number)
            if uuid:
                above = fields.get("logicalParentUuid") or fields.get("parentUuid")
                self._places[uuid] = self._places.get(string(above), draft.last)

    def _end_aside(self) -> None:
        if self._aside is not None:
            first, count = self._aside
            self._draft.note(RepairKind.SIDECHAIN, first, f"{count} records")
            self._aside = None

    def _note(self, fields: dict[str, Any], number: int) -> None:
        kind = string(fields.get("type"))
        if kind in _TITLES:
            self._draft.title = string(fields.get(_TITLES[kind])) or self._draft.title
        elif kind not in _QUIET:
            self._draft.note(RepairKind.UNKNOWN_RECORD, number, kind or "no type")

    def _describe(self, fields: dict[str, Any]) -> None:
        self._draft.since(seconds(fields.get("timestamp")))
        session = string(fields.get("sessionId")) or string(fields.get("session_id"))
        self._draft.keep(
            session=session,
            folder=string(fields.get("cwd")),
            branch=string(fields.get("gitBranch")),
        )

    def _say(self, fields: dict[str, Any], number: int, uuid: str) -> None:
        message = fields["message"]
        content = tuple(self._blocks(message, number))
        if message["role"] == "assistant":
            place = self._answer(fields, content, number)
        else:
            place = self._user(fields, content, number)
        if uuid:
            self._places[uuid] = place

    def _blocks(self, message: dict[str, Any], number: int) -> Iterator[Block]:
        content = message.get("content")
        if not isinstance(content, str | list):
            self._draft.note(RepairKind.UNKNOWN_RECORD, number, "a message without content")
        yield from blocks(content, self._draft)

    def _answer(self, fields: dict[str, Any], content: tuple[Block, ...], number: int) -> int:
        draft, message = self._draft, fields["message"]
        id = string(message.get("id"))
        stop = _STOPS.get(string(message.get("stop_reason")))
        if fields.get("isApiErrorMessage") is True:
            stop = StopReason.ABORTED
        place = self._answers.get(id) if id else None
        if place is not None:
            said = draft.at(place)
            new = tuple(block for block in content if not _repeats(block, said))
            draft.change(place, replace(said, content=said.content + new, stop=stop or said.stop))
            draft.note(RepairKind.JOINED_MESSAGE, number, id)
        else:
            draft.last = self._above(fields)
            model = string(message.get("model"))
            if model and model != "<synthetic>":
                draft.model = f"anthropic:{model}"
            of = Message(Role.ASSISTANT, (), model=draft.model, stop=stop, native_id=id)
            place = draft.say(Role.ASSISTANT, content, number, of=of)
            self._answers[id] = place
        for block in content:
            if isinstance(block, ToolCall):
                self._owners.setdefault(block.id, place)
        return place

    def _user(self, fields: dict[str, Any], content: tuple[Block, ...], number: int) -> int:
        draft = self._draft
        answered = [self._owners.get(b.call_id) for b in content if isinstance(b, ToolResult)]
        owner = next((place for place in answered if place is not None), None)
        if owner is None:
            draft.last = self._above(fields)
            self._mark_interrupted(content)
            return draft.say(Role.USER, content, number)
        end = self._ends.get(owner, owner)
        if end not in self._followed:
            draft.last = end
        place = draft.say(Role.USER, content, number)
        self._ends[owner], self._groups[place] = place, owner
        return place

    def _above(self, fields: dict[str, Any]) -> int | None:
        """Where the message is that this line follows; the newest where the line does not say."""
        place = self._places.get(string(fields.get("parentUuid")), self._draft.last)
        if place is not None:
            owner = self._groups.get(place, place)
            place = self._ends.get(owner, place)
            self._followed.add(place)
        return place

    def _mark_interrupted(self, content: tuple[Block, ...]) -> None:
        first = next((b.text for b in content if isinstance(b, Text)), "")
        if not first.startswith(_INTERRUPTED) or self._draft.last is None:
            return
        place = self._groups.get(self._draft.last, self._draft.last)
        said = self._draft.at(place)
        if said.role is Role.ASSISTANT:
            self._draft.change(place, replace(said, stop=StopReason.ABORTED))


def _repeats(block: Block, said: Message) -> bool:
    return isinstance(block, ToolCall) and block.id in {call.id for call in said.tool_calls}

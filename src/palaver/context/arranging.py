"""Messages as they come, arranged into history that every provider takes, one at a time.

    calls                each is answered once, right behind its message
    a late result        goes behind its call, if something else came between
    no result            something else came, or nothing more: an answer says so
    no call              the result is shown as something that the user says
    a second result      is left out
    an id used again     the later call and its result get another
    nothing said         the message is left out
    the assistant first  a line of the user stands before it

Only what has to change is written anew; everything else stays the object that came in.
The rules are those of `travel.repair`; this package must not know it, and needs what that one has
not: which object of the caller's each message is, and a cost per message that does not grow.
"""

import json
import re
from collections.abc import Iterator, Sequence
from hashlib import blake2b

import msgspec
from msgspec.structs import replace

from palaver.context.kind_of import kind_of
from palaver.context.kinds import LEGACY, Foreign, Given, Kind, Read
from palaver.context.kinds_parts import is_object
from palaver.domain.ids import CallId, MessageId
from palaver.domain.messages import (
    Block,
    Message,
    Reasoning,
    Refusal,
    Role,
    StopReason,
    Text,
    ToolCall,
    ToolResult,
)

NO_RESULT = "No result of this call was recorded; it may or may not have run."
ABORTED = "The turn was aborted; no result of this call was recorded."
BEGINNING = "(The conversation begins with the assistant.)"
_ID = re.compile(r"[A-Za-z0-9_-]{1,40}")
"""What Anthropic and OpenAI both take; chat completions want 40 characters at most."""
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NO_NAME = re.compile(r"[^A-Za-z0-9_-]+")


class Piece(msgspec.Struct, frozen=True):
    """One message of ours, and the caller's objects that say the same."""

    message: Message
    """Its id is its position."""
    foreign: tuple[Foreign, ...]
    kind: Kind
    given: tuple[Given, ...] = ()
    """Of a tool message: where each result came in."""
    is_from_user: bool = False
    """Whether a person said it, as far as its form tells."""


class _Open(msgspec.Struct):
    """A message with calls, of which some have no result yet."""

    at: int
    """Its position; its results stand behind it."""
    kind: Kind
    names: tuple[str, ...]
    """The ids that its calls had when they came in."""
    calls: tuple[ToolCall, ...]
    given: list[Given]
    """In the order in which they came in."""
    why: str

    def waiting(self) -> Iterator[tuple[int, ToolCall]]:
        """The calls without a result of somebody else than us, with their numbers."""
        done = {each.call.id for each in self.given}
        return ((n, call) for n, call in enumerate(self.calls) if call.id not in done)


class Arrangement:
    """History so far. `pieces` grows at its end; a piece is replaced when its result was late."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.fixed = 0
        """Positions below this are not replaced any more."""
        self.changed: list[int] = []
        """Positions of pieces that were replaced; whoever reads it clears it."""
        self._open: _Open | None = None
        self._begun = False
        self._ids: set[str] = set()
        self._uses: dict[str, list[_Open]] = {}
        """Messages whose calls came in under an id, in their order."""
        self._kind: Kind | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether the newest message has calls without result."""
        return self._open is not None

    def waiting(self) -> tuple[Foreign, ...]:
        """Results that are there while others of the same message are not."""
        group = self._open
        return group.kind.answers(group.given) if group is not None and group.given else ()

    def add(self, foreign: Foreign) -> int:
        """`foreign` has been said. Returns the position of the piece in which it stands, or would.

        Raises InvalidInput for what is no message; nothing is changed then.
        """
        kind = kind_of(foreign)
        read = kind.read(foreign)
        self._kind = self._kind or kind
        results = read.message.tool_results
        if read.message.role is Role.ASSISTANT:
            results = ()
        at = len(self.pieces)
        for result in results:
            at = self._answer(result, foreign, kind, read)
        if read.message.role is Role.TOOL:
            return at
        rest = tuple(b for b in read.message.content if not isinstance(b, ToolResult))
        if results and not rest:
            return at
        return self._say(foreign, kind, read, rest, parted=bool(results))

    def close(self) -> None:
        """Nothing more comes: what waits is answered."""
        self._settle()

    def _say(
        self, foreign: Foreign, kind: Kind, read: Read, blocks: Sequence[Block], *, parted: bool
    ) -> int:
        message = read.message
        if is_blank(blocks):
            return len(self.pieces)
        if message.role is Role.ASSISTANT:
            self._settle()
            return self._assistant(foreign, kind, read)
        said = tuple(map(_allowed, blocks))
        self._settle()
        written = foreign
        if parted or said != tuple(blocks):
            text = "\n".join(b.text for b in said if isinstance(b, Text))
            written, said = kind.user(text), (Text(text),)
        # Of a user who only calls tools no word is to be kept; their own first words still are.
        spoke = any(not isinstance(block, ToolCall) for block in blocks)
        return self._add(Message(message.role, said), (written,), kind, is_from_user=spoke)

    def _assistant(self, foreign: Foreign, kind: Kind, read: Read) -> int:
        if not self._begun:
            opening = kind.user(BEGINNING)
            self._add(Message.user(BEGINNING), (opening,), kind, is_from_user=False)
        message = read.message
        names: list[str] = []
        content: list[Block] = []
        for block in message.content:
            if isinstance(block, ToolCall):
                names.append(block.id)
                content.append(self._callable(block))
            elif not isinstance(block, ToolResult):
                content.append(block)
        fresh = replace(message, content=tuple(content))
        calls = fresh.tool_calls
        same = read.is_sound and all(map(_is_same, calls, message.tool_calls))
        written = foreign if same or not calls else kind.asking(foreign, fresh)
        at = self._add(fresh, (written,), kind)
        if calls:
            why = ABORTED if message.stop is StopReason.ABORTED else NO_RESULT
            self._open = _Open(at, kind, tuple(names), calls, [], why)
            for name in dict.fromkeys(names):
                self._uses.setdefault(name, []).append(self._open)
        return at

    def _callable(self, call: ToolCall) -> ToolCall:
        """The call in a form that providers take."""
        name, arguments = call.name, call.arguments
        identity: str = call.id
        if not _ID.fullmatch(identity) or identity in self._ids:
            identity = self._new_id(identity)
        self._ids.add(identity)
        if not _NAME.fullmatch(name):
            name = _NO_NAME.sub("_", name)[:64].strip("_") or "unknown"
        if not is_object(arguments):
            arguments = json.dumps({"input": _value(arguments)}, ensure_ascii=False)
        if (identity, name, arguments) == (call.id, call.name, call.arguments):
            return call
        return replace(call, id=CallId(identity), name=name, arguments=arguments)

    def _new_id(self, identity: str) -> str:
        # From the id and how often it came, so the same beginning always gives the same ids.
        uses = len(self._uses.get(identity, ()))
        digest = blake2b(f"{identity}\0{uses}".encode("utf-8", "replace"), digest_size=12)
        while (made := f"call_{digest.hexdigest()}") in self._ids:
            digest.update(b"+")
        return made

    def _answer(self, result: ToolResult, foreign: Foreign, kind: Kind, read: Read) -> int:
        found = self._asked(result)
        if found is None:
            if self._uses.get(result.call_id) and not self._is_lost(result.call_id):
                return len(self.pieces)  # answered already
            return self._orphan(result, kind)
        group, number = found
        call = group.calls[number]
        named = replace(result, call_id=call.id, name=call.name)
        renamed = result.call_id != call.id and call.native != LEGACY
        # A message of several results is used again only where they all stay together.
        given = Given(call, named, foreign, is_changed=renamed or not read.is_sound)
        if group.kind is not kind:
            given = replace(given, source=None)
        group.given.append(given)
        if group is self._open:
            if not any(group.waiting()):
                self._settle()
            return group.at + 1
        self._replace(group)
        return group.at + 1

    def _asked(self, result: ToolResult) -> tuple[_Open, int] | None:
        """The newest message that still waits for this result, and the number of the call."""
        if result.call_id:
            for group in reversed(self._uses.get(result.call_id, ())):
                if group.at + 1 < self.fixed:
                    break
                for number, _ in group.waiting():
                    if group.names[number] == result.call_id:
                        return group, number
            return None
        if self._open is None:
            return None
        for number, call in self._open.waiting():
            if not result.name or call.name == result.name:
                return self._open, number
        return None

    def _is_lost(self, name: str) -> bool:
        """Whether a call of this id was closed without a result, too long ago to answer it now."""
        return any(
            group.at + 1 < self.fixed and any(group.names[n] == name for n, _ in group.waiting())
            for group in self._uses[name]
        )

    def _orphan(self, result: ToolResult, kind: Kind) -> int:
        head = f"[result of {result.name or 'a tool'} without its call]"
        text = f"{head}\n{result.text}" if result.text else head
        self._settle()
        shown = Message.user(text)
        return self._add(shown, (kind.user(text),), kind, is_from_user=False)

    def _settle(self) -> None:
        """The newest calls get all answers that they will get for now."""
        group, self._open = self._open, None
        if group is not None:
            self._add_piece(_answered(group, group.at + 1))

    def _replace(self, group: _Open) -> None:
        self.pieces[group.at + 1] = _answered(group, group.at + 1)
        self.changed.append(group.at + 1)

    def _add(
        self,
        message: Message,
        foreign: tuple[Foreign, ...],
        kind: Kind,
        *,
        is_from_user: bool = True,
    ) -> int:
        at = len(self.pieces)
        self._begun = self._begun or message.role is not Role.SYSTEM
        said = is_from_user and message.role is Role.USER
        named = replace(message, id=MessageId(str(at)))
        self._add_piece(Piece(named, foreign, kind, is_from_user=said))
        return at

    def _add_piece(self, piece: Piece) -> None:
        self.pieces.append(piece)


def _answered(group: _Open, at: int) -> Piece:
    """All answers to the calls of `group`; where there is none, one that says so."""
    missing = [
        Given(call, ToolResult(call.id, call.name, (Text(group.why),), failed=True))
        for _, call in group.waiting()
    ]
    given = (*group.given, *missing)
    by_call = {each.call.id: each.result for each in given}
    content = tuple(by_call[call.id] for call in group.calls)
    message = Message(Role.TOOL, content, MessageId(str(at)))
    return Piece(message, group.kind.answers(given), group.kind, given)


def _is_same(call: ToolCall, given: ToolCall) -> bool:
    """Whether the call may be written as it came in; functions of old had no id."""
    return call == (replace(given, id=call.id) if given.native == LEGACY else given)


def is_blank(content: Sequence[Block]) -> bool:
    """Whether these blocks say nothing that a provider takes as a message."""
    return all(
        isinstance(b, Reasoning) or (isinstance(b, Text | Refusal) and not b.text.strip())
        for b in content
    )


def _allowed(block: Block) -> Block:
    """The block as a user or a system may say it."""
    match block:
        case ToolCall(name=name, arguments=arguments):
            return Text(f"[call of {name}: {arguments}]")
        case Refusal(text=text) | Reasoning(text=text):
            return Text(text)
        case _:
            return block


def _value(arguments: str) -> object:
    try:
        return msgspec.json.decode(arguments)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return arguments

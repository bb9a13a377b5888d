"""What can be quoted of messages: lines, one for each thing said or called, made of pieces.

    m8 get_flight(date=2024-05-20): flight_number HAT136, HAT039; status available
    m9 assistant: The first one leaves at 06:00.

A piece is the smallest thing that is taken or left: a sentence, an argument, a value under its key.
Its features are what it says: words and identifiers, by number. Nothing is chosen here.
"""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from palaver.context.handles import handle
from palaver.context.identifiers import (
    decoded,
    identifiers,
    is_identifier,
    scalars,
    shape,
    written,
)
from palaver.context.words import sentences, words
from palaver.context.words_frequent import FREQUENT
from palaver.domain.messages import (
    File,
    Image,
    Message,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
)

_LONG_VALUE = 80
"""Characters; a longer string of JSON is quoted by the sentence."""
_LONGEST_ARGUMENT = 600
_LONGEST_SENTENCE = 300
_FAILURE = re.compile(
    r"\b(?:errors?|failed|failure|exception|traceback|fatal|panic|denied|not found|cannot|refused"
    r"|timed out|exit(?:ed)? (?:code|status))\b",
    re.IGNORECASE,
)
_ASCII_WORD = re.compile(r"[A-Za-z0-9]+(?:'[a-z]+)?")


class Mention(msgspec.Struct, gc=False):
    """An identifier, and what is known of its use. `last`: the position that names it last."""

    text: str
    last: int
    units: int = 0
    argument: int = 0
    by_user: bool = False
    by_assistant: bool = False
    key: str = ""


class Piece(msgspec.Struct, gc=False):
    """Something that is taken whole or left. `cost` is in tokens, estimated."""

    text: str
    cost: float
    features: tuple[int, ...]
    key: str = ""
    """Of a value: what it is called; written once for all values of a line that share it."""
    bonus: float = 0.0
    is_argument: bool = False
    is_sentence: bool = False


class Line(msgspec.Struct, gc=False):
    """What can be quoted of one thing. `sources` are positions; `head` is written in any case."""

    head: str
    cost: float
    sources: tuple[int, ...]
    pieces: list[Piece]
    call: tuple[int, str] | None = None
    """Of a call: the position of its result, and its id."""
    plain: bool = False
    """Whether its sentences may be written in telegraphic style."""


class Features:
    """Words and identifiers by number, with how many sentences hold them."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.seen: list[int] = []
        """For each feature the pieces that hold it."""
        self.mentions: dict[int, Mention] = {}
        self.entities: dict[int, None] = {}
        self.argument_keys: dict[str, None] = {}
        self.argument_shapes: dict[str, None] = {}

    def number(self, name: str) -> int:
        """The number of a feature; a new one where it was not known."""
        found = self.numbers.setdefault(name, len(self.seen))
        if found == len(self.seen):
            self.seen.append(0)
        return found

    def of(self, text: str) -> dict[int, None]:
        """The content words of a sentence, without its identifiers."""
        found: dict[int, None] = {}
        if text.isascii():
            for place, word in enumerate(_ASCII_WORD.findall(text)):
                low = word.lower()
                if low not in FREQUENT and len(low) > 1:
                    number = self.number(low)
                    found[number] = None
                    if place and word is not low and word[0].isupper():
                        self.entities[number] = None
        else:
            for word in words(text):
                if word not in FREQUENT:
                    found[self.number(word)] = None
        for number in found:
            self.seen[number] += 1
        return found

    def name(self, text: str, position: int, *, key: str = "") -> int:
        """The feature of an identifier, whose mention at `position` is noted."""
        number = self.number(f"\0{text}")
        known = self.mentions.get(number)
        if known is None:
            known = self.mentions[number] = Mention(text, -1)
        if known.last != position:
            known.units += 1
            known.last = max(known.last, position)
        known.key = key or known.key
        return number


class Place(msgspec.Struct, gc=False):
    """Where a text stands, and what its characters cost."""

    position: int
    rate: float

    def cost(self, text: str) -> float:
        """Tokens of `text`, estimated."""
        return len(text) * self.rate + 1.0


class Reader:
    """Makes lines of messages and notes every identifier on the way."""

    def __init__(self, features: Features) -> None:
        self._features = features

    def lines(self, message: Message, position: int, rate: float) -> Iterator[Line]:
        """The lines of one message. `rate`: its tokens for each character."""
        place = Place(position, rate)
        name = handle(position)
        match message.role:
            case Role.USER:
                yield from self._said(message, place, f"{name} user:")
            case Role.ASSISTANT:
                yield from self._said(message, place, f"{name} assistant:")
            case Role.TOOL | Role.SYSTEM:
                pass

    def calls(
        self, call: Message, results: Message | None, positions: tuple[int, int], rate: float
    ) -> Iterator[Line]:
        """A line for each call of `call`, with what its result says."""
        answers = {r.call_id: r for r in results.tool_results} if results is not None else {}
        place = Place(positions[0], rate)
        for asked in call.tool_calls:
            pieces = list(self._arguments(asked, place))
            answer = answers.get(asked.id)
            if answer is not None:
                pieces += self.result(answer, Place(positions[1], rate))
            failed = " failed" if answer is not None and answer.failed else ""
            head = f"{handle(positions[0])} {asked.name}{failed}"
            key = (positions[1], asked.id)
            yield Line(head, place.cost(head), tuple(dict.fromkeys(positions)), pieces, call=key)

    def _said(self, message: Message, place: Place, head: str) -> Iterator[Line]:
        pieces = [p for block in message.content for p in self._block(block, place, message.role)]
        if pieces:
            is_user = message.role is Role.USER
            yield Line(head, place.cost(head), (place.position,), pieces, plain=not is_user)

    def _block(self, block: object, place: Place, role: Role) -> Iterator[Piece]:
        if isinstance(block, Text | Refusal):
            yield from self.prose(block.text, place, role=role)
        elif isinstance(block, Image | File):
            yield self._attachment(block, place)

    def _attachment(self, block: Image | File, place: Place) -> Piece:
        kind = "image" if isinstance(block, Image) else "file"
        text = f"[{kind} {block.name}]" if block.name else f"[{kind}]"
        return Piece(text, place.cost(text), (), bonus=2.0)

    def prose(self, text: str, place: Place, *, role: Role, whole: bool = False) -> Iterator[Piece]:
        """The sentences of `text`; behind each the identifiers that it holds, as pieces.

        `whole`: it is one sentence already.
        """
        features = self._features
        spans = [(0, len(text))] if whole else sentences(text, longest=_LONGEST_SENTENCE)
        for start, end in spans:
            sentence = text[start:end]
            held = features.of(sentence)
            names: list[tuple[str, int]] = []
            for name in identifiers(sentence):
                number = features.name(name, place.position)
                self._speaker(features.mentions[number], role)
                names.append((name, number))
            bonus = 0.0
            if role is Role.TOOL and _FAILURE.search(sentence):
                bonus = 8.0
            every = (*held, *(number for _, number in names))
            cost = place.cost(sentence)
            yield Piece(flat(sentence), cost, every, bonus=bonus, is_sentence=True)
            if len(names) > 1 or cost > 8:
                for name, number in names:
                    yield Piece(name, place.cost(name), (number,))

    def _speaker(self, mention: Mention, role: Role) -> None:
        if role is Role.USER:
            mention.by_user = True
        elif role is Role.ASSISTANT:
            mention.by_assistant = True

    def _arguments(self, call: ToolCall, place: Place) -> Iterator[Piece]:
        value = decoded(call.arguments)
        if value is None:
            return
        features = self._features
        for key, member in scalars(value):
            text = written(member)
            features.argument_keys[key] = None
            if len(text) > _LONG_VALUE:
                for piece in self.prose(text, place, role=Role.TOOL):
                    if not piece.is_sentence:
                        yield piece
            if len(text) > _LONGEST_ARGUMENT:
                continue
            features.argument_shapes[shape(text)] = None
            number = features.name(text, place.position, key=key)
            features.mentions[number].argument += 1
            yield Piece(flat(text), place.cost(text), (number,), key=key, is_argument=True)

    def result(self, result: ToolResult, place: Place) -> Iterator[Piece]:
        """What a result says: values of JSON, sentences and lines of anything else."""
        for block in result.content:
            if not isinstance(block, Text):
                yield self._attachment(block, place)
                continue
            value = decoded(block.text)
            if value is None:
                yield from self.prose(block.text, place, role=Role.TOOL)
            else:
                yield from self._values(value, place)

    def _values(self, value: Any, place: Place) -> Iterator[Piece]:
        features = self._features
        for key, member in scalars(value):
            text = written(member)
            if len(text) > _LONG_VALUE or (text.count(" ") > 5 and not is_identifier(text)):
                yield from self.prose(text, place, role=Role.TOOL)
                continue
            number = features.name(text, place.position, key=key)
            bonus = 8.0 if key in ("error", "status_code", "exit_code") else 0.0
            yield Piece(flat(text), place.cost(text), (number,), key=key, bonus=bonus)


def flat(text: str) -> str:
    """`text` on one line, so that what is quoted cannot look like a line of ours."""
    return text if text.isprintable() and "  " not in text else " ".join(text.split())

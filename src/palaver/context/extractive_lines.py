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

from palaver.context.critical import statements
from palaver.context.handles import handle
from palaver.context.identifiers import (
    decoded,
    identifiers,
    is_identifier,
    scalars,
    shape,
    written,
)
from palaver.context.telegraphic import telegraphic
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

_FAILURE_BONUS = 8.0
_BINDING_BONUS = 60.0
"""What a person forbade or corrected is quoted before anything else."""
AGAIN_WORD = 0.25
AGAIN_NAME = 0.05
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
    is_loose: bool = False
    """Whether it may be written in telegraphic style."""


class Line(msgspec.Struct, gc=False):
    """What can be quoted of one thing. `sources` are positions; `head` is written in any case."""

    head: str
    cost: float
    sources: tuple[int, ...]
    pieces: list[Piece]
    call: tuple[int, str] | None = None
    """Of a call: the position of its result, and its id."""


def shortened(line: Line) -> Line:
    """The line with its sentences in telegraphic style, where they may be."""
    pieces = [_short(piece) if piece.is_loose else piece for piece in line.pieces]
    return msgspec.structs.replace(line, pieces=pieces)


def _short(piece: Piece) -> Piece:
    text = telegraphic(piece.text)
    cost = 1.0 + (piece.cost - 1.0) * len(text) / max(1, len(piece.text))
    return msgspec.structs.replace(piece, text=text, cost=cost)


class Features:
    """Words and identifiers by number.

    An identifier is one feature of the whole conversation. A word is a feature of its stretch: what
    a meeting says of the price at its beginning does not speak for what it says at its end. Its
    rarity is that in the whole.
    """

    def __init__(self) -> None:
        self.words: list[int] = []
        """For each feature the number of its word; -1 for identifiers."""
        self.seen: list[int] = []
        """For each word how many sentences hold it."""
        self.mentions: dict[int, Mention] = {}
        """By the feature of the identifier."""
        self.entities: dict[int, None] = {}
        """Numbers of words that are written like names."""
        self.argument_keys: dict[str, None] = {}
        self.argument_shapes: dict[str, None] = {}
        self._vocabulary: dict[str, int] = {}
        self._here: dict[int, int] = {}
        """The features of this stretch by their words."""
        self._names: dict[str, int] = {}

    def next_stretch(self) -> None:
        """From here on words count anew."""
        self._here = {}

    def again(self, number: int) -> float:
        """What share a feature still weighs each time that it is said once more."""
        return AGAIN_WORD if self.words[number] >= 0 else AGAIN_NAME

    def of(self, text: str) -> list[int]:
        """The content words of a sentence."""
        vocabulary, seen = self._vocabulary, self.seen
        found: dict[int, None] = {}
        if text.isascii():
            for place, word in enumerate(_ASCII_WORD.findall(text)):
                low = word.lower()
                if low in FREQUENT or len(low) == 1:
                    continue
                number = vocabulary.setdefault(low, len(vocabulary))
                found[number] = None
                if place and low != word and word[0].isupper():
                    self.entities[number] = None
        else:
            for word in words(text):
                if word not in FREQUENT:
                    found[vocabulary.setdefault(word, len(vocabulary))] = None
        seen.extend([0] * (len(vocabulary) - len(seen)))
        here, features = self._here, self.words
        made = []
        for number in found:
            seen[number] += 1
            feature = here.get(number)
            if feature is None:
                feature = here[number] = len(features)
                features.append(number)
            made.append(feature)
        return made

    def told_by(self, text: str) -> list[int]:
        """The features that stand for words and identifiers of `text`, everywhere."""
        known = {
            number
            for word in words(text)
            if word not in FREQUENT and (number := self._vocabulary.get(word)) is not None
        }
        named = [self._names[name] for name in identifiers(text) if name in self._names]
        if not known:
            return named
        return [f for f, word in enumerate(self.words) if word in known] + named

    def name(self, text: str, position: int, *, key: str = "") -> int:
        """The feature of an identifier, whose mention at `position` is noted."""
        number = self._names.get(text)
        if number is None:
            number = self._names[text] = len(self.words)
            self.words.append(-1)
            self.mentions[number] = Mention(text, -1)
        known = self.mentions[number]
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
    """Makes lines of messages and notes every identifier on the way.

    `typed`: how much a sentence of the user binds, 0 to 1. Where all is the user's it is nothing:
    that is the minutes of a meeting, and what its speakers want is not asked of the model.
    """

    def __init__(self, features: Features, *, typed: float = 1.0) -> None:
        self._features = features
        self._bonus = _BINDING_BONUS * typed
        self._binding: tuple[str, ...] = ()

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
        found = statements(message) if message.role is Role.USER else ()
        self._binding = tuple(flat(statement.text) for statement in found)
        pieces = [p for block in message.content for p in self._block(block, place, message.role)]
        if pieces:
            yield Line(head, place.cost(head), (place.position,), pieces)

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
            quoted = flat(sentence)
            bonus = 0.0
            if role is Role.TOOL:
                bonus = _FAILURE_BONUS if _FAILURE.search(sentence) else 0.0
            elif role is Role.USER and quoted in self._binding:
                bonus = self._bonus
            cost = place.cost(quoted)
            every = (*held, *(number for _, number in names))
            loose = role is not Role.TOOL and not bonus and not whole
            yield Piece(quoted, cost, every, bonus=bonus, is_sentence=True, is_loose=loose)
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

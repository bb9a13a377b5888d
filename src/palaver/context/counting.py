"""Whatever somebody counts tokens with, as one counter.

A counter may take a list of messages (LangChain's do, and those in tutorials), one message, or a
text (what a tokenizer offers). Signatures seldom tell, so it is tried: with a short and a long
message of the kind that came in, as a list, then alone, then as texts. The first form in which the
long one counts more than the short one is it. A counter that takes anything (`len(str(x))`) is
therefore asked about lists.
"""

from collections.abc import Callable, Sequence
from enum import StrEnum
from math import ceil
from typing import Any

from palaver.context.kind_of import kind_of
from palaver.context.kinds import Foreign, Kind
from palaver.context.kinds_openai import OPENAI
from palaver.context.tokens import MESSAGE_OVERHEAD, message_tokens, text_tokens
from palaver.domain.errors import InvalidInput
from palaver.domain.messages import (
    Block,
    Message,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
    Unknown,
)

Count = Callable[[Any], float]
"""Tokens of a list of messages, of a message, or of a text."""
_SHORT = "Yes."
_LONG = "The quick brown fox jumps over the lazy dog, 17 times in 2024. " * 8


class Form(StrEnum):
    """What a counter takes."""

    LIST = "list"
    MESSAGE = "message"
    TEXT = "text"


class Counter:
    """Counts messages of any kind, always in the same way.

    `count`: as it came from the caller; None: Palaver's estimate. An object with
    `get_num_tokens_from_messages` (LangChain's models) or with `encode` (tokenizers) will do, too.
    """

    def __init__(self, count: object | None = None, *, model: str = "") -> None:
        self._model = model
        self._given = None if count is None else _callable(count)
        self._form: Form | None = None
        self._kind: Kind | None = None
        self._base = 0

    def message(self, foreign: Foreign) -> int:
        """Tokens of one message."""
        if self._given is None:
            return message_tokens(kind_of(foreign).read(foreign).message, model=self._model).total
        match self._told(kind_of(foreign)):
            case Form.LIST:
                return max(0, _whole(self._given([foreign])) - self._base)
            case Form.MESSAGE:
                return max(0, _whole(self._given(foreign)))
            case Form.TEXT:
                return MESSAGE_OVERHEAD + sum(
                    _whole(self._given(text)) for text in _texts(kind_of(foreign), foreign) if text
                )

    def piece(self, message: Message, foreign: Sequence[Foreign]) -> int:
        """Tokens of the objects that say the same as `message`, added up."""
        if self._given is None:
            more = MESSAGE_OVERHEAD * (len(foreign) - 1)
            return message_tokens(message, model=self._model).total + more
        return sum(map(self.message, foreign))

    def text(self, text: str) -> int:
        """Tokens of a text, where the counter takes one; else of a message of the user."""
        if self._given is None:
            return text_tokens(text)
        return (
            _whole(self._given(text))
            if self._told(OPENAI) is Form.TEXT
            else self.message(OPENAI.user(text))
        )

    def messages(self, foreign: Sequence[Foreign]) -> int:
        """Tokens of all of them as the caller's own counter says it."""
        given = self._given if foreign else None
        if given is not None and self._told(kind_of(foreign[0])) is Form.LIST:
            return _whole(given(list(foreign)))
        return sum(map(self.message, foreign))

    def whole(self, foreign: Sequence[Foreign], added_up: int) -> int:
        """As `messages`, where the tokens of each one are known."""
        if self._given is None or not foreign or self._form is not Form.LIST:
            return added_up
        return self.messages(foreign)

    def _told(self, kind: Kind) -> Form:
        # A counter that takes lists of one kind may fail with another: each kind is tried.
        if self._form is None or kind is not self._kind:
            assert self._given is not None
            self._form, self._kind = form_of(self._given, kind), kind
            self._base = _empty(self._given) if self._form is Form.LIST else 0
        return self._form


def form_of(count: Count, kind: Kind) -> Form:
    """What `count` takes. Raises InvalidInput when it counts nothing that is tried."""
    short, long = kind.user(_SHORT), kind.user(_LONG)
    if _grows(count, [short], [long]) and _grows(count, [short], [short, long]):
        return Form.LIST
    if _grows(count, short, long):
        return Form.MESSAGE
    if _grows(count, _SHORT, _LONG):
        return Form.TEXT
    raise InvalidInput(
        "`count` counts neither a list of messages, nor a message, nor a text",
        hint="Pass a callable that returns a number of tokens, larger for more text.",
    )


def _callable(count: object) -> Count:
    of_messages = getattr(count, "get_num_tokens_from_messages", None)
    if callable(of_messages):
        return of_messages  # type: ignore[no-any-return]
    encode = getattr(count, "encode", None)
    if callable(encode) and not isinstance(count, str):
        return lambda text: len(encode(text))
    if not callable(count):
        raise InvalidInput(
            f"`count` is a {type(count).__name__}", hint="Pass a callable or a tokenizer."
        )
    return count


def _grows(count: Count, small: object, large: object) -> bool:
    try:
        return 0 <= float(count(small)) < float(count(large))
    except Exception:  # noqa: BLE001  # somebody's counter, asked what it may not take
        return False


def _empty(count: Count) -> int:
    """What a counter adds for a list as such."""
    try:
        return max(0, _whole(count([])))
    except Exception:  # noqa: BLE001  # many cannot count nothing
        return 0


def _whole(tokens: float) -> int:
    return ceil(tokens)


def _texts(kind: Kind, foreign: Foreign) -> list[str]:
    message: Message = kind.read(foreign).message
    return [text for block in message.content for text in _said(block)]


def _said(block: Block) -> Sequence[str]:
    match block:
        case Text(text=text) | Refusal(text=text) | Reasoning(text=text):
            return (text,)
        case ToolCall(name=name, arguments=arguments):
            return (name, arguments)
        case ToolResult(content=content):
            return [text for part in content for text in _said(part)]
        case Unknown(raw=raw):
            return (raw,)
        case _:
            return ()

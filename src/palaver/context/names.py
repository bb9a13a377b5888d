"""The identifier ledger of a conversation: which exact strings it lives on, the likeliest to be
needed again first.

An identifier weighs by recency, by how often it is named, by whether a tool was called with it or
a person said it, and less the longer it is.
"""

import math

import msgspec

from palaver.context.identifiers import decoded, identifiers, is_identifier, scalars, shape, written
from palaver.domain.messages import Message, Refusal, Role, Text, ToolCall, ToolResult

_LONG_VALUE = 80
"""Characters; a longer string is content, which may hold names."""
_LEAST_ARGUMENT = 4
_HALF_LIFE = 12.0
"""Positions after which an identifier that is not named again weighs half."""
_OLDEST = 0.15
"""Recency's floor."""
_ARGUMENT, _USER, _LIKE_ARGUMENT = 4.0, 2.0, 2.0
_MOST_COUNTED = 8
_TOKEN_CHARS = 3.0
"""Characters for each token of an identifier, which vocabularies cut into small pieces."""


class Identifier(msgspec.Struct, frozen=True, gc=False):
    """A string that has to be repeated exactly."""

    text: str
    last: int
    """The position that names it last."""
    messages: int = 0
    """That name it."""
    calls: int = 0
    """That were made with it."""
    by_user: bool = False
    key: str = ""
    """What it was called where it was named last: an argument's or a field's name."""
    is_likely: bool = False
    """Whether more speaks for its being needed again than that it stood somewhere once."""


class IdentifierLedger:
    """Messages are added in the order of the path."""

    def __init__(self) -> None:
        self._known: dict[str, Identifier] = {}
        self._keys: set[str] = set()
        """Of arguments: what stands under such a key elsewhere is likely to become one."""
        self._shapes: set[str] = set()
        self._last = 0

    def add(self, message: Message, position: int) -> None:
        """The next message."""
        self._last = position
        for block in message.content:
            match block:
                case Text(text=text) | Refusal(text=text):
                    for name in identifiers(text):
                        self._note(name, position, by_user=message.role is Role.USER)
                case ToolCall():
                    self._call(block, position)
                case ToolResult(content=content):
                    for part in content:
                        if isinstance(part, Text):
                            self._result(part.text, position)
                case _:
                    pass

    def ranked(self) -> tuple[Identifier, ...]:
        """All of them, by weight. Costs work for each."""
        order = sorted(self._known.values(), key=lambda known: -self._weight(known))
        return tuple(
            msgspec.structs.replace(known, is_likely=True) if self._is_likely(known) else known
            for known in order
        )

    def _is_likely(self, known: Identifier) -> bool:
        is_named = known.calls or known.by_user or known.messages > 1
        return bool(is_named or known.key in self._keys)

    def _call(self, call: ToolCall, position: int) -> None:
        for key, member in scalars(decoded(call.arguments)):
            text = written(member)
            if len(text) > _LONG_VALUE:
                for name in identifiers(text):
                    self._note(name, position)
            elif is_identifier(text) or len(text) >= _LEAST_ARGUMENT:
                self._keys.add(key)
                self._shapes.add(shape(text))
                self._note(text, position, key=key, is_call=True)

    def _result(self, text: str, position: int) -> None:
        value = decoded(text)
        if value is None:
            for name in identifiers(text):
                self._note(name, position)
            return
        for key, member in scalars(value):
            said = written(member)
            if is_identifier(said):
                self._note(said, position, key=key)
            elif len(said) > _LONG_VALUE:
                for name in identifiers(said):
                    self._note(name, position)

    def _note(
        self,
        text: str,
        position: int,
        *,
        key: str = "",
        is_call: bool = False,
        by_user: bool = False,
    ) -> None:
        known = self._known.get(text) or Identifier(text, -1)
        self._known[text] = Identifier(
            text,
            position,
            known.messages + (known.last != position),
            known.calls + is_call,
            known.by_user or by_user,
            key or known.key,
        )

    def _weight(self, known: Identifier) -> float:
        weight = max(_OLDEST, math.pow(0.5, (self._last - known.last) / _HALF_LIFE))
        weight *= min(_MOST_COUNTED, known.messages)
        weight *= _ARGUMENT if known.calls else 1.0
        weight *= _USER if known.by_user else 1.0
        if known.key in self._keys or shape(known.text) in self._shapes:
            weight *= _LIKE_ARGUMENT
        return weight / math.sqrt(max(1.0, len(known.text) / _TOKEN_CHARS))

"""The identifier ledger of a conversation: which exact strings it lives on, the likeliest to be
needed again first."""

import msgspec

from palaver.context.extractive import weigh
from palaver.context.extractive_lines import Features, Mention
from palaver.context.identifiers import decoded, identifiers, is_identifier, scalars, shape, written
from palaver.domain.messages import Message, Refusal, Role, Text, ToolCall, ToolResult

_LONG_VALUE = 80
"""Characters; a longer string is content, which may hold names."""
_LEAST_ARGUMENT = 4


class Identifier(msgspec.Struct, frozen=True, gc=False):
    """A string that has to be repeated exactly."""

    text: str
    last: int
    """The position that names it last."""
    messages: int
    """That name it."""
    is_argument: bool = False
    """Whether a tool was called with it."""
    by_user: bool = False
    weight: float = 0.0


class IdentifierLedger:
    """Messages are added in the order of the path."""

    def __init__(self) -> None:
        self._features = Features()
        self._last = 0

    def add(self, message: Message, position: int) -> None:
        """The next message."""
        self._last = position
        for block in message.content:
            match block:
                case Text(text=text) | Refusal(text=text):
                    self._prose(text, message.role, position)
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
        features = self._features
        weights = weigh(features, last=self._last)
        found = [
            Identifier(
                mention.text,
                mention.last,
                mention.units,
                mention.argument > 0,
                mention.by_user,
                weights[number],
            )
            for number, mention in features.mentions.items()
            if _counts(mention)
        ]
        return tuple(sorted(found, key=lambda each: -each.weight))

    def _prose(self, text: str, role: Role, position: int) -> None:
        for name in identifiers(text):
            mention = self._noted(name, position)
            mention.by_user = mention.by_user or role is Role.USER
            mention.by_assistant = mention.by_assistant or role is Role.ASSISTANT

    def _call(self, call: ToolCall, position: int) -> None:
        for key, member in scalars(decoded(call.arguments)):
            text = written(member)
            if len(text) > _LONG_VALUE:
                self._prose(text, Role.TOOL, position)
                continue
            self._features.argument_keys[key] = None
            self._features.argument_shapes[shape(text)] = None
            self._noted(text, position, key=key).argument += 1

    def _result(self, text: str, position: int) -> None:
        value = decoded(text)
        if value is None:
            self._prose(text, Role.TOOL, position)
            return
        for key, member in scalars(value):
            said = written(member)
            if is_identifier(said):
                self._noted(said, position, key=key)
            elif len(said) > _LONG_VALUE:
                self._prose(said, Role.TOOL, position)

    def _noted(self, text: str, position: int, *, key: str = "") -> Mention:
        return self._features.mentions[self._features.name(text, position, key=key)]


def _counts(mention: Mention) -> bool:
    if is_identifier(mention.text):
        return True
    return mention.argument > 0 and _LEAST_ARGUMENT <= len(mention.text) <= _LONG_VALUE

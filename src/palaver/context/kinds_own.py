"""Palaver's own messages as a kind: what a program that uses only this package's types passes."""

from collections.abc import Sequence

import msgspec

from palaver.context.kinds import Foreign, Given, Read
from palaver.domain.messages import Message, Role


class Own:
    """Messages of Palaver's own."""

    def read(self, foreign: Foreign) -> Read:
        """It, as it is."""
        assert isinstance(foreign, Message)
        return Read(foreign)

    def user(self, text: str) -> Foreign:
        """A message of the user."""
        return Message.user(text)

    def asking(self, source: Foreign, message: Message) -> Foreign:
        """The source with other calls."""
        assert isinstance(source, Message)
        return msgspec.structs.replace(source, content=message.content)

    def answers(self, given: Sequence[Given]) -> tuple[Foreign, ...]:
        """One message: where a single source holds exactly these results, it."""
        results = tuple(each.result for each in given)
        source = given[0].source
        if isinstance(source, Message):
            alone = all(each.source is source and not each.is_changed for each in given)
            if alone and source.content == results:
                return (source,)
            if source.role is Role.TOOL:
                return (msgspec.structs.replace(source, content=results),)
        return (Message(Role.TOOL, results),)


OWN = Own()

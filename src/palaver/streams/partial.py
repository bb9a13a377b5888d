"""What a turn had said when its process died, read from its durable run log."""

from collections.abc import Sequence

import msgspec

from palaver.domain.stream import AttemptStarted, MessageCompleted, TextDelta
from palaver.store.base import RunRow
from palaver.streams.session import unpack


class Unfinished(msgspec.Struct, frozen=True):
    """The visible text of a message that never came to its end, and the model that wrote it."""

    text: str
    model: str


def unfinished_message(rows: Sequence[RunRow]) -> Unfinished | None:
    """The message that was being written behind the last complete one; None if none was.

    Calls and reasoning of it are left out: only a provider's own word makes them complete.
    """
    text: list[str] = []
    model = ""
    for _, events in unpack(rows, 0):
        for event in events:
            match event:
                case AttemptStarted(model=name):
                    text, model = [], name
                case MessageCompleted():
                    text = []
                case TextDelta(text=more):
                    text.append(more)
                case _:
                    pass
    return Unfinished("".join(text), model) if text else None

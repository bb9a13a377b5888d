"""Calls and their results, matched while messages come in."""

import msgspec

from palaver.context.analysis import Superseded, ToolUse
from palaver.domain.history import History
from palaver.domain.ids import CallId
from palaver.domain.messages import Message, Role, ToolCall

_UNRESOLVED = 8
"""Errors that are kept in mind; of more, the newest are what the work is about."""


class ToolFold:
    """Messages are added in the order of the path."""

    def __init__(self) -> None:
        self.superseded: History[Superseded] = History()
        self.reused_ids: History[CallId] = History()
        self.unanswered: History[int] = History()
        self._done: History[ToolUse] = History()
        self._open: list[ToolUse] = []
        """Uses of the newest group."""
        self._are_weighed = False
        self._ids: dict[CallId, int] = {}
        self._latest: dict[tuple[str, str], int] = {}
        """The newest good use of each tool with the same arguments."""
        self._errors: dict[tuple[str, str], ToolUse] = {}

    @property
    def uses(self) -> History[ToolUse]:
        """All uses in call order; those of the newest group may still be without result."""
        found = self._done
        for use in self._open:
            found = found.append(use)
        return found

    @property
    def pending(self) -> tuple[ToolUse, ...]:
        """Uses of the newest group without result."""
        return tuple(use for use in self._open if use.answered is None)

    @property
    def unresolved(self) -> tuple[ToolUse, ...]:
        """Failed uses that nothing made good, oldest first."""
        return tuple(self._errors.values())

    def add(self, message: Message, position: int) -> None:
        """The next message, or a tool message again that has more results than before. What is no
        call or result closes the newest group."""
        if message.role is Role.TOOL and self._open:
            self._answer(message, position)
            return
        self._close()
        for call in message.tool_calls:
            self._note_id(call.id)
            self._open.append(ToolUse(call.id, call.name, call.arguments, position))

    def _note_id(self, id: CallId) -> None:
        seen = self._ids[id] = self._ids.get(id, 0) + 1
        if seen == 2:
            self.reused_ids = self.reused_ids.append(id)

    def _answer(self, message: Message, position: int) -> None:
        results = {result.call_id: result for result in message.tool_results}
        for at, use in enumerate(self._open):
            result = results.get(use.call_id)
            if result is not None and use.answered is None:
                self._open[at] = msgspec.structs.replace(
                    use, answered=position, failed=result.failed, unknown=result.unknown
                )
        if not self.pending:
            self._weigh_all()

    def _weigh_all(self) -> None:
        # In call order and all at once: what came first must not change what is known.
        if self._are_weighed:
            return
        self._are_weighed = True
        for number, use in enumerate(self._open, len(self._done)):
            if use.answered is not None:
                self._weigh(use, number)

    def _weigh(self, use: ToolUse, number: int) -> None:
        aim = (use.name, _aim(use))
        if use.failed:
            self._errors.pop(aim, None)
            self._errors[aim] = use
            if len(self._errors) > _UNRESOLVED:
                del self._errors[next(iter(self._errors))]
            return
        self._errors.pop(aim, None)
        same = (use.name, use.arguments.strip())
        earlier = self._latest.get(same)
        if earlier is not None:
            self.superseded = self.superseded.append(Superseded(earlier, number))
        self._latest[same] = number

    def _close(self) -> None:
        self._weigh_all()
        self._are_weighed = False
        for use in self._open:
            if use.answered is None:
                self.unanswered = self.unanswered.append(len(self._done))
            self._done = self._done.append(use)
        self._open = []


def _aim(use: ToolUse) -> str:
    """What a call was about: its first text argument, of a command line the first two words.

    A later call with the same aim that goes well makes an error good, whatever else it changed.
    """
    call = ToolCall(use.call_id, use.name, use.arguments)
    try:
        values = call.parsed().values()
    except ValueError:
        return use.arguments
    text = next((value for value in values if isinstance(value, str)), "")
    return " ".join(text.split()[:2])

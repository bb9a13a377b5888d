"""Carries a turn from its first event to its last: shows it, asks about calls, obeys Ctrl-C."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

import msgspec

from palaver.cli.interrupts import Interrupts
from palaver.cli.screen import Screen
from palaver.domain.ids import CallId
from palaver.domain.messages import ToolCall
from palaver.domain.stream import (
    StreamEvent,
    Terminal,
    TurnCancelled,
    TurnCompleted,
    TurnFailed,
    TurnInterrupted,
    TurnSuspended,
)
from palaver.domain.values import SuspendReason

if TYPE_CHECKING:
    from palaver.service.conversation import Conversation
    from palaver.streams.session import Numbered, StreamSession

NOBODY = "(nobody is at a terminal to be asked)"


class Decision(msgspec.Struct, frozen=True):
    """What a person says about a call; `note` is told to the model."""

    approve: bool
    note: str = ""


class Approver(Protocol):
    """Decides about calls that wait. None: the person wants the turn to end."""

    async def __call__(self, call: ToolCall, /) -> Decision | None:
        """The decision."""
        ...


async def allow_all(call: ToolCall, /) -> Decision:
    """For `--yes`."""
    return Decision(approve=True)


class DenyAll:
    """For where there is no terminal to ask at. `denied`: whether it had to."""

    def __init__(self) -> None:
        self.denied = False

    async def __call__(self, call: ToolCall, /) -> Decision:
        """No."""
        self.denied = True
        return Decision(approve=False, note=NOBODY)


Hear = Callable[["Numbered"], None]


class TurnCarrier:
    """Carries turns of one conversation after another to one screen."""

    def __init__(self, screen: Screen, approve: Approver, interrupts: Interrupts) -> None:
        self._screen, self._approve, self._interrupts = screen, approve, interrupts

    async def carry(
        self,
        conversation: "Conversation",
        session: "StreamSession",
        *,
        after: int = 0,
        hear: Hear | None = None,
    ) -> Terminal:
        """Follow the turn behind event `after` to its end, which is returned."""
        with self._interrupts.calling(session.cancel), self._interrupts.answering():
            async for numbered in session.numbered(after):
                event = numbered.event
                if hear is not None:
                    hear(numbered)
                self._screen.show(event)
                if isinstance(event, TurnSuspended):
                    with self._interrupts.answering(answers=False):
                        await self.decide(conversation, event.calls)
                elif (end := _terminal(event)) is not None:
                    return end
        raise RuntimeError("the turn's events ended without a terminal one")

    async def decide(
        self, conversation: "Conversation", calls: tuple[ToolCall, ...]
    ) -> "StreamSession | None":
        """Have every waiting call decided; the session that goes on, None when it was ended."""
        going: StreamSession | None = None
        for call in calls:
            decision = await self._approve(call)
            if decision is None:
                await conversation.cancel()
                return None
            going = await conversation.decide(call.id, approve=decision.approve, note=decision.note)
        return going

    async def settle(self, conversation: "Conversation") -> None:
        """Finish a turn that waits for decisions since an earlier run, if there is one."""
        state = conversation.state
        if state.turn is None or state.turn.held is None:
            return
        if state.turn.held is SuspendReason.CLIENT_TOOL_RESULT:
            self._screen.notice("the last turn waits for tools that another program runs")
            return
        waiting: frozenset[CallId] = frozenset(state.turn.waiting)
        calls = tuple(call for call in state.pending_calls if call.id in waiting)
        self._screen.notice("the last turn waits for a decision")
        session = await self.decide(conversation, calls)
        if session is not None:
            async with self._screen.live():
                await self.carry(conversation, session, after=session.last)


def _terminal(event: StreamEvent) -> Terminal | None:
    if isinstance(event, TurnCompleted | TurnFailed | TurnCancelled | TurnInterrupted):
        return event
    return None


Ask = Callable[[str], Awaitable[str | None]]
"""Puts a question to a person: the answer, or None for Ctrl-C and Ctrl-D."""


class AskingApprover:
    """Shows a call whole and asks. `always` holds for this run and this tool."""

    QUESTION = "  allow? [y]es, [n]o, [a]lways this tool, or a note why not: "

    def __init__(self, screen: Screen, ask: Ask) -> None:
        self._screen, self._ask = screen, ask
        self._always: set[str] = set()

    async def __call__(self, call: ToolCall, /) -> Decision | None:
        """Ask until there is an answer."""
        from palaver.cli.safe import escaped
        from palaver.cli.words import arguments_lines

        if call.name in self._always:
            return Decision(approve=True)
        shown = [f"the model wants to use {escaped(call.name)}:"]
        shown += [f"  {line}" for line in arguments_lines(call.arguments)]
        self._screen.notice("\n".join(shown))
        while True:
            answer = await self._ask(self.QUESTION)
            if answer is None:
                return None
            decision = self._read(answer.strip(), call.name)
            if decision is not None:
                return decision

    def _read(self, answer: str, tool: str) -> Decision | None:
        match answer.lower():
            case "":
                return None
            case "y" | "yes":
                return Decision(approve=True)
            case "a" | "always":
                self._always.add(tool)
                return Decision(approve=True)
            case "n" | "no":
                return Decision(approve=False)
            case _:
                return Decision(approve=False, note=answer)

"""The middle of a chat: a line becomes a command or a turn, whatever it came from."""

from typing import TYPE_CHECKING

from palaver.cli.commands import as_message, is_command, run_command, summary
from palaver.cli.opening import Wanted
from palaver.cli.safe import one_line, safe
from palaver.cli.screen import Screen
from palaver.cli.session import ChatSession
from palaver.cli.turns import TurnCarrier
from palaver.cli.unfinished import unfinished
from palaver.domain.errors import PalaverError
from palaver.domain.stream import Terminal, TurnCompleted, TurnFailed

if TYPE_CHECKING:
    from palaver.service.conversation import Conversation
    from palaver.streams.session import StreamSession


class Talk:
    """One chat under way."""

    def __init__(self, chat: ChatSession, screen: Screen, carrier: TurnCarrier) -> None:
        self._chat, self._screen, self._carrier = chat, screen, carrier
        self.has_failed = False
        """Whether a turn or a command went wrong."""
        self.last: Terminal | None = None
        """How the newest turn ended."""

    @property
    def is_over(self) -> bool:
        """Whether the person wants to leave."""
        return self._chat.is_over

    def draft(self) -> str:
        """What the input line begins with; given once."""
        draft, self._chat.draft = self._chat.draft, ""
        return draft

    async def begin(self, conversation: str, wanted: Wanted) -> None:
        """Continue `conversation`, if one is named. Raises NotFound and InvalidInput."""
        for line in self._chat.notices:
            self._screen.notice(line)
        if not conversation:
            return
        found = await self._chat.open(conversation)
        changes = {"model": wanted.model or None, "system": wanted.system}
        chosen = {name: value for name, value in changes.items() if value is not None}
        if chosen:
            await found.set_preferences(**chosen)
        self._screen.notice(summary(found.messages, found.state.metadata.title))
        for line in await unfinished(self._chat.manager, found.state):
            self._screen.notice(line)
        await self._carrier.settle(found)

    async def take(self, line: str) -> None:
        """Carry out a command, or say it to the model and show the answer."""
        try:
            if is_command(line):
                self._chat.editing = None
                begun = await run_command(self._chat, self._screen, line)
                if begun is not None:
                    await self._show(await self._chat.current(), begun)
            else:
                await self._turn(as_message(line))
        except PalaverError as error:
            self.has_failed = True
            self._screen.notice(safe(error.message + (f"\n  {error.hint}" if error.hint else "")))

    async def _turn(self, text: str) -> None:
        conversation = await self._chat.current()
        await self._carrier.settle(conversation)
        is_answered = self._chat.on_unreachable == "offline"  # whatever waits
        if is_answered or await self._send_waiting(conversation):
            await self._show(conversation, await self._chat.say(text))
        else:
            await self._chat.say(text)  # it is kept behind the others, which is said

    async def _send_waiting(self, conversation: "Conversation") -> bool:
        """Send what could not be sent before, in order; whether all of it was answered."""
        while conversation.outbox.prompts:
            said = safe(one_line(conversation.outbox.prompts[0].message.text, 60))
            session = await conversation.outbox.send()
            if session is not None:
                self._screen.notice(f"sending what waited: {said}")
                await self._show(conversation, session)
                if not isinstance(self.last, TurnCompleted):
                    return not conversation.outbox.prompts
        return True

    async def _show(self, conversation: "Conversation", session: "StreamSession") -> None:
        async with self._screen.live():
            self.last = await self._carrier.carry(conversation, session, hear=self._chat.hear)
        self.has_failed = self.has_failed or isinstance(self.last, TurnFailed)
        if isinstance(self.last, TurnFailed) and self.last.kept is not None:
            self._screen.notice(
                "What you said is kept and sent before your next message; /outbox shows it."
            )

    async def end(self) -> None:
        """Leave nothing behind that nobody wants."""
        await self._chat.drop_if_empty()

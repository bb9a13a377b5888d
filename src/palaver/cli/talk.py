"""The middle of a chat: a line becomes a command or a turn, whatever it came from."""

from palaver.cli.commands import as_message, is_command, run_command, summary
from palaver.cli.opening import Wanted
from palaver.cli.safe import safe
from palaver.cli.screen import Screen
from palaver.cli.session import ChatSession
from palaver.cli.turns import TurnCarrier
from palaver.domain.errors import PalaverError
from palaver.domain.stream import Terminal, TurnFailed


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

    async def begin(self, conversation: str, wanted: Wanted) -> None:
        """Continue `conversation`, if one is named. Raises NotFound and InvalidInput."""
        if not conversation:
            return
        found = await self._chat.open(conversation)
        changes = {"model": wanted.model or None, "system": wanted.system}
        chosen = {name: value for name, value in changes.items() if value is not None}
        if chosen:
            await found.set_preferences(**chosen)
        self._screen.notice(summary(found.messages, found.state.metadata.title))
        await self._carrier.settle(found)

    async def take(self, line: str) -> None:
        """Carry out a command, or say it to the model and show the answer."""
        try:
            if is_command(line):
                await run_command(self._chat, self._screen, line)
            else:
                await self._turn(as_message(line))
        except PalaverError as error:
            self.has_failed = True
            self._screen.notice(safe(error.message + (f"\n  {error.hint}" if error.hint else "")))

    async def _turn(self, text: str) -> None:
        conversation = await self._chat.current()
        await self._carrier.settle(conversation)
        session = await conversation.start(self._chat.said(text), on_busy="queue")
        self._chat.attachments.clear()
        async with self._screen.live():
            self.last = await self._carrier.carry(conversation, session, hear=self._chat.hear)
        self.has_failed = self.has_failed or isinstance(self.last, TurnFailed)

    async def end(self) -> None:
        """Leave nothing behind that nobody wants."""
        await self._chat.drop_if_empty()

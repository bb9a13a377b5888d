"""What a chat at the command line holds: the service, one conversation, what it has cost."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palaver.cli.moves import instead_of
from palaver.cli.opening import Opened
from palaver.cli.words import dollars, tokens
from palaver.domain.ids import ConversationId
from palaver.domain.messages import Block, File, Image, Message, Text
from palaver.domain.stream import UsageReported
from palaver.domain.values import Scope, Usage
from palaver.settings import OnUnreachable

if TYPE_CHECKING:
    from palaver.service.compacting import CompactionReport
    from palaver.service.conversation import Conversation
    from palaver.streams.session import Numbered, StreamSession


class ChatSession:
    """One chat. Its conversation begins with the first thing that needs one."""

    def __init__(self, opened: Opened) -> None:
        self.manager, self.default_model = opened.manager, opened.model
        self.notices, self.drain_s = opened.notices, opened.drain_s
        self.on_unreachable: OnUnreachable = opened.on_unreachable
        """What becomes of what is said while no model can be reached."""
        self.conversation: Conversation | None = None
        self.attachments: list[Image | File] = []
        self.cost: float | None = 0.0
        self.is_over = False
        self.editing: Message | None = None
        """The earlier question in whose place the next message is said."""
        self.draft = ""
        """What stands in the input line when it comes next."""
        self.previewed: CompactionReport | None = None
        """The compaction that was looked at last and not made."""
        self.listed: list[ConversationId] = []
        """The conversations of the last listing: their numbers may be said."""
        self.pick: Callable[[], Awaitable[ConversationId | None]] | None = None
        """Lets a person choose a conversation, where there is a terminal for it."""

    @property
    def model(self) -> str:
        """The model that answers next."""
        if self.conversation is None:
            return self.default_model
        return self.conversation.state.preferences.model or self.default_model

    async def current(self) -> "Conversation":
        """The conversation, made now if there is none."""
        if self.conversation is None:
            self.conversation = await self.manager.create()
        return self.conversation

    async def begin(self, title: str = "", **preferences: Any) -> None:
        """Begin a new conversation with the model and system prompt of the present one."""
        if self.conversation is not None:
            before = self.conversation.state.preferences
            preferences = {"model": before.model, "system": before.system, **preferences}
        await self.drop_if_empty()
        self.conversation, self.cost = None, 0.0
        if title or any(preferences.values()):
            self.conversation = await self.manager.create(title=title, **preferences)

    async def open(self, name: str) -> "Conversation":
        """Continue a stored conversation; `last` is the newest but the present one.

        Raises NotFound and InvalidInput.
        """
        found = await self.manager.find(await self._last() if name == "last" else name)
        if self.conversation is not None and found.id != self.conversation.id:
            await self.drop_if_empty()
        self.conversation = found
        self.cost = (await costs(self.manager, found))[1]
        return found

    def named(self, name: str) -> str:
        """The id that a number of the last listing stands for; anything else as it is."""
        is_number = name.isascii() and name.isdigit() and 0 < int(name) <= len(self.listed)
        return self.listed[int(name) - 1] if is_number else name

    async def say(self, text: str) -> "StreamSession":
        """Begin the turn of a message, in place of the one that is edited, if there is one."""
        conversation, old = await self.current(), self.editing
        if old is None:
            session = await conversation.start(
                self.said(text), on_busy="queue", on_unreachable=self.on_unreachable
            )
        else:
            said = (*self.attachments, *instead_of(old, text))
            session = await conversation.edit(old.id, said)
        self.editing = None
        self.attachments.clear()
        return session

    async def _last(self) -> str:
        present = None if self.conversation is None else self.conversation.id
        page = await self.manager.list(limit=2)
        return next((item.id for item in page.items if item.id != present), "last")

    async def drop_if_empty(self) -> None:
        """Forget a conversation in which nothing was said, on any branch."""
        if self.conversation is None:
            return
        state = self.conversation.state
        if not state.messages and not state.aside:
            await self.manager.delete(self.conversation.id)
            self.conversation = None

    async def attach(self, path: str) -> str:
        """Attach a file to the next message; its name. Raises InvalidInput."""
        block = await self.manager.attach(expanded(path))
        self.attachments.append(block)
        return block.name

    def said(self, text: str) -> "str | tuple[Block, ...]":
        """The message to send: the text, with what was attached before it."""
        return (*self.attachments, Text(text)) if self.attachments else text

    def hear(self, numbered: "Numbered") -> None:
        """Keep count of what turns cost."""
        event = numbered.event
        if isinstance(event, UsageReported):
            self.cost = plus(self.cost, event.cost_usd)

    def toolbar(self) -> str:
        """Model, context used, cost, title."""
        parts = [self.model, self._context(), dollars(self.cost)]
        if self.editing is not None:
            parts.append("editing; Ctrl-C leaves it as it was")
        if self.attachments:
            parts.append(f"{len(self.attachments)} attached")
        if self.conversation is not None and self.conversation.state.metadata.title:
            parts.append(self.conversation.state.metadata.title)
        return " · ".join(filter(None, parts))

    def _context(self) -> str:
        if self.conversation is None:
            return ""
        window = self.conversation.context_window()
        if not window.budget:
            return f"{tokens(window.used)} tokens"
        return f"{tokens(window.used)} of {tokens(window.budget)} ({window.share_of_budget:.0%})"


def expanded(path: str) -> Path:
    """The file that a person means; `~` is the home folder."""
    return Path(path).expanduser()


def window_of(model: str) -> int | None:
    """The model's context window in tokens, None where unknown."""
    from palaver.domain.errors import ConfigurationError
    from palaver.providers import catalogue

    try:
        return catalogue.info(model).window
    except ConfigurationError:
        return None


async def costs(
    manager: Any, conversation: "Conversation"
) -> tuple[dict[str, tuple[int, Usage, float | None]], float | None]:
    """By model: requests, usage and US dollars; and the dollars together. None where unknown."""
    from palaver.domain.events import AttemptMade, SideRequestMade
    from palaver.providers import catalogue

    kinds = ["attempt.made", "side_request.made"]
    facts = await manager.store.read(Scope(), conversation.id, kinds=kinds)
    rows: dict[str, tuple[int, Usage, float | None]] = {}
    for fact in facts:
        if isinstance(fact.event, AttemptMade | SideRequestMade):
            model, usage = fact.event.model, fact.event.usage
            attempts, before, cost = rows.get(model, (0, Usage(), 0.0))
            rows[model] = attempts + 1, before + usage, plus(cost, catalogue.price(model, usage))
    total: float | None = 0.0
    for _, _, cost in rows.values():
        total = plus(total, cost)
    return rows, total


def plus(one: float | None, other: float | None) -> float | None:
    """The sum, None when a part of it is not known."""
    return None if one is None or other is None else one + other

"""What a chat at the command line holds: the service, one conversation, what it has cost."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from palaver.cli.opening import Opened
from palaver.cli.words import dollars, tokens
from palaver.domain.messages import Block, File, Image, Text
from palaver.domain.stream import UsageReported
from palaver.domain.values import Scope, Usage

if TYPE_CHECKING:
    from palaver.service.conversation import Conversation
    from palaver.streams.session import Numbered


class ChatSession:
    """One chat. Its conversation begins with the first thing that needs one."""

    def __init__(self, opened: Opened) -> None:
        self.manager, self.default_model = opened.manager, opened.model
        self.conversation: Conversation | None = None
        self.attachments: list[Image | File] = []
        self.cost: float | None = 0.0
        self.is_over = False

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

    async def _last(self) -> str:
        present = None if self.conversation is None else self.conversation.id
        page = await self.manager.list(limit=2)
        return next((item.id for item in page.items if item.id != present), "last")

    async def drop_if_empty(self) -> None:
        """Forget a conversation in which nothing was said."""
        if self.conversation is not None and not self.conversation.messages:
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
        if self.attachments:
            parts.append(f"{len(self.attachments)} attached")
        if self.conversation is not None and self.conversation.state.metadata.title:
            parts.append(self.conversation.state.metadata.title)
        return " · ".join(parts)

    def _context(self) -> str:
        anchor = None if self.conversation is None else self.conversation.state.anchor
        count = 0 if anchor is None else anchor.tokens
        window = window_of(self.model)
        if not window:
            return f"{tokens(count)} tokens"
        return f"{tokens(count)} of {tokens(window)} ({count / window:.0%})"


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
    """By model: attempts, usage and US dollars; and the dollars together. None where unknown."""
    from palaver.domain.events import AttemptMade
    from palaver.providers import catalogue

    facts = await manager.store.read(Scope(), conversation.id, kinds=["attempt.made"])
    rows: dict[str, tuple[int, Usage, float | None]] = {}
    for fact in facts:
        if isinstance(fact.event, AttemptMade):
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

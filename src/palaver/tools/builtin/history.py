"""Search over the person's own conversations, through a port that the wiring connects."""

import datetime as dt
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, TypeAlias

import msgspec

from palaver.domain.values import Scope
from palaver.tools.decorator import tool
from palaver.tools.definition import ExecutionContext, Tool

_EXCERPT_CHARS = 600


class Passage(msgspec.Struct, frozen=True, kw_only=True):
    """One place in an earlier message that fits the query."""

    conversation: str
    snippet: str
    title: str = ""
    role: str = ""
    at: float = 0.0
    """Seconds since 1970; 0 where unknown."""


Search: TypeAlias = Callable[[Scope, str, int], Awaitable[Sequence[Passage]]]
"""`search(scope, query, limit)`: the best passages of that tenant's conversations, best first."""


def conversation_search(search: Search) -> Tool:
    """The tool `search_conversations` over `search`. It sees the caller's tenant only."""

    @tool(effect="read")
    async def search_conversations(
        query: str,
        context: ExecutionContext,
        limit: Annotated[int, msgspec.Meta(ge=1, le=20, description="Passages at most.")] = 5,
    ) -> str:
        """Search earlier conversations of this person for words.

        Args:
            query: A few words that the message contains.
        """
        found = await search(context.scope, query, limit)
        if not found:
            return f"Nothing was found for {query[:100]!r}. Try fewer or other words."
        return "\n\n".join(_written(passage) for passage in found[:limit])

    return search_conversations


def _written(passage: Passage) -> str:
    day = f"{dt.datetime.fromtimestamp(passage.at, dt.UTC):%Y-%m-%d}" if passage.at else ""
    head = ", ".join(part for part in (passage.title, passage.role, day) if part)
    text = passage.snippet
    if len(text) > _EXCERPT_CHARS:
        text = text[:_EXCERPT_CHARS] + "…"
    return f"[{passage.conversation}{f': {head}' if head else ''}]\n{text}"

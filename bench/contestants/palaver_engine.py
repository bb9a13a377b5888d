"""Palaver as its users get it: manager, engine, SQLite log, run log, one subscriber."""

from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.contestants.base import DESCRIPTIONS, KEY, MODELS, TOOLS, Heard
from bench.wire import Api

if TYPE_CHECKING:
    from palaver.service.conversation import Conversation
    from palaver.service.manager import ConversationManager

ENDLESS = 10**9
"""A window that no conversation fills: what is measured is the turn, not compaction."""


def model(api: Api, url: str) -> Any:
    """The provider adapter for `api`, talking to `url`."""
    from palaver.providers.base import ModelInfo
    from palaver.settings import Clocks

    provider = "anthropic" if api == "anthropic" else "openai"
    info = ModelInfo(f"{provider}:{MODELS[api]}", window=ENDLESS, max_output=4096)
    given: dict[str, Any] = {
        "model": MODELS[api],
        "api_key": KEY,
        "info": info,
        "clocks": Clocks(),
    }
    if api == "anthropic":
        from palaver.providers.anthropic import AnthropicManager

        return AnthropicManager(base_url=url, **given)
    from palaver.providers.openai import OpenAIManager

    spoken: Literal["chat", "responses"] = "responses" if api == "responses" else "chat"
    return OpenAIManager(base_url=url + "/v1", api=spoken, **given)


class PalaverEngine:
    """`conversation.stream`, everything switched on."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self._manager: ConversationManager | None = None
        self._conversation: Conversation | None = None

    async def begin(self, api: Api, url: str, folder: Path, *, tools: bool) -> None:
        import palaver
        from palaver.environment import Environment

        await self.aclose()
        made = [
            palaver.tool(effect="read", description=DESCRIPTIONS[n])(f) for n, f in TOOLS.items()
        ]
        self._manager = await self._stack.enter_async_context(
            palaver.open(
                folder / "palaver.db",
                model=model(api, url),
                tools=made if tools else (),
                environment=Environment(home=folder, model="offline"),
            )
        )
        self._conversation = await self._manager.create()

    async def another(self) -> "PalaverEngine":
        assert self._manager is not None
        made = PalaverEngine()
        made._conversation = await self._manager.create()
        return made

    async def say(self, text: str, heard: Heard) -> None:
        from palaver.domain.stream import TextDelta, TurnCompleted

        assert self._conversation is not None
        event: Any = None
        async for event in self._conversation.stream(text):
            if type(event) is TextDelta:
                heard(event.text)
        if not isinstance(event, TurnCompleted):
            raise RuntimeError(f"the turn ended with {event}")

    async def fill(self, turns: int) -> None:
        raise NotImplementedError("Palaver lives through every turn")

    async def aclose(self) -> None:
        await self._stack.aclose()
        self._manager = self._conversation = None

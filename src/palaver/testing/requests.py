"""What leaves for each provider: the body that an adapter sends for a request, for snapshots.

    body = await sent("anthropic", ModelRequest(messages=conversation.messages))

The adapter is the real one; it sends to a loopback server that takes everything.
"""

from typing import Any, Literal, TypeAlias

from palaver.domain.errors import ProviderError
from palaver.providers import catalogue
from palaver.providers.base import Model, ModelRequest
from palaver.settings import Clocks

Wire: TypeAlias = Literal["anthropic", "openai-chat", "openai-responses"]
WIRES: tuple[Wire, ...] = ("anthropic", "openai-chat", "openai-responses")
_MODELS = {
    "anthropic": "claude-haiku-4-5",
    "openai-chat": "gpt-4o-mini",
    "openai-responses": "gpt-5-mini",
}


async def sent(wire: Wire, request: ModelRequest, *, model: str = "") -> dict[str, Any]:
    """The JSON body that goes out for `request` over `wire`.

    `model` is the provider's name of one; its capabilities decide what is sent. Raises
    ProviderError when the adapter refuses the request before it sends anything.
    """
    from palaver.testing.provider_server import ProviderServer

    async with ProviderServer(strict=False) as server:
        server.script(["snapshot"])
        made = _adapter(wire, server.url, server.openai_url, model or _MODELS[wire])
        try:
            stream = made.stream(request)
            try:
                async for _ in stream:
                    pass
            except ProviderError:
                if not len(server.journal):
                    raise
            finally:
                await stream.aclose()
        finally:
            await made.aclose()
        return server.journal[0].body


def _adapter(wire: Wire, root: str, openai_root: str, model: str) -> Model:
    if wire == "anthropic":
        from palaver.providers.anthropic import AnthropicManager

        info = catalogue.info(f"anthropic:{model}")
        return AnthropicManager(
            model=model, api_key="test", base_url=root, info=info, clocks=Clocks()
        )
    from palaver.providers.openai import OpenAIManager

    return OpenAIManager(
        model=model,
        api_key="test",
        base_url=openai_root,
        info=catalogue.info(f"openai:{model}"),
        clocks=Clocks(),
        api="chat" if wire == "openai-chat" else "responses",
    )

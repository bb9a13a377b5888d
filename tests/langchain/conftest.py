"""Chat models of LangChain against a strict provider on the loopback."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import SecretStr

from palaver import Model
from palaver.providers.base import ModelInfo
from palaver.settings import Clocks
from palaver.testing.provider_server import ProviderServer

pytest.importorskip("langchain_core")

WIRES = ("langchain-messages", "langchain-chat", "langchain-responses")


def chat_model(wire: str, server: ProviderServer) -> Any:
    """LangChain's own adapter for the wire, as a user would make it."""
    if wire == "langchain-messages":
        from langchain_anthropic import ChatAnthropic

        return ChatAnthropic(
            model_name="claude-haiku-4-5",
            api_key=SecretStr("k"),
            base_url=server.url,
            stop=None,
            timeout=None,
        )
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(
        model="gpt-5-mini",
        api_key=SecretStr("k"),
        base_url=server.openai_url,
        use_responses_api=wire == "langchain-responses",
    )


def model_of(wire: str, server: ProviderServer, clocks: Clocks | None = None) -> Model:
    """The same as a Model of ours."""
    from palaver.providers.langchain.model import LangChainModel

    made = chat_model(wire, server)
    name = "langchain:anthropic:claude-haiku-4-5" if "messages" in wire else "langchain:openai:x"
    info = ModelInfo(name, 200_000, 8_192, reasoning=True)
    return LangChainModel(made, info=info, clocks=clocks or Clocks())


@pytest.fixture
async def server() -> AsyncIterator[ProviderServer]:
    async with ProviderServer(piece=6) as server:
        yield server

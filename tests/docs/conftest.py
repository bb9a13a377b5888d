"""Where examples run: a folder of their own, and providers that are on this machine."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from palaver.testing import Call, ProviderServer, Say
from palaver.testing.provider_server import Received
from palaver.testing.script import Line


def about_the_weather(received: Received) -> list[Line]:
    """Asks for both cities first, then tells what the tool said."""
    if received.results:
        return [Say(f"Here it is: {'; '.join(received.results)}.")]
    if "weather" not in received.tools:
        return [Say("I have no tool for that.")]
    return [Call("weather", {"city": "Oslo"}), Call("weather", {"city": "Rome"})]


def in_a_shape(received: Received) -> list[Line]:
    """A valid answer to the documentation's questions for structured output."""
    return [Say('{"city": "Oslo", "celsius": 11, "rain": true}')]


@pytest.fixture(scope="session")
def providers() -> Iterator[ProviderServer]:
    """A provider server in a thread of its own, which knows the documentation's questions."""
    server = ProviderServer()
    server.when("weather in oslo and rome", about_the_weather)
    server.when("as data", in_a_shape)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result()
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(server.__aexit__(None, None, None), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, providers: ProviderServer
) -> ProviderServer:
    """The machine of somebody who follows the documentation; offline unless a model is named."""
    monkeypatch.chdir(tmp_path)
    for name in ("PALAVER_CONFIG", "PALAVER_FOLDERS", "PALAVER_LOG", "PALAVER_LOG_LEVEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PALAVER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PALAVER_MODEL", "offline")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "any-key-will-do")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", providers.url)
    monkeypatch.setenv("OPENAI_API_KEY", "any-key-will-do")
    monkeypatch.setenv("OPENAI_BASE_URL", providers.openai_url)
    return providers

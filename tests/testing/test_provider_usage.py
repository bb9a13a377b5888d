"""How the provider server counts tokens and what its prompt cache holds."""

from typing import Any

import aiohttp

from palaver.domain.values import Usage
from palaver.testing import ProviderServer, Report
from palaver.testing.provider_server.usage import PromptCache, tokens

MARK = {"cache_control": {"type": "ephemeral"}}
Json = dict[str, Any]


def text(words: str, **more: Any) -> Json:
    return {"type": "text", "text": words} | more


def body(*contents: list[Json]) -> Json:
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": c} for i, c in enumerate(contents)]
    return {"model": "claude-x", "messages": messages}


def test_four_characters_are_a_token_and_pictures_have_a_price() -> None:
    """Text counts by length, a picture or file by the piece however it is sent."""
    assert tokens("x" * 400) == 100
    picture = {"type": "image", "source": {"type": "base64", "data": "A" * 100_000}}
    assert 1500 < tokens(picture) < 1510
    url = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}}
    assert 1500 < tokens(url) < 1510


def test_a_moving_breakpoint_reads_what_the_last_one_wrote() -> None:
    """The usual pattern: each turn marks its end, and reads up to the end of the turn before."""
    cache, long = PromptCache(), "x" * 8000
    first = cache.anthropic(body([text(long, **MARK)]))
    second = cache.anthropic(body([text(long)], [text("ok")], [text("more", **MARK)]))
    assert (first.cache_read, first.input) == (0, 0)
    assert second.cache_read == first.cache_creation
    assert 0 < second.cache_creation < 20
    assert second.prompt == second.cache_read + second.cache_creation


def test_what_changed_is_not_read() -> None:
    """Another prefix, another model or a short prefix read nothing."""
    cache = PromptCache()
    cache.anthropic(body([text("x" * 8000, **MARK)]))
    assert cache.anthropic(body([text("y" + "x" * 7999, **MARK)])).cache_read == 0
    assert cache.anthropic(body([text("x" * 8000, **MARK)]) | {"model": "claude-y"}).cache_read == 0
    assert cache.anthropic(body([text("short", **MARK)])).cache_creation == 0
    assert cache.anthropic(body([text("x" * 8000)])).cache_read == 0


def test_openai_caches_by_itself_in_steps() -> None:
    """The longest known prefix is read, rounded down to 128 tokens; nothing is charged to write."""
    cache = PromptCache()
    assert cache.openai("gpt", ["x" * 8000]).cache_read == 0
    usage = cache.openai("gpt", ["x" * 8000, "more"])
    assert (usage.cache_read, usage.cache_creation) == (2000 // 128 * 128, 0)
    assert usage.prompt == 2001


async def test_scripted_usage_and_count_tokens() -> None:
    """Usage can be scripted as a whole; Anthropic's counting endpoint counts."""
    usage = Usage(input=1, output=2, cache_read=3, cache_creation=4, reasoning=1)
    headers = {"x-api-key": "k", "anthropic-version": "2023-06-01"}
    request = body([text("x" * 400)]) | {"max_tokens": 9}
    async with (
        ProviderServer([["ok", Report(usage)]]) as server,
        aiohttp.ClientSession(headers=headers) as http,
    ):
        async with http.post(f"{server.url}/v1/messages", json=request) as response:
            seen = (await response.json())["usage"]
        async with http.post(f"{server.url}/v1/messages/count_tokens", json=request) as response:
            count = (await response.json())["input_tokens"]
    assert (seen["input_tokens"], seen["output_tokens"]) == (1, 2)
    assert (seen["cache_read_input_tokens"], seen["cache_creation_input_tokens"]) == (3, 4)
    assert 100 <= count < 110

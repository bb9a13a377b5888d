"""What the catalogue promises: known numbers are right, unknown ones are None."""

import subprocess
import sys
import time

import pytest

from palaver.domain.errors import ConfigurationError
from palaver.domain.values import Usage
from palaver.providers import catalogue


@pytest.mark.parametrize(
    "name,window,max_output,reasoning",
    [
        ("anthropic:claude-sonnet-4-5", 200_000, 64_000, True),
        ("anthropic:claude-sonnet-4-5-20250929", 200_000, 64_000, True),
        ("anthropic:claude-sonnet-4-20250514", 200_000, 64_000, True),
        ("anthropic:claude-opus-4-1-20250805", 200_000, 32_000, True),
        ("anthropic:claude-haiku-4-5", 200_000, 64_000, True),
        ("anthropic:claude-3-5-haiku-latest", 200_000, 8_192, False),
        ("openai:gpt-4o", 128_000, 16_384, False),
        ("openai:gpt-4o-mini-2024-07-18", 128_000, 16_384, False),
        ("openai:gpt-4.1", 1_000_000, 32_768, False),
        ("openai:gpt-5-mini", 400_000, 128_000, True),
        ("openai:gpt-5.1", 400_000, 128_000, True),
        ("openai:o3", 200_000, 100_000, True),
        ("openai:o4-mini", 200_000, 100_000, True),
        ("openai:gpt-3.5-turbo", 16_385, 4_096, False),
    ],
)
def test_known_models(name: str, window: int, max_output: int, reasoning: bool) -> None:
    """Window, output limit and reasoning of common models are the providers'."""
    info = catalogue.info(name)
    assert (info.name, info.window, info.max_output) == (name, window, max_output)
    assert info.reasoning is reasoning
    assert info.tools


def test_prices_of_a_model() -> None:
    """Prices are dollars per million tokens."""
    info = catalogue.info("anthropic:claude-sonnet-4-5")
    assert (info.input_usd, info.output_usd) == (3.0, 15.0)


@pytest.mark.parametrize("name", ["openai:no-such-model", "nowhere:model", "anthropic:x"])
def test_unknown_is_none(name: str) -> None:
    """Of an unknown model nothing is guessed, and it is no error."""
    info = catalogue.info(name)
    assert (info.window, info.max_output, info.input_usd, info.output_usd) == (None,) * 4
    assert catalogue.price(name, Usage(input=1)) is None
    assert not catalogue.is_known(name)


def test_a_name_needs_a_provider() -> None:
    """A bare model name is refused with the full one."""
    with pytest.raises(ConfigurationError) as caught:
        catalogue.info("claude-sonnet-4-5")
    assert "anthropic:claude-sonnet-4-5" in caught.value.hint
    for name in ("", ":", "openai:", ":gpt-4o"):
        with pytest.raises(ConfigurationError):
            catalogue.info(name)


def test_price_counts_the_cache() -> None:
    """Cache reads and writes have their own prices; categories do not overlap."""
    usage = Usage(input=1000, output=1000, cache_read=10_000, cache_creation=1000)
    expected = (1000 * 3 + 1000 * 15 + 10_000 * 0.3 + 1000 * 3.75) / 1e6
    cost = catalogue.price("anthropic:claude-sonnet-4-5", usage)
    assert cost == pytest.approx(expected)
    assert catalogue.price("openai:gpt-4o", Usage()) == 0.0


def test_offline_is_free() -> None:
    """The offline responder costs nothing and is known."""
    assert catalogue.price("offline", Usage(input=5, estimated=True)) == 0.0
    assert catalogue.known("offline") == (catalogue.info("offline"),)
    assert not catalogue.info("offline").structured_output


def test_known_lists_chat_models() -> None:
    """A provider's list holds its chat models only, each with a window."""
    names = [info.name for info in catalogue.known("openai")]
    assert "openai:gpt-4o" in names
    assert names == sorted(names)
    assert not [n for n in names if "whisper" in n or "embed" in n or "audio" in n or "tts" in n]
    assert all(info.window for info in catalogue.known("anthropic"))
    assert catalogue.known("nowhere") == ()


def test_other_providers() -> None:
    """Providers that LangChain serves are looked up under their names there."""
    assert catalogue.info("groq:llama-3.1-8b-instant").input_usd is not None
    assert catalogue.info("google_genai:gemini-2.5-flash").input_usd is not None


@pytest.mark.parametrize(
    "typo,meant",
    [
        ("anthropic:claude-sonet-4-5", "anthropic:claude-sonnet-4-5"),
        ("openia:gpt-4o", "openai:gpt-4o"),
        ("gpt-4.1-mni", "openai:gpt-4.1-mini"),
        ("ofline", "offline"),
    ],
)
def test_typos(typo: str, meant: str) -> None:
    """A mistyped name finds the right one."""
    assert meant in catalogue.suggest(typo)


def test_the_table_is_imported_late() -> None:
    """Importing the catalogue and asking about `offline` does not import the price table."""
    code = (
        "import sys; from palaver.providers import catalogue as c; c.info('offline');"
        "sys.exit('genai_prices' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "name",
    [
        "anthropic:claude-haiku-4-5",
        "anthropic:claude-sonnet-4-5",
        "openai:gpt-4o",
        "google:gemini-2.5-pro",
    ],
)
@pytest.mark.parametrize("scale", [1, 1_000, 400_000])
def test_remembered_rates_are_the_table_s_prices(name: str, scale: int) -> None:
    """Rates per token are only used where they give the same price as the table, tiers included."""
    usage = Usage(input=3 * scale, output=2 * scale, cache_read=scale, cache_creation=0)
    assert catalogue.price(name, usage) == pytest.approx(catalogue._listed_price(name, usage))


@pytest.mark.parametrize("prompt", [200_000, 200_001])
def test_a_long_context_costs_more_from_the_first_token_above(prompt: int) -> None:
    """On both sides of a tier's edge the remembered rates are the table's, and they are used."""
    name, usage = "anthropic:claude-sonnet-4-5", Usage(input=prompt, output=1000)
    assert catalogue.price(name, usage) == pytest.approx(catalogue._listed_price(name, usage))
    hour = int(time.time() // 3600)
    assert catalogue._rates(name, hour, prompt > 200_000) is not None

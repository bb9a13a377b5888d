"""What is known about models: windows, limits, capabilities, prices.

Windows and prices come from genai-prices' offline table, which follows the providers' price pages;
what it does not hold (limits of output, capabilities) is in `model_facts`. Nothing is guessed: an
unknown number is None. The table takes 250 ms to import, so it is read at the first question.
"""

import time
from difflib import get_close_matches
from functools import cache, lru_cache
from typing import Any

import msgspec

from palaver.domain.errors import ConfigurationError
from palaver.domain.values import Usage
from palaver.providers.base import ModelInfo
from palaver.providers.model_facts import ModelFacts, facts, is_chat

OFFLINE = ModelInfo(
    "offline",
    input_usd=0.0,
    output_usd=0.0,
    images=False,
    files=False,
    structured_output=False,
)
_ALIASES = {
    "google_genai": "google",
    "google_vertexai": "google",
    "gemini": "google",
    "xai": "x-ai",
    "mistralai": "mistral",
    "bedrock": "aws",
    "bedrock_converse": "aws",
    "azure_openai": "azure",
    "azure_ai": "azure",
}
"""LangChain's names for providers → the table's."""
_SAMPLE = 1_000
"""Tokens whose price is shown as the model's; below every long-context tier."""


@lru_cache(maxsize=1024)
def info(name: str) -> ModelInfo:
    """What is known about the model `provider:model` or `offline`.

    A model that nobody knows has only Nones, for new ones appear every week. Raises
    ConfigurationError when `name` has no provider.
    """
    if name == OFFLINE.name:
        return OFFLINE
    provider, model = _split(name)
    return _described(name, _listed(provider, model), facts(provider, model))


def price(name: str, usage: Usage) -> float | None:
    """US dollars that `usage` of the model costs at today's list price; None where unknown.

    Reads from and writes to the provider's cache are priced as such, long-context tiers included.
    """
    if name == OFFLINE.name:
        return 0.0
    rates = _rates(name, int(time.time() // 3600))
    if rates is None:
        return _listed_price(name, usage)
    counts = (usage.input, usage.output, usage.cache_read, usage.cache_creation)
    return sum(rate * count for rate, count in zip(rates, counts, strict=True))


@lru_cache(maxsize=256)
def _rates(name: str, hour: int) -> tuple[float, ...] | None:
    """US dollars per token of input, output, cache read and cache creation in this hour.

    None where a price is unknown or depends on the amount (long-context tiers): then the table is
    asked each time, which costs half a millisecond. Some providers are cheaper at night.
    """
    rates = []
    for category in ("input", "output", "cache_read", "cache_creation"):
        few = _listed_price(name, msgspec.convert({category: _SAMPLE}, Usage))
        many = _listed_price(name, msgspec.convert({category: _SAMPLE**2}, Usage))
        if few is None or many is None or abs(many - few * _SAMPLE) > 1e-9 * many:
            return None
        rates.append(few / _SAMPLE)
    return tuple(rates)


def _listed_price(name: str, usage: Usage) -> float | None:
    provider, model = _split(name)
    listed = _listed(provider, model)
    if listed is None:
        return None
    from genai_prices import Usage as Priced

    used = Priced(
        input_tokens=usage.prompt,
        output_tokens=usage.output,
        cache_read_tokens=usage.cache_read,
        cache_write_tokens=usage.cache_creation,
    )
    try:
        calculated = listed.calc_price(used, _provider(provider))
    except (ValueError, LookupError):
        return None
    return float(calculated.total_price)


@cache
def known(provider: str) -> tuple[ModelInfo, ...]:
    """The chat models of a provider that the table holds, by name; none for an unknown provider."""
    if provider == OFFLINE.name:
        return (OFFLINE,)
    listed = _provider(provider)
    if listed is None:
        return ()
    names = sorted(m.id for m in listed.models if m.context_window and is_chat(m.id))
    return tuple(info(f"{provider}:{name}") for name in names)


def is_known(name: str) -> bool:
    """Whether the table holds this model; one that it does not hold may well exist."""
    provider, _, model = name.partition(":")
    return name == OFFLINE.name or bool(model and _listed(provider, model))


def suggest(name: str, *, limit: int = 3) -> tuple[str, ...]:
    """Known models whose names are close to `name`, nearest first: for "did you mean"."""
    every = [OFFLINE.name]
    given, colon, model = name.lower().strip().partition(":")
    main: tuple[str, ...] = ("anthropic", "openai")
    if not colon:
        model = given
    elif close := get_close_matches(given, [*main, *_providers()], n=1):
        main = (close[0],)
    for provider in main:
        every += [m.name for m in known(provider)]
    by_model = {full.rpartition(":")[2]: full for full in reversed(every)}
    found = [by_model[m] for m in get_close_matches(model, by_model, n=limit, cutoff=0.6)]
    return tuple(found)


def _split(name: str) -> tuple[str, str]:
    provider, _, model = name.partition(":")
    if not provider or not model:
        close = suggest(name)
        raise ConfigurationError(
            f"{name!r} does not name a model",
            hint=f"Write {close[0]}." if close else "Write provider:model, or offline.",
        )
    return provider, model


def _described(name: str, listed: Any | None, fact: ModelFacts) -> ModelInfo:
    described = ModelInfo(
        name,
        window=fact.window or (listed.context_window if listed is not None else None),
        max_output=fact.max_output,
        tools=fact.tools,
        images=fact.images,
        files=fact.files,
        reasoning=fact.reasoning,
        structured_output=fact.structured_output,
        prefill=fact.prefill,
    )
    if listed is None:
        return described
    return msgspec.structs.replace(
        described,
        input_usd=_per_million(price(name, Usage(input=_SAMPLE))),
        output_usd=_per_million(price(name, Usage(output=_SAMPLE))),
    )


def _per_million(cost: float | None) -> float | None:
    return None if cost is None else round(cost * 1_000_000 / _SAMPLE, 6)


def _snapshot() -> Any:
    from genai_prices.data_snapshot import get_snapshot

    return get_snapshot()


@cache
def _providers() -> dict[str, Any]:
    return {p.id: p for p in _snapshot().providers}


def _provider(provider: str) -> Any | None:
    return _providers().get(_ALIASES.get(provider, provider))


@lru_cache(maxsize=1024)
def _listed(provider: str, model: str) -> Any | None:
    listed = _provider(provider)
    if listed is None:
        return None
    return listed.find_model(model.lower(), all_providers=list(_providers().values()))

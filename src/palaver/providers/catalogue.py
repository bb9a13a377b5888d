"""What is known about models: windows, limits, capabilities, prices.

Windows and prices come from genai-prices' offline table, which follows the providers' price pages;
what it does not hold (limits of output, capabilities) is in `model_facts`. Nothing is guessed: an
unknown number is None. The table takes 250 ms to import, so it is read at the first question.
"""

import time
from bisect import bisect_left
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import cache, lru_cache
from typing import Any

import msgspec

from palaver.domain.errors import ConfigurationError
from palaver.domain.values import Usage
from palaver.providers.base import ModelInfo
from palaver.providers.cached import CACHE
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
    if name in (OFFLINE.name, CACHE):
        return 0.0
    hour = int(time.time() // 3600)
    rates = _rates(name, hour, bisect_left(_tiers(name, hour), usage.prompt))
    return _listed_price(name, usage) if rates is None else _at(rates, usage)


def _at(rates: tuple[float, ...], usage: Usage) -> float:
    counts = (usage.input, usage.output, usage.cache_read, usage.cache_creation)
    return sum(rate * count for rate, count in zip(rates, counts, strict=True))


@lru_cache(maxsize=256)
def _tiers(name: str, hour: int) -> tuple[int, ...]:
    """The prompts above which the model's prices are others (long-context tiers), in tokens."""
    listed = _listed(*_split(name))
    if listed is None:
        return ()
    now = datetime.fromtimestamp(hour * 3600, UTC)
    prices = vars(listed.get_prices(now)).values()
    return tuple(sorted({tier.start for p in prices for tier in getattr(p, "tiers", ())}))


@lru_cache(maxsize=1024)
def _rates(name: str, hour: int, tier: int) -> tuple[float, ...] | None:
    """US dollars per token of input, output, cache read and cache creation in this hour, for
    prompts above so many of the model's `_tiers`.

    None where a price is unknown or is not one by the token: then the table is asked each time,
    which costs half a millisecond. Some providers are cheaper at night.
    """
    floor = Usage(input=_tiers(name, hour)[tier - 1] + 1) if tier else Usage()
    mixed = Usage(_SAMPLE, _SAMPLE, _SAMPLE, _SAMPLE) + floor
    before, total = _listed_price(name, floor), _listed_price(name, mixed)
    if before is None or total is None:
        return None
    rates = []
    for category in ("input", "output", "cache_read", "cache_creation"):
        more = _listed_price(name, floor + msgspec.convert({category: _SAMPLE}, Usage))
        if more is None:
            return None
        rates.append((more - before) / _SAMPLE)
    is_linear = abs(_at(tuple(rates), mixed) - total) <= 1e-9 * total
    return tuple(rates) if is_linear else None


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

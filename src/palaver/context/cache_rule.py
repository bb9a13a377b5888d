"""Whether a smaller window is worth the provider's cache that it breaks.

A provider keeps the beginning of a request; as long as the next request begins alike, that part is
read at a tenth of the price. A compaction changes the beginning: what it leaves has to be written
to the cache anew, once; in return every later request is shorter. With the tokens

    kept     of the prefix that stay cached whatever happens
    before   of the window now
    after    of the window afterwards

the next request costs `(after - kept) · write` instead of `(before - kept) · read`, and each of the
`n` requests behind it saves `(before - after) · read`. It pays when the sum over the next `1 + n`
requests is positive. Where prices are unknown their usual relation stands in: reading costs a tenth
of the plain price, writing one and a quarter (Anthropic's price list; OpenAI writes at the plain
price and reads at a tenth to a half).

Money is one reason of two: a window that would overflow is made smaller at any price.
"""

import msgspec

READ, WRITE = 0.1, 1.25
"""Relations to the plain price of input."""


class CachePrices(msgspec.Struct, frozen=True):
    """US dollars per token."""

    input: float
    cache_read: float | None = None
    cache_write: float | None = None

    @property
    def read(self) -> float:
        """What a cached token costs."""
        return self.input * READ if self.cache_read is None else self.cache_read

    @property
    def write(self) -> float:
        """What a token costs that goes into the cache."""
        return self.input * WRITE if self.cache_write is None else self.cache_write


class CacheEffect(msgspec.Struct, frozen=True):
    """What a compaction does to the bill, apart from what it does to the window."""

    tokens_shed: int
    """Fewer in every later request."""
    tokens_rewritten: int
    """That the next request cannot read from the cache."""
    usd_once: float | None
    """What breaking the cache costs, the summary itself included; None without prices."""
    usd_per_request: float | None
    """What each later request saves."""
    breaks_even_after: float | None
    """Later requests until it has paid; None when it never does."""
    pays: bool
    """Whether it has paid after the expected number of requests."""

    def usd_saved(self, requests: int) -> float | None:
        """Over the next request and `requests` more; negative where it costs."""
        if self.usd_once is None or self.usd_per_request is None:
            return None
        return self.usd_per_request * requests - self.usd_once


def cache_effect(
    *,
    before: int,
    after: int,
    kept: int = 0,
    expected_requests: int,
    prices: CachePrices | None = None,
    usd_spent: float = 0.0,
) -> CacheEffect:
    """The effect of a window that shrinks from `before` to `after` tokens.

    `kept`: tokens at the beginning of both that are the same (system prompt, tools, messages before
    the first change). `usd_spent`: what writing the summary costs.
    """
    rates = prices or CachePrices(1.0)
    shed, rewritten = max(0, before - after), max(0, after - kept)
    once = rewritten * rates.write - max(0, before - kept) * rates.read
    once += usd_spent if prices is not None else 0.0
    saved = shed * rates.read
    even = max(0.0, once / saved) if saved > 0 else None
    return CacheEffect(
        tokens_shed=shed,
        tokens_rewritten=rewritten,
        usd_once=once if prices is not None else None,
        usd_per_request=saved if prices is not None else None,
        breaks_even_after=even,
        pays=even is not None and even <= expected_requests,
    )

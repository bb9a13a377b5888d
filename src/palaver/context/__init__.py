"""The context window: compaction, topics and tokens, with or without the rest of Palaver.

    from palaver.context import Window, compact, count, segment

    messages = compact(messages, budget_tokens=8_000)

These four need no conversation of Palaver's: they take dictionaries in OpenAI's form or LangChain's
messages, and give back what came in. They are offline, and imported when they are first used.
"""

from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

# The module goes first: from here on its name in this package is that of the function below.
import palaver.context.segment  # noqa: F401

if TYPE_CHECKING:
    from palaver.context.alone import compact as compact, count as count
    from palaver.context.rolling import Found as Found, Window as Window

__all__ = ["Found", "Window", "compact", "count", "segment"]
_PLACES = {
    "compact": "palaver.context.alone",
    "count": "palaver.context.alone",
    "Found": "palaver.context.rolling",
    "Window": "palaver.context.rolling",
}


def segment(utterances: Iterable[object]) -> list[int]:
    """The indices of the utterances that open a new topic, ascending; 0 is not listed.

    Takes texts, `(speaker, text)` pairs, dictionaries and messages, in any language; see
    `palaver.context.alone.segment`.
    """
    from palaver.context import alone

    return alone.segment(utterances)


def __getattr__(name: str) -> Any:
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module 'palaver.context' has no attribute {name!r}")
    value = getattr(import_module(place), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

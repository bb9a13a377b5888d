"""`reasoning_details`: the list in which routers carry other providers' thinking.

Deltas of one detail share `index` and `type`; their texts are joined, and the joined list goes back
as it is, with its signatures and encrypted data.
Source: https://openrouter.ai/docs/use-cases/reasoning-tokens (preserving reasoning blocks).
"""

from typing import Any

from palaver.domain.text import clean

_GROWS = ("text", "summary", "data")


class ReasoningDetails:
    """The details so far, joined as far as they belong together."""

    def __init__(self) -> None:
        self._joined: dict[tuple[Any, Any], dict[str, Any]] = {}

    def __bool__(self) -> bool:
        return bool(self._joined)

    def add(self, details: list[dict[str, Any]]) -> str:
        """Take the details of one delta. Returns the readable text that they add."""
        told = ""
        for detail in details:
            key = (str(detail.get("index")), str(detail.get("type")))
            known = self._joined.setdefault(key, {})
            for name, value in detail.items():
                if name in _GROWS and isinstance(value, str):
                    known.setdefault(name, []).append(value)
                    told += value if name != "data" else ""
                elif value is not None or name not in known:
                    known[name] = value
        return told

    def joined(self) -> list[dict[str, Any]]:
        """The list to send back."""
        return [
            {
                name: clean("".join(value))[0]
                if name in _GROWS and isinstance(value, list)
                else value
                for name, value in detail.items()
            }
            for detail in self._joined.values()
        ]

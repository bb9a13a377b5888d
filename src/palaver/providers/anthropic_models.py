"""What generations of Claude accept. Sending an older one's parameters to a newer one is a 400.

The name tells the generation (`claude-sonnet-4-5-20250929`, `claude-3-7-sonnet-latest`,
`anthropic/claude-opus-4.7`). A name without one (compatible servers) is treated like 4.5, the last
generation with the classic parameters.
Sources: https://docs.anthropic.com/en/docs/build-with-claude/thinking and the migration guides of
4.6, 4.7, 5 and 5.5 there.
"""

import re
from typing import Any, Literal

import msgspec

Level = Literal["low", "medium", "high"]

BINDING_BETA = "thinking-binding-controls-2026-08-01"
_NAME = re.compile(r"claude-(?:([a-z]+)-)?(\d+)(?:[-.](\d{1,2}))?(?!\d)")
_BUDGETS: dict[str, int] = {"low": 2048, "medium": 8192, "high": 24576}
_LEAST_BUDGET = 1024
# After a compaction or an undo, old thinking no longer fits its prefix: the provider shall leave it
# out instead of refusing the request.
_BINDING = {"block_binding": {"prefix_mismatch_behavior": "drop_block"}}


class Generation(msgspec.Struct, frozen=True):
    """A model's family (`opus`, `sonnet`, …, or empty) and version."""

    family: str
    version: tuple[int, int]

    @classmethod
    def of(cls, model: str) -> "Generation":
        """The generation that a model's name tells."""
        found = _NAME.search(model.lower())
        if found is None:
            return cls("", (4, 5))
        return cls(found[1] or "", (int(found[2]), int(found[3] or 0)))

    @property
    def samples(self) -> bool:
        """Whether temperature and top_p are accepted."""
        return self.version < (4, 7)

    @property
    def binds_thinking(self) -> bool:
        """Whether thinking is bound to all that came before it."""
        return self.version >= ((5, 1) if self._always_thinks else (5, 5))

    @property
    def can_be_forced(self) -> bool:
        """Whether a tool can be demanded."""
        return not self.binds_thinking

    @property
    def wants_thinking_first(self) -> bool:
        """Whether a round of tools must have begun with thinking for thinking to be allowed."""
        return self.version < (4, 6)

    @property
    def _always_thinks(self) -> bool:
        return self.family in ("fable", "mythos")

    def betas(self) -> tuple[str, ...]:
        """What must be in the `anthropic-beta` header."""
        return (BINDING_BETA,) if self.binds_thinking else ()

    def thinking(self, level: Level, *, limit: int) -> dict[str, Any] | None:
        """The `thinking` parameter; None where there is no thinking or `limit` leaves no room."""
        if self.version >= (4, 6):
            return self._adaptive()
        budget = min(_BUDGETS[level], limit - _LEAST_BUDGET)
        if self.version < (3, 7) or budget < _LEAST_BUDGET:
            return None
        return {"type": "enabled", "budget_tokens": budget}

    def default_thinking(self) -> dict[str, Any] | None:
        """The parameter when nobody asked for anything."""
        return self._adaptive() if self.binds_thinking else None

    def no_thinking(self) -> dict[str, Any] | None:
        """The parameter for as little thinking as possible; before 5 that is the default."""
        if self.version < (5, 0):
            return None
        if self._always_thinks or (self.family == "opus" and self.version >= (5, 5)):
            return self.default_thinking()
        if self.family == "sonnet" and self.version >= (5, 5):
            return {"type": "between_tools"}
        return {"type": "disabled"}

    def effort(self, level: str | None) -> str | None:
        """`output_config.effort`; where thinking cannot be turned off, `off` is the least."""
        if self.version < (4, 6) or level is None:
            return None
        if level == "off":
            return "low" if self.binds_thinking or self._always_thinks else None
        return level

    def _adaptive(self) -> dict[str, Any]:
        # The text of thinking is left out by default since 4.7.
        shown = {"display": "summarized"} if self.version >= (4, 7) else {}
        return {"type": "adaptive", **shown, **(_BINDING if self.binds_thinking else {})}

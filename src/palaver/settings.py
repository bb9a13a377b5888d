"""Every setting, frozen and grouped by concern. Nothing here reads a file or the environment."""

from typing import Literal

import msgspec


class Clocks(msgspec.Struct, frozen=True):
    """How long a provider may take, in seconds."""

    connect_s: float = 5.0
    first_token_s: float = 120.0
    """From the request to the first content event; reasoning models think for long."""
    idle_s: float = 120.0
    """Between content events. Keep-alive pings do not count: a stalled provider sends them too."""
    turn_s: float = 600.0
    """One run of a turn, tools and waiting included. The clock starts anew behind a suspension, so
    a turn that asks a person twice may run three times as long; its steps are counted through."""


class TurnLimits(msgspec.Struct, frozen=True):
    """Bounds of one turn."""

    steps: int = 50
    """Model calls; a model that loops over its tools ends here."""
    parallel_tools: int = 8
    """Tools at the same time."""


class RetrySettings(msgspec.Struct, frozen=True):
    """Attempts before the first token, per class of failure."""

    network_attempts: int = 5
    network_base_s: float = 1.0
    network_cap_s: float = 30.0
    rate_limit_attempts: int = 3
    rate_limit_base_s: float = 10.0
    rate_limit_factor: float = 3.0
    rate_limit_cap_s: float = 300.0


class StreamSettings(msgspec.Struct, frozen=True):
    """Run logs and their readers."""

    flush_s: float = 0.05
    """How long deltas may wait before they are written; facts never wait."""
    keep_turns: int = 2
    """Run logs kept per conversation after their turns ended; older ones are pruned."""
    keep_sessions_s: float = 60.0
    """How long an ended turn stays in memory for late readers."""
    owner_check_s: float = 1.0
    """How often a running turn looks whether another process has ended it. One that streams finds
    out with the next deltas that it writes."""


class ToolSettings(msgspec.Struct, frozen=True):
    """Defaults of tools."""

    timeout_s: float = 60.0
    output_chars: int = 30_000
    """What the model gets of one result; the rest is kept as a blob."""


class Settings(msgspec.Struct, frozen=True):
    """All of them."""

    clocks: Clocks = Clocks()
    turn: TurnLimits = TurnLimits()
    retry: RetrySettings = RetrySettings()
    stream: StreamSettings = StreamSettings()
    tools: ToolSettings = ToolSettings()
    titles: Literal["extractive", "model", "off"] = "extractive"
    """Who names a conversation after its first answer, when nobody has: its first sentence, the
    conversation's model (one small request), or nobody."""
    snapshot_every: int = 200
    """Facts between snapshots: opening folds at most this many."""
    message_bytes: int = 10 * 1024 * 1024
    """The largest message accepted."""

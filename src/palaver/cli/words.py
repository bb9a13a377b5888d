"""What happens in a turn, said in a line: the same words on a terminal and in plain text."""

import msgspec

from palaver.cli.safe import escaped, one_line, safe
from palaver.domain.degradation import DegradationLevel, Feature
from palaver.domain.messages import StopReason, ToolResult
from palaver.domain.stream import (
    CompactionSkipped,
    ContextCompacted,
    HistoryAdapted,
    ModelSwitched,
    RetryScheduled,
    ServiceDegraded,
    ServiceRestored,
    Terminal,
    TurnCancelled,
    TurnCompleted,
    TurnFailed,
    TurnInterrupted,
)
from palaver.domain.values import ErrorInfo, Usage

CUTS = {
    StopReason.MAX_TOKENS: "the answer was cut: it reached the limit of output tokens",
    StopReason.REFUSAL: "the model declined to answer",
    StopReason.CONTENT_FILTER: "the answer was cut: the provider's filter stopped it",
    StopReason.PAUSE: "the answer was cut: the provider paused it",
    StopReason.CONTEXT_FULL: "the answer was cut: the context window is full",
    StopReason.ABORTED: "the answer was cut",
    StopReason.OTHER: "the answer was cut: the model stopped for a reason that it did not name",
}


def retrying(event: RetryScheduled) -> str:
    """Why the next attempt waits."""
    why = one_line(event.error.message, 200)
    if event.continues and event.error.code == "stream_truncated":
        return f"the answer broke off ({why}); it goes on in {seconds(event.wait_s)}"
    if event.continues:  # what goes on with it failed as well
        return f"asking for the rest again in {seconds(event.wait_s)}: {why}"
    return f"retrying in {seconds(event.wait_s)}: {why}"


def switched(event: ModelSwitched) -> str:
    """Who answers now, and why."""
    to, before = one_line(event.model, 100), one_line(event.previous, 100)
    return f"{to} answers instead of {before}: {one_line(event.error.message, 200)}"


def service(event: ServiceDegraded | ServiceRestored) -> str:
    """What there is from now on; empty where another line has said it."""
    if isinstance(event, ServiceDegraded):
        return _degraded(event)
    match event.previous:
        case DegradationLevel.SMALLER_WINDOW:
            return ""
        case DegradationLevel.READ_ONLY:
            return "all is well again"
        case _:
            return "the chosen model answers again"


def _degraded(event: ServiceDegraded) -> str:
    why = one_line(event.error.message, 200)
    after = event.retry_after_s
    again = f"in {seconds(after)}" if after >= 1 else "with your next message"
    match event.level:
        case DegradationLevel.CACHED_ANSWERS:
            now = "this is an earlier answer to the same request"
        case DegradationLevel.BASIC_CHAT:
            now = "the offline responder answers"
        case DegradationLevel.READ_ONLY if Feature.MESSAGES in event.unavailable:
            return f"nothing can be stored: {why}; what is there can be read"
        case DegradationLevel.READ_ONLY:
            now = "/offline says what works"
        case _:
            return ""
    return f"no model can be reached; {now}; the model is tried again {again}"


def adapted(event: HistoryAdapted) -> str:
    """What the new model is not sent."""
    parts = []
    if event.reasoning:
        parts.append(f"{event.reasoning} blocks of another provider's reasoning")
    if event.foreign:
        parts.append(f"{event.foreign} blocks that only another provider knows")
    return f"{one_line(event.model, 100)} is not sent {' and '.join(parts)}"


def window(event: ContextCompacted | CompactionSkipped) -> str:
    """What became of the window."""
    match event:
        case ContextCompacted(tokens_before=before, tokens_after=after):
            return f"the window is smaller: {tokens(before)} to {tokens(after)} tokens"
        case CompactionSkipped(reason=reason, has_stopped=has_stopped):
            again = "; it is not tried again, /compact does" if has_stopped else ""
            return f"the window stays as it is: {one_line(reason, 150)}{again}"


def ending(event: Terminal, *, partial: bool) -> str:
    """What a person must know about the end of a turn; nothing when all is well.

    `partial`: some of an answer is there.
    """
    match event:
        case TurnCompleted(stop=stop):
            return "" if stop.is_good else CUTS[stop]
        case TurnFailed(error=error):
            is_kept = partial and not error.code.startswith("storage_")
            kept = "\n  What had come of the answer is kept." if is_kept else ""
            return failure(error) + kept
        case TurnCancelled():
            return "cancelled; the partial answer is kept" if partial else "cancelled"
        case TurnInterrupted():
            return "interrupted: the program that ran this turn stopped"


def failure(error: ErrorInfo) -> str:
    """An error with what to do about it and the provider's reference."""
    after = f", after {error.attempts} attempts" if error.attempts > 1 else ""
    request = f" [request {error.request_id}]" if error.request_id else ""
    hint = f"\n  {error.hint}" if error.hint else ""
    return safe(f"failed{after}: {error.message}{request}{hint}")


def seconds(value: float) -> str:
    """A duration as people say it."""
    if value < 9.95:
        return f"{value:.1f}".removesuffix(".0") + " s"
    if value < 90:
        return f"{value:.0f} s"
    return f"{int(value) // 60} min {int(value) % 60} s"


def tokens(count: int) -> str:
    """A number of tokens, short."""
    if count < 1000:
        return str(count)
    if count < 999_500:
        return f"{count / 1000:.1f}k" if count < 9950 else f"{count / 1000:.0f}k"
    return f"{count / 1e6:.1f}".removesuffix(".0") + "M"


def dollars(cost: float | None) -> str:
    """US dollars; `?` where the price is not known."""
    if cost is None:
        return "$?"
    return f"${cost:.4f}" if 0 < cost < 1 else f"${cost:.2f}"


def used(usage: Usage) -> str:
    """Tokens of a turn or conversation."""
    cached = f" ({tokens(usage.cache_read)} cached)" if usage.cache_read else ""
    about = "about " if usage.estimated else ""
    return f"{about}{tokens(usage.prompt)} tokens in{cached}, {tokens(usage.output)} out"


def arguments_line(arguments: str, width: int) -> str:
    """A call's arguments in at most `width` columns: `name=value, …`; one alone is shown bare."""
    return one_line(", ".join(_pairs(arguments)), width)


def arguments_lines(arguments: str) -> list[str]:
    """A call's arguments whole, nothing invisible in them: what a person decides on."""
    value = _object(arguments)
    if value is None:
        return [escaped(arguments)]
    return [f"{escaped(name)}: {_exact(each)}" for name, each in value.items()]


def _pairs(arguments: str) -> list[str]:
    value = _object(arguments)
    if value is None:
        return [arguments]
    if len(value) == 1:
        return [_short(next(iter(value.values())))]
    return [f"{name}={_short(each)}" for name, each in value.items()]


def _object(arguments: str) -> dict[str, object] | None:
    try:
        return msgspec.json.decode(arguments or "{}", type=dict[str, object])
    except (msgspec.DecodeError, RecursionError):
        return None


def _short(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _exact(value: object) -> str:
    return escaped(value if isinstance(value, str) else msgspec.json.encode(value).decode())


def result_lines(result: ToolResult, *, width: int, lines: int) -> list[str]:
    """The beginning of a result in at most `lines` lines of `width` columns."""
    text = result.text.strip()
    pictures = len(result.content) - sum(1 for b in result.content if hasattr(b, "text"))
    shown = [line for line in text.split("\n") if line.strip()]
    head = [one_line(line, width) for line in shown[:lines]]
    if len(shown) > lines:
        left = len(shown) - lines
        head[-1] = one_line(f"{head[-1]} … {left} more line{'s' if left > 1 else ''}", width)
    if pictures:
        head.append(f"[{pictures} attached]")
    return head or ["(nothing)"]

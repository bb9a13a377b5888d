"""Stop reasons and usage as LangChain's providers report them, in our terms."""

from collections.abc import Mapping
from typing import Any

from palaver.domain.errors import Overloaded, ProviderError, ServerFailure
from palaver.domain.messages import StopReason
from palaver.domain.values import Usage
from palaver.providers.langchain.recognise import Wire

_REASONS: dict[str, StopReason] = {
    "end_turn": StopReason.END_TURN,
    "stop": StopReason.END_TURN,
    "eos": StopReason.END_TURN,
    "completed": StopReason.END_TURN,
    "complete": StopReason.END_TURN,
    "tool_use": StopReason.TOOL_USE,
    "tool_calls": StopReason.TOOL_USE,
    "tool_call": StopReason.TOOL_USE,
    "function_call": StopReason.TOOL_USE,
    "stop_sequence": StopReason.STOP_SEQUENCE,
    "length": StopReason.MAX_TOKENS,
    "max_tokens": StopReason.MAX_TOKENS,
    "max_output_tokens": StopReason.MAX_TOKENS,
    "model_length": StopReason.CONTEXT_FULL,
    "model_context_window_exceeded": StopReason.CONTEXT_FULL,
    "refusal": StopReason.REFUSAL,
    "pause_turn": StopReason.PAUSE,
    "content_filter": StopReason.CONTENT_FILTER,
    "content_filtered": StopReason.CONTENT_FILTER,
    "guardrail_intervened": StopReason.CONTENT_FILTER,
    "safety": StopReason.CONTENT_FILTER,
    "recitation": StopReason.CONTENT_FILTER,
    "blocklist": StopReason.CONTENT_FILTER,
    "prohibited_content": StopReason.CONTENT_FILTER,
    "spii": StopReason.CONTENT_FILTER,
}
_FAILED: dict[str, type[ProviderError]] = {
    "failed": ServerFailure,
    "cancelled": ServerFailure,
    "error": ServerFailure,
    "network_error": ServerFailure,
    "abort": ServerFailure,
    "insufficient_system_resource": Overloaded,
}
_KEYS = ("stop_reason", "finish_reason", "stopReason", "done_reason")
_TIERS = ("", "priority_", "flex_")
_WRITTEN = ("cache_creation", "ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")


def reason_in(metadata: Mapping[str, Any], wire: Wire) -> str:
    """The provider's word for why the answer ended; empty while none has come."""
    if wire is Wire.RESPONSES:
        details = metadata.get("incomplete_details")
        if isinstance(details, Mapping) and details.get("reason"):
            return str(details["reason"])
        return _word(metadata.get("status"))
    return next((word for key in _KEYS if (word := _word(metadata.get(key)))), "")


def stop_of(reason: str, wire: Wire, *, calls: bool, refused: bool) -> StopReason:
    """The word in our terms. Raises ProviderError where it says that the provider broke off."""
    word = reason.lower().rpartition(".")[2]
    if word in _FAILED:
        raise _FAILED[word](f"the provider broke off: {reason}", in_stream=True)
    stop = _REASONS.get(word, StopReason.OTHER if word else StopReason.END_TURN)
    if wire is Wire.ANTHROPIC or stop not in (StopReason.END_TURN, StopReason.TOOL_USE):
        return stop
    if calls:
        return StopReason.TOOL_USE
    return StopReason.REFUSAL if refused else StopReason.END_TURN


def usage_of(counts: Mapping[str, Any]) -> Usage:
    """LangChain's `usage_metadata` in our categories, which do not overlap.

    `input_tokens` there includes what the cache gave and took; service tiers have keys of their
    own; some providers count reasoning only into the total.
    """
    read, written = _part(counts, "input_token_details"), _part(counts, "output_token_details")
    prompt, output = _number(counts.get("input_tokens")), _number(counts.get("output_tokens"))
    beside = max(_number(counts.get("total_tokens")) - prompt - output, 0)
    cached = sum(_number(read.get(f"{tier}cache_read")) for tier in _TIERS)
    created = sum(_number(read.get(key)) for key in _WRITTEN)
    created += sum(_number(read.get(f"{tier}cache_creation")) for tier in _TIERS[1:])
    reasoning = sum(_number(written.get(f"{tier}reasoning")) for tier in _TIERS)
    return Usage(
        input=max(prompt - cached - created, 0),
        output=output + beside,
        cache_read=cached,
        cache_creation=created,
        reasoning=reasoning or beside,
    )


def _part(counts: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = counts.get(name)
    return found if isinstance(found, Mapping) else {}


def _number(value: Any) -> int:
    return int(value) if isinstance(value, int | float) else 0


def _word(value: Any) -> str:
    # Google's SDK gives an enumeration; its name is the word.
    named = getattr(value, "name", value)
    return named if isinstance(named, str) else ""

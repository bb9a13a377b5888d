"""The answers of chat completions, as far as they are needed: OpenAI's and compatible servers'.

Fields that are absent here are not decoded, which is most of the cost of a delta. Types are as wide
as what real servers send; `test_openai_chat_recordings` says where each width was seen.
"""

from typing import Any, TypeAlias

import msgspec

from palaver.domain.values import Usage

Number: TypeAlias = int | float | None


class Part(msgspec.Struct, gc=False):
    """A part of a content list (Mistral). Thinking holds text, or a list of text parts."""

    type: str = ""
    text: str | None = None
    thinking: "str | list[Part] | None" = None


class Function(msgspec.Struct, gc=False):
    """Name and arguments; some servers give arguments as an object."""

    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class Custom(msgspec.Struct, gc=False):
    """A custom tool's free text."""

    name: str | None = None
    input: str | None = None


class ToolDelta(msgspec.Struct, gc=False):
    """A piece of a call, or a whole one."""

    index: int | None = None
    id: str | int | None = None
    function: Function | None = None
    custom: Custom | None = None


class Delta(msgspec.Struct, gc=False):
    """What a chunk adds to a choice; also the message of an answer that was not streamed."""

    content: str | list[Part] | None = None
    reasoning_content: str | None = None
    reasoning: str | dict[str, Any] | None = None
    reasoning_details: list[dict[str, Any]] | None = None
    tool_calls: list[ToolDelta] | None = None
    refusal: str | None = None
    function_call: Function | None = None
    annotations: list[dict[str, Any]] | None = None


class Choice(msgspec.Struct, gc=False):
    """One of the alternatives; only number 0 becomes the message."""

    index: int | None = None
    delta: Delta | None = None
    message: Delta | None = None
    finish_reason: str | None = None


class Details(msgspec.Struct, gc=False):
    """Parts of the counts."""

    cached_tokens: Number = None
    cache_write_tokens: Number = None
    reasoning_tokens: Number = None


class Counts(msgspec.Struct, gc=False):
    """Token counts."""

    prompt_tokens: Number = None
    completion_tokens: Number = None
    total_tokens: Number = None
    prompt_tokens_details: Details | None = None
    completion_tokens_details: Details | None = None
    prompt_cache_hit_tokens: Number = None
    cache_creation_input_tokens: Number = None


class GroqExtra(msgspec.Struct, gc=False):
    """Where older Groq servers put the counts."""

    usage: Counts | None = None


class Chunk(msgspec.Struct, gc=False):
    """One event of the stream, or a whole answer."""

    id: str | None = None
    model: str | None = None
    object: str | None = None
    choices: list[Choice] | None = None
    usage: Counts | None = None
    x_groq: GroqExtra | None = None
    error: Any = None


def usage_of(counts: Counts) -> Usage:
    """The counts in our categories, which do not overlap.

    `prompt_tokens` includes what was read from or written to the cache. `completion_tokens`
    includes reasoning, but not with xAI and Gemini, where only the total tells of it.
    """
    read = counts.prompt_tokens_details or Details()
    written = counts.completion_tokens_details or Details()
    prompt, output = _int(counts.prompt_tokens), _int(counts.completion_tokens)
    beside = max(_int(counts.total_tokens) - prompt - output, 0)
    reasoning = _int(written.reasoning_tokens) or beside
    cached = _int(read.cached_tokens) or _int(counts.prompt_cache_hit_tokens)
    created = _int(read.cache_write_tokens) or _int(counts.cache_creation_input_tokens)
    # OpenRouter has counted the same tokens as read and as written.
    created = min(created, max(prompt - cached, 0))
    return Usage(
        input=max(prompt - cached - created, 0),
        output=output + beside,
        cache_read=cached,
        cache_creation=created,
        reasoning=reasoning,
    )


def _int(number: Number) -> int:
    return int(number or 0)

"""Responses as they look on the wire: requests as far as they are read, and answers whole.

Source: https://platform.openai.com/docs/api-reference/responses.
"""

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import msgspec

from palaver.domain.values import ClientTool, ErrorInfo, Usage
from palaver.server.v1.chat_shapes import check_metadata
from palaver.server.v1.errors import invalid
from palaver.server.v1.options import (
    AnswerFormat,
    Effort,
    OfferedFunction,
    Sampling,
    ToolChoice,
    choice,
)

MAX_ITEMS = 10_000


# What comes in.


class ResponseContent(msgspec.Struct, frozen=True):
    """A part of a message or of a result; which fields it has follows from its type."""

    type: Literal["input_text", "output_text", "text", "refusal", "input_image", "input_file"]
    text: str = ""
    refusal: str = ""
    image_url: str | None = None
    file_data: str | None = None
    filename: str | None = None


class ResponseInput(msgspec.Struct, frozen=True):
    """An item of the input; one without a type is a message."""

    type: Literal["message", "function_call", "function_call_output", "reasoning"] = "message"
    role: Literal["system", "developer", "user", "assistant"] | None = None
    content: str | list[ResponseContent] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | list[ResponseContent] | None = None


class ResponseFunction(OfferedFunction, frozen=True, kw_only=True):
    """A function of the client, flat as responses have it."""

    type: Literal["function"]


class ResponseReasoning(msgspec.Struct, frozen=True):
    """How much the model may think."""

    effort: Effort | None = None


class ResponseTextFormat(msgspec.Struct, frozen=True):
    """The shape of the answer."""

    format: AnswerFormat | None = None


class ResponseConversation(msgspec.Struct, frozen=True):
    """The conversation that it belongs to."""

    id: str


class ResponseRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asks for. Parameters that are not here are ignored; those that cannot be
    honoured and would be missed are refused."""

    input: str | list[ResponseInput] = ""
    model: str = ""
    instructions: str | None = None
    tools: list[ResponseFunction] | None = None
    tool_choice: ToolChoice | None = None
    previous_response_id: str | None = None
    conversation: str | ResponseConversation | None = None
    store: bool | None = None
    background: bool | None = None
    stream: bool | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    reasoning: ResponseReasoning | None = None
    text: ResponseTextFormat | None = None
    metadata: dict[str, str] | None = None
    truncation: Literal["auto", "disabled"] | None = None
    prompt: dict[str, Any] | None = None
    top_logprobs: int | None = None

    @property
    def is_kept(self) -> bool:
        """Whether the response is stored: yes, unless the client says no."""
        return self.store is not False

    @property
    def conversation_id(self) -> str:
        """The named conversation, or nothing."""
        if isinstance(self.conversation, ResponseConversation):
            return self.conversation.id
        return self.conversation or ""

    def check(self) -> None:
        """Raise InvalidInput for what this server cannot do, and for what contradicts itself."""
        if self.prompt is not None:
            raise invalid("prompt", "this server has no stored prompts", hint="Send `input`.")
        if self.top_logprobs:
            raise invalid("top_logprobs", "this server does not support logprobs")
        if self.previous_response_id and self.conversation_id:
            raise invalid("previous_response_id", "it cannot be given together with `conversation`")
        if not self.is_kept:
            if self.background:
                raise invalid("background", "a response in the background has to be stored")
            if self.conversation_id:
                raise invalid("store", "what belongs to a conversation is stored")
        check_metadata(self.metadata)

    @property
    def output(self) -> "AnswerFormat":
        """The shape of the answer."""
        return (self.text and self.text.format) or AnswerFormat()

    def client_tools(self) -> tuple[ClientTool, ...]:
        """The functions of the client."""
        return tuple(tool.tool() for tool in self.tools or ())

    def sampling(self) -> Sampling:
        """Its generation settings."""
        return Sampling(
            self.temperature,
            self.top_p,
            self.max_output_tokens,
            effort=None if self.reasoning is None else self.reasoning.effort,
            tool_choice=choice(self.tool_choice, self.client_tools()),
        )


# What goes out.


class OutputText(msgspec.Struct, frozen=True, tag="output_text", tag_field="type"):
    """Text of the model."""

    text: str
    annotations: tuple[()] = ()
    logprobs: tuple[()] = ()


class OutputMessage(msgspec.Struct, frozen=True, tag="message", tag_field="type"):
    """A message of the model."""

    id: str
    status: str
    content: tuple[OutputText, ...] = ()
    role: str = "assistant"


class OutputCall(msgspec.Struct, frozen=True, tag="function_call", tag_field="type"):
    """A call for the client to run."""

    id: str
    call_id: str
    name: str
    arguments: str
    status: str = "completed"


class SummaryText(msgspec.Struct, frozen=True):
    """Thinking, as far as its provider shows it."""

    text: str
    type: str = "summary_text"


class OutputReasoning(msgspec.Struct, frozen=True, tag="reasoning", tag_field="type"):
    """Thinking."""

    id: str
    status: str
    summary: tuple[SummaryText, ...] = ()


OutputItem: TypeAlias = OutputMessage | OutputCall | OutputReasoning


class InputDetails(msgspec.Struct, frozen=True):
    """Of the input: what the provider's cache read and wrote."""

    cached_tokens: int = 0
    cache_write_tokens: int = 0


class OutputDetails(msgspec.Struct, frozen=True):
    """Of the output: thinking."""

    reasoning_tokens: int = 0


class ResponseUsage(msgspec.Struct, frozen=True):
    """Tokens of all attempts that the response took."""

    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int

    @classmethod
    def of(cls, usage: Usage) -> "ResponseUsage":
        """The same in OpenAI's words."""
        return cls(
            usage.prompt,
            InputDetails(usage.cache_read, usage.cache_creation),
            usage.output,
            OutputDetails(usage.reasoning),
            usage.total,
        )


class ResponseFailure(msgspec.Struct, frozen=True):
    """Why a response failed, by the few codes that OpenAI has for it."""

    code: str
    message: str

    @classmethod
    def of(cls, info: ErrorInfo) -> "ResponseFailure":
        """The same in OpenAI's words."""
        code = _FAILURES.get(info.code, "server_error")
        return cls(code, f"{info.message}. {info.hint}" if info.hint else info.message)


_FAILURES: Mapping[str, str] = {
    "rate_limited": "rate_limit_exceeded",
    "quota_exhausted": "rate_limit_exceeded",
    "quota_exceeded": "rate_limit_exceeded",
    "bad_request": "invalid_prompt",
    "context_overflow": "invalid_prompt",
    "context_window_exceeded": "invalid_prompt",
    "content_blocked": "invalid_prompt",
}


class IncompleteReason(msgspec.Struct, frozen=True):
    """What cut it short."""

    reason: str


class ConversationRef(msgspec.Struct, frozen=True):
    """The conversation that holds it."""

    id: str


class AnsweredTool(msgspec.Struct, frozen=True):
    """A function of the client, as it was offered."""

    name: str
    parameters: dict[str, Any]
    description: str | None = None
    strict: bool = False
    type: str = "function"


class ResponseObject(msgspec.Struct, frozen=True, kw_only=True):
    """A response, whole or so far."""

    id: str
    created_at: int
    status: str
    model: str
    object: str = "response"
    background: bool = False
    error: ResponseFailure | None = None
    incomplete_details: IncompleteReason | None = None
    instructions: str | None = None
    max_output_tokens: int | None = None
    max_tool_calls: int | None = None
    output: tuple[OutputItem, ...] = ()
    parallel_tool_calls: bool = True
    previous_response_id: str | None = None
    conversation: ConversationRef | None = None
    reasoning: dict[str, str | None]
    service_tier: str = "default"
    store: bool = True
    temperature: float | None = None
    text: dict[str, Any]
    tool_choice: str | dict[str, str] = "auto"
    tools: tuple[AnsweredTool, ...] = ()
    top_logprobs: int = 0
    top_p: float | None = None
    truncation: str = "disabled"
    usage: ResponseUsage | None = None
    user: str | None = None
    metadata: dict[str, str] = {}


class DeletedObject(msgspec.Struct, frozen=True):
    """What was deleted."""

    id: str
    object: str
    deleted: bool = True

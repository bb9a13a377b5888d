"""Chat completions as they look on the wire: requests as far as they are read, answers whole.

The types are our own: those of the `openai` package cost more for each delta than everything else
that is done with it. The tests hold every answer against them.

Source: https://platform.openai.com/docs/api-reference/chat.
"""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import msgspec

from palaver.domain.messages import StopReason, ToolCall
from palaver.domain.values import ClientTool, Usage
from palaver.server.v1.errors import invalid
from palaver.server.v1.options import (
    AnswerFormat,
    Effort,
    OfferedFunction,
    Sampling,
    ToolChoice,
    choice,
)

FINGERPRINT = "palaver"
DONE = b"data: [DONE]\n\n"
MAX_PAIRS = 16
_encode = msgspec.json.Encoder().encode


# What comes in.


class ChatImageUrl(msgspec.Struct, frozen=True):
    """Where a picture is: only data URLs are taken."""

    url: str
    detail: str | None = None


class ChatFile(msgspec.Struct, frozen=True):
    """A document, as a data URL in `file_data`."""

    file_data: str | None = None
    filename: str | None = None
    file_id: str | None = None


class ChatText(msgspec.Struct, frozen=True, tag="text", tag_field="type"):
    """Text."""

    text: str


class ChatImage(msgspec.Struct, frozen=True, tag="image_url", tag_field="type"):
    """A picture."""

    image_url: ChatImageUrl


class ChatDocument(msgspec.Struct, frozen=True, tag="file", tag_field="type"):
    """A document."""

    file: ChatFile


class ChatRefusal(msgspec.Struct, frozen=True, tag="refusal", tag_field="type"):
    """What a model refused to do, said back."""

    refusal: str


Part: TypeAlias = ChatText | ChatImage | ChatDocument | ChatRefusal


class ChatCalled(msgspec.Struct, frozen=True):
    """Name and arguments (JSON text) of a call."""

    name: str
    arguments: str


class ChatCall(msgspec.Struct, frozen=True):
    """A call that the model made earlier."""

    id: str
    function: ChatCalled
    type: Literal["function"] = "function"


class ChatInput(msgspec.Struct, frozen=True):
    """A message of any role; which fields it has follows from its role."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[Part] | None = None
    tool_calls: list[ChatCall] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None


class ChatTool(msgspec.Struct, frozen=True):
    """A function of the client."""

    type: Literal["function"]
    function: OfferedFunction


class ChatStreamOptions(msgspec.Struct, frozen=True):
    """`include_usage`: the last chunk but one tells the usage of the whole."""

    include_usage: bool | None = None


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asks for. Parameters that are not here are ignored; those that cannot be
    honoured and would be missed are refused."""

    messages: list[ChatInput]
    model: str = ""
    stream: bool | None = None
    stream_options: ChatStreamOptions | None = None
    tools: list[ChatTool] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: AnswerFormat | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    reasoning_effort: Effort | None = None
    n: int | None = None
    store: bool | None = None
    metadata: dict[str, str] | None = None
    logprobs: bool | None = None
    modalities: list[str] | None = None
    audio: dict[str, Any] | None = None
    functions: list[Any] | None = None
    function_call: Any = None
    web_search_options: dict[str, Any] | None = None

    def check(self) -> None:
        """Raise InvalidInput for what this server cannot do."""
        if not self.messages:
            raise invalid("messages", "there are no messages")
        if self.n not in (None, 1):
            raise invalid("n", "one answer is given to a request: n must be 1")
        refused = {
            "logprobs": bool(self.logprobs),
            "modalities": self.modalities not in (None, [], ["text"]),
            "audio": self.audio is not None,
            "functions": bool(self.functions),
            "web_search_options": self.web_search_options is not None,
        }
        for name, is_asked in refused.items():
            if is_asked:
                hint = "Use `tools`." if name == "functions" else ""
                raise invalid(name, f"this server does not support {name}", hint=hint)
        check_metadata(self.metadata)

    def sampling(self, tools: tuple[ClientTool, ...]) -> Sampling:
        """Its generation settings."""
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        most = self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens
        return Sampling(
            self.temperature,
            self.top_p,
            most,
            stop,
            self.seed,
            self.reasoning_effort,
            choice(self.tool_choice, tools),
        )


def check_metadata(metadata: dict[str, str] | None) -> None:
    """Raise InvalidInput for more than OpenAI takes: 16 pairs, of 64 and 512 characters."""
    pairs = metadata or {}
    if len(pairs) > MAX_PAIRS or any(len(k) > 64 or len(v) > 512 for k, v in pairs.items()):
        raise invalid("metadata", "at most 16 pairs of 64 and 512 characters are accepted")


# What goes out.


class AnsweredFunction(msgspec.Struct, frozen=True):
    """Name and arguments of a call."""

    name: str
    arguments: str


class AnsweredCall(msgspec.Struct, frozen=True):
    """A call for the client to run."""

    id: str
    function: AnsweredFunction
    type: str = "function"


class ChatMessage(msgspec.Struct, frozen=True):
    """The answer."""

    content: str | None
    refusal: str | None = None
    role: str = "assistant"
    tool_calls: tuple[AnsweredCall, ...] | msgspec.UnsetType = msgspec.UNSET
    reasoning_content: str | msgspec.UnsetType = msgspec.UNSET


class ChatChoice(msgspec.Struct, frozen=True):
    """The one answer and why it ended."""

    message: ChatMessage
    finish_reason: str
    index: int = 0
    logprobs: None = None


class PromptDetails(msgspec.Struct, frozen=True):
    """Of the prompt: read from the provider's cache."""

    cached_tokens: int = 0
    audio_tokens: int = 0


class CompletionDetails(msgspec.Struct, frozen=True):
    """Of the answer: thinking."""

    reasoning_tokens: int = 0
    audio_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0


class ChatUsage(msgspec.Struct, frozen=True):
    """Tokens of all attempts that the answer took."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    completion_tokens_details: CompletionDetails

    @classmethod
    def of(cls, usage: Usage) -> "ChatUsage":
        """The same in OpenAI's words."""
        return cls(
            usage.prompt,
            usage.output,
            usage.total,
            PromptDetails(usage.cache_read),
            CompletionDetails(usage.reasoning),
        )


class ChatCompletion(msgspec.Struct, frozen=True):
    """A whole answer."""

    id: str
    created: int
    model: str
    choices: tuple[ChatChoice, ...]
    usage: ChatUsage
    object: str = "chat.completion"
    service_tier: str = "default"
    system_fingerprint: str = FINGERPRINT


_FINISH = {
    StopReason.TOOL_USE: "tool_calls",
    StopReason.MAX_TOKENS: "length",
    StopReason.CONTEXT_FULL: "length",
    StopReason.CONTENT_FILTER: "content_filter",
}


def finish_reason(stop: StopReason | None) -> str:
    """Why an answer ended, in OpenAI's words; a refusal is a `stop` with `refusal` set."""
    return "stop" if stop is None else _FINISH.get(stop, "stop")


def answered_calls(calls: Sequence[ToolCall]) -> tuple[AnsweredCall, ...]:
    """Calls as they are sent."""
    return tuple(AnsweredCall(c.id, AnsweredFunction(c.name, c.arguments)) for c in calls)


class Chunks:
    """Writes the chunks of one streamed answer. What all have in common is made once; a delta costs
    the encoding of its text."""

    def __init__(self, id: str, created: int, model: str, *, with_usage: bool) -> None:
        self._head = (
            b'data: {"id":%b,"object":"chat.completion.chunk","created":%d,"model":%b,'
            b'"service_tier":"default","system_fingerprint":"%b","choices":['
            % (_encode(id), created, _encode(model), FINGERPRINT.encode())
        )
        self._usage = b',"usage":null' if with_usage else b""
        self._delta = self._head + b'{"index":0,"delta":'
        self._end = b',"logprobs":null,"finish_reason":null}]%b}\n\n' % self._usage
        self._text = self._delta + b'{"content":'
        self._text_end = b"}" + self._end

    def begin(self) -> bytes:
        """The first one: whose answer it is."""
        return b'%b{"role":"assistant","content":"","refusal":null}%b' % (self._delta, self._end)

    def text(self, text: str) -> bytes:
        """More of the answer."""
        return b"%b%b%b" % (self._text, _encode(text), self._text_end)

    def reasoning(self, text: str) -> bytes:
        """More of the thinking, as most servers but OpenAI's send it."""
        return b'%b{"reasoning_content":%b}%b' % (self._delta, _encode(text), self._end)

    def refusal(self, text: str) -> bytes:
        """What the model says of its refusal."""
        return b'%b{"refusal":%b}%b' % (self._delta, _encode(text), self._end)

    def call(self, index: int, call: ToolCall) -> bytes:
        """A call begins."""
        named = _encode(AnsweredFunction(call.name, ""))
        return b'%b{"tool_calls":[{"index":%d,"id":%b,"type":"function","function":%b}]}%b' % (
            self._delta,
            index,
            _encode(call.id),
            named,
            self._end,
        )

    def arguments(self, index: int, text: str) -> bytes:
        """More of a call's arguments."""
        return b'%b{"tool_calls":[{"index":%d,"function":{"arguments":%b}}]}%b' % (
            self._delta,
            index,
            _encode(text),
            self._end,
        )

    def finish(self, reason: str) -> bytes:
        """The last one of the answer."""
        return b'%b{},"logprobs":null,"finish_reason":%b}]%b}\n\n' % (
            self._delta,
            _encode(reason),
            self._usage,
        )

    def usage(self, usage: Usage) -> bytes:
        """The usage of the whole, where it was asked for."""
        if not self._usage:
            return b""
        return b'%b],"usage":%b}\n\n' % (self._head, _encode(ChatUsage.of(usage)))

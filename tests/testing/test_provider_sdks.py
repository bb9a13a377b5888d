"""The vendors' own SDKs read the provider server as they read the real thing."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from palaver.domain.errors import Overloaded, RateLimited
from palaver.domain.messages import StopReason
from palaver.testing import Call, Decline, Fail, ProviderServer, Say, Stop, Think

anthropic = pytest.importorskip("anthropic")
openai = pytest.importorskip("openai")

ADD: dict[str, Any] = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
    "required": ["a", "b"],
}
ANTHROPIC_TOOLS = [{"name": n, "description": n, "input_schema": ADD} for n in ("add", "mul")]
CHAT_TOOLS = [
    {"type": "function", "function": {"name": n, "description": n, "parameters": ADD}}
    for n in ("add", "mul")
]
FLAT_TOOLS = [{"type": "function", "name": n, "parameters": ADD} for n in ("add", "mul")]
TEXT = "Grüße, 世界! 👩‍⚕️ and some more text"


@pytest.fixture
async def server() -> AsyncIterator[ProviderServer]:
    async with ProviderServer(piece=5) as server:
        yield server


@pytest.fixture
async def claude(server: ProviderServer) -> AsyncIterator[Any]:
    async with anthropic.AsyncAnthropic(api_key="k", base_url=server.url, max_retries=0) as client:
        yield client


@pytest.fixture
async def gpt(server: ProviderServer) -> AsyncIterator[Any]:
    async with openai.AsyncOpenAI(api_key="k", base_url=server.openai_url, max_retries=0) as client:
        yield client


def ask(text: str = "hi") -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


async def test_anthropic_text(server: ProviderServer, claude: Any) -> None:
    """Text arrives whole, with usage, id and stop reason; so it does without a stream."""
    server.script([TEXT, [TEXT, Stop(StopReason.MAX_TOKENS)]])
    request = {"model": "claude-haiku-4-5", "max_tokens": 100, "messages": ask()}
    async with claude.messages.stream(**request) as stream:
        text = "".join([part async for part in stream.text_stream])
        final = await stream.get_final_message()
    assert text == final.content[0].text == TEXT
    assert (final.stop_reason, final.usage.output_tokens > 1) == ("end_turn", True)
    whole = await claude.messages.create(**request)
    assert (whole.content[0].text, whole.stop_reason) == (TEXT, "max_tokens")


async def test_anthropic_thinking_and_calls(server: ProviderServer, claude: Any) -> None:
    """Thinking, two calls, and the whole answer sent back unchanged is accepted."""
    calls = [Call("add", {"a": 1, "b": 2}), Call("mul", {"a": 3, "b": 4})]
    server.script([[Think("let me see"), Think("x", redacted=True), Say("ok"), *calls], "14"])
    request: dict[str, Any] = {
        "model": "claude-haiku-4-5",
        "max_tokens": 4000,
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "tools": ANTHROPIC_TOOLS,
    }
    async with claude.messages.stream(**request, messages=ask()) as stream:
        final = await stream.get_final_message()
    kinds = [block.type for block in final.content]
    assert kinds == ["thinking", "redacted_thinking", "text", "tool_use", "tool_use"]
    assert final.content[3].input == {"a": 1, "b": 2}
    assert final.stop_reason == "tool_use"
    results = [
        {"type": "tool_result", "tool_use_id": b.id, "content": "7"} for b in final.content[3:]
    ]
    history = [
        *ask(),
        {"role": "assistant", "content": [b.model_dump(exclude_none=True) for b in final.content]},
        {"role": "user", "content": results},
    ]
    answer = await claude.messages.create(**request, messages=history)
    assert answer.content[0].text == "14"
    assert server.journal[1].results == ("7", "7")


async def test_anthropic_cache_counts(server: ProviderServer, claude: Any) -> None:
    """The prefix up to the breakpoint is created at first and read when it comes again."""
    system = [{"type": "text", "text": "x" * 8000, "cache_control": {"type": "ephemeral"}}]
    usages = []
    for _ in range(2):
        answer = await claude.messages.create(
            model="claude-haiku-4-5", max_tokens=10, system=system, messages=ask()
        )
        usages.append(answer.usage)
    first, second = usages
    assert (first.cache_read_input_tokens, first.cache_creation_input_tokens > 1999) == (0, True)
    assert second.cache_read_input_tokens == first.cache_creation_input_tokens
    assert second.cache_creation_input_tokens == 0


async def test_anthropic_errors(server: ProviderServer, claude: Any) -> None:
    """Failures before and within the stream become the SDK's own exceptions."""
    server.script([RateLimited("slow down", retry_after_s=3), ["half", Fail(Overloaded("x"))]])
    request = {"model": "claude-haiku-4-5", "max_tokens": 100, "messages": ask()}
    with pytest.raises(anthropic.RateLimitError) as limited:
        await claude.messages.create(**request, stream=True)
    assert limited.value.response.headers["retry-after"] == "3"
    stream = await claude.messages.create(**request, stream=True)
    with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
        [event async for event in stream]
    with pytest.raises(anthropic.BadRequestError, match="non-empty"):
        await claude.messages.create(**request | {"messages": ask("")})
    with pytest.raises(anthropic.NotFoundError, match="model: nobody"):
        await claude.messages.create(**request | {"model": "nobody"})


async def test_chat_text(server: ProviderServer, gpt: Any) -> None:
    """Text, usage chunk and finish reason arrive as from OpenAI."""
    server.script([TEXT, TEXT, [Decline("No.")]])
    stream = await gpt.chat.completions.create(
        model="gpt-4o-mini", messages=ask(), stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == TEXT
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].usage.total_tokens > 2
    whole = await gpt.chat.completions.create(model="gpt-4o-mini", messages=ask())
    assert whole.choices[0].message.content == TEXT
    refused = await gpt.chat.completions.create(model="gpt-4o-mini", messages=ask())
    assert refused.choices[0].message.refusal == "No."


async def test_chat_calls(server: ProviderServer, gpt: Any) -> None:
    """Two parallel calls; their message and results are accepted back."""
    server.script([[Call("add", {"a": 1, "b": 2}), Call("mul", {"a": 3, "b": 4})], "done"])
    async with gpt.chat.completions.stream(
        model="gpt-4o-mini", messages=ask(), tools=CHAT_TOOLS
    ) as stream:
        final = await stream.get_final_completion()
    message = final.choices[0].message
    assert final.choices[0].finish_reason == "tool_calls"
    assert [c.function.arguments for c in message.tool_calls] == ['{"a":1,"b":2}', '{"a":3,"b":4}']
    calls = [
        {
            "id": c.id,
            "type": "function",
            "function": {"name": c.function.name, "arguments": c.function.arguments},
        }
        for c in message.tool_calls
    ]
    results = [{"role": "tool", "tool_call_id": c["id"], "content": "3"} for c in calls]
    history = [*ask(), {"role": "assistant", "tool_calls": calls}, *results]
    answer = await gpt.chat.completions.create(
        model="gpt-4o-mini", messages=history, tools=CHAT_TOOLS
    )
    assert answer.choices[0].message.content == "done"


async def test_chat_errors(server: ProviderServer, gpt: Any) -> None:
    """Failures before and within the stream become the SDK's own exceptions."""
    server.script([RateLimited("slow", retry_after_s=1), ["half", Fail(Overloaded("x"))]])
    request = {"model": "gpt-4o-mini", "messages": ask(), "stream": True}
    with pytest.raises(openai.RateLimitError):
        await gpt.chat.completions.create(**request)
    stream = await gpt.chat.completions.create(**request)
    with pytest.raises(openai.APIError, match="overloaded"):
        [chunk async for chunk in stream]
    with pytest.raises(openai.NotFoundError, match="`nobody` does not exist"):
        await gpt.chat.completions.create(**request | {"model": "nobody"})


async def test_responses(server: ProviderServer, gpt: Any) -> None:
    """Reasoning with summary and encrypted content, text and calls; all is accepted back."""
    calls = [Call("add", {"a": 1, "b": 2}), Call("mul", {})]
    server.script([[Think("let me see"), Say(TEXT), *calls], "14"])
    request: dict[str, Any] = {
        "model": "gpt-5-mini",
        "tools": FLAT_TOOLS,
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "reasoning": {"effort": "low", "summary": "auto"},
    }
    async with gpt.responses.stream(**request, input=ask()) as stream:
        events = [event async for event in stream]
        final = await stream.get_final_response()
    numbers = [event.sequence_number for event in events]
    assert numbers == list(range(len(numbers)))
    assert final.output_text == TEXT
    kinds = [item.type for item in final.output]
    assert kinds == ["reasoning", "message", "function_call", "function_call"]
    assert final.output[0].summary[0].text == "let me see"
    assert final.output[0].encrypted_content
    assert final.usage.output_tokens_details.reasoning_tokens > 0
    history = [*ask(), *[item.model_dump(exclude_none=True) for item in final.output]]
    for item in history:
        item.pop("parsed_arguments", None)
        for part in item["content"] if isinstance(item.get("content"), list) else ():
            part.pop("parsed", None)
    results = [
        {"type": "function_call_output", "call_id": i.call_id, "output": "7"}
        for i in final.output[2:]
    ]
    answer = await gpt.responses.create(**request, input=[*history, *results])
    assert answer.output_text == "14"


async def test_responses_ends_and_errors(server: ProviderServer, gpt: Any) -> None:
    """An incomplete answer says why; an error within the stream is raised."""
    server.script([["cut", Stop(StopReason.MAX_TOKENS)], ["half", Fail(Overloaded("x"))]])
    stream = await gpt.responses.create(model="gpt-4o-mini", input="hi", stream=True)
    last = [event async for event in stream][-1]
    assert last.type == "response.incomplete"
    assert last.response.incomplete_details.reason == "max_output_tokens"
    stream = await gpt.responses.create(model="gpt-4o-mini", input="hi", stream=True)
    with pytest.raises(openai.APIError, match="overloaded"):
        [event async for event in stream]


async def test_models_and_echo(server: ProviderServer, gpt: Any, claude: Any) -> None:
    """Models are listed in both forms; unscripted requests get an echo or a call of a tool."""
    assert "gpt-4o-mini" in [m.id async for m in gpt.models.list()]
    assert "claude-haiku-4-5" in [m.id async for m in claude.models.list()]
    answer = await gpt.responses.create(model="gpt-4o-mini", input="hello")
    assert answer.output_text == "You said: hello"
    answer = await claude.messages.create(
        model="claude-haiku-4-5", max_tokens=9, messages=ask("use a tool"), tools=ANTHROPIC_TOOLS
    )
    assert answer.content[1].input == {"a": 1, "b": 1}

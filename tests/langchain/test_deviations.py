"""What LangChain's adapters lose against the native ones, each loss shown on the wire.

The table in `docs/reference/langchain-deviations.md` has a row for every test here. A loss that
disappears with a newer LangChain makes its test fail; then the row goes, too.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import pytest

from palaver import Model
from palaver.domain.errors import InvalidRequest, ProviderError, StreamTruncated
from palaver.domain.ids import CallId, MessageId
from palaver.domain.messages import (
    Block,
    Message,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
    Unknown,
)
from palaver.domain.values import GenerationSettings, Usage
from palaver.providers.base import (
    CallCompleted,
    CallStarted,
    Finished,
    ModelEvent,
    ModelRequest,
    ReasoningPart,
    TextPart,
    ToolSpec,
)
from palaver.settings import Clocks
from palaver.testing import Call, Decline, Line, Pause, Say, Think
from palaver.testing.provider_server import Answer, End, ProviderServer, Reply
from tests.contract.test_wires import model_of as native_model
from tests.langchain.conftest import model_of as langchain_model

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "langchain-deviations.md"
ASK = ModelRequest((Message.user("?", id="m1"),), settings=GenerationSettings(reasoning="medium"))
Check: TypeAlias = Callable[["Bench"], Awaitable[None]]
DEVIATIONS: dict[str, tuple[tuple[str, ...], Check]] = {}


class Outcome(msgspec.Struct):
    """How one attempt went."""

    events: list[ModelEvent]
    finished: Finished | None = None
    error: ProviderError | None = None
    usage: Usage | None = None

    @property
    def content(self) -> tuple[Block, ...]:
        """The blocks of a whole answer."""
        assert self.finished is not None, self.error
        return self.finished.content


class Bench:
    """Both adapters of one wire against the same server."""

    def __init__(self, wire: str, server: ProviderServer) -> None:
        self.wire, self.server = wire, server
        self.models: tuple[Model, Model] = (
            native_model(wire, server, Clocks()),
            langchain_model(f"langchain-{wire}", server),
        )

    async def both(self, *turns: Any, request: ModelRequest = ASK) -> tuple[Outcome, Outcome]:
        """Native and LangChain, the same turn for each unless two are given."""
        self.server.script([turns[0], turns[-1]])
        native, langchain = self.models
        return await attempt(native, request), await attempt(langchain, request)

    def bodies(self) -> tuple[Any, Any]:
        """What the last two requests asked."""
        return self.server.journal[-2].body, self.server.journal[-1].body


async def attempt(
    model: Model,
    request: ModelRequest = ASK,
    *,
    until: type[ModelEvent] | None = None,
    behind: type[ModelEvent] | None = None,
) -> Outcome:
    """One attempt, to its end or to the first event of a kind; it is given up when that has not
    come a fifth of a second behind an event of the kind `behind`."""
    stream = model.stream(request)
    made = Outcome([])
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(60) as patience:
                async for batch in stream:
                    made.events += batch
                    if behind is not None and any(isinstance(e, behind) for e in batch):
                        patience.reschedule(asyncio.get_running_loop().time() + 0.2)
                    if until is not None and any(isinstance(e, until) for e in batch):
                        break
    except ProviderError as error:
        made.error = error
    made.usage = stream.usage()
    await stream.aclose()
    last = made.events[-1] if made.events else None
    made.finished = last if isinstance(last, Finished) else None
    return made


def deviation(name: str, *wires: str) -> Callable[[Check], Check]:
    """A row of the table."""

    def register(check: Check) -> Check:
        DEVIATIONS[name] = (wires, check)
        return check

    return register


def sse(*events: dict[str, Any], done: bool = False) -> Answer:
    """A stream as it is written, for what the scripted server never says."""
    lines = [f"event: {e.get('type', 'x')}\ndata: {json.dumps(e)}\n\n" for e in events]
    body = "".join(lines) + ("data: [DONE]\n\n" if done else "")
    return Answer(200, body, content_type="text/event-stream")


def chat(*deltas: dict[str, Any], reason: str = "stop") -> Answer:
    """A stream of chat completions with these deltas."""
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    chunks: list[dict[str, Any]] = [
        {**head, "choices": [{"index": 0, "delta": d, "finish_reason": None}]} for d in deltas
    ]
    chunks.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    return sse(*chunks, {**head, "choices": [], "usage": usage}, done=True)


@deviation("chat-thinking", "chat")
async def _(bench: Bench) -> None:
    native, langchain = await bench.both([Think("hm"), Say("so")])
    assert any(isinstance(block, Reasoning) for block in native.content)
    assert langchain.content == (Text("so"),)


@deviation("request-id", "messages", "chat", "responses")
async def _(bench: Bench) -> None:
    native, langchain = await bench.both(["x"])
    assert native.finished is not None
    assert native.finished.request_id
    assert langchain.finished is not None
    assert langchain.finished.request_id == ""


@deviation("message-id", "messages", "chat")
async def _(bench: Bench) -> None:
    native, langchain = await bench.both(["x"])
    assert native.finished is not None
    assert native.finished.native_id
    assert langchain.finished is not None
    assert langchain.finished.native_id == ""


@deviation("chat-refusal", "chat")
async def _(bench: Bench) -> None:
    native, langchain = await bench.both([Decline("No.")])
    assert native.content == (Refusal("No."),)
    assert langchain.content == ()


@deviation("refusal-in-one-piece", "responses")
async def _(bench: Bench) -> None:
    native, langchain = await bench.both([Decline("No, I cannot help with that, I am afraid.")])
    assert native.content == langchain.content
    assert sum(isinstance(e, TextPart) for e in langchain.events) == 1
    deltas = [e for e in native.events if isinstance(e, TextPart)]
    assert "".join(e.text for e in deltas).startswith("No, I")


@deviation("usage-of-an-abort", "messages")
async def _(bench: Bench) -> None:
    turn: list[Line] = [Say("abc"), Pause(until=asyncio.Event())]
    bench.server.script([turn, turn])
    native, langchain = [await attempt(model, until=TextPart) for model in bench.models]
    assert native.usage is not None
    assert native.usage.input > 0
    assert langchain.usage is None


@deviation("end-marker", "messages", "chat")
async def _(bench: Bench) -> None:
    await bench.both(["a whole one first, so that both know the server's ways"])
    for frames in range(3, 14):
        native, langchain = await bench.both(Reply(["x"], (End(frames),)))
        if isinstance(native.error, StreamTruncated) and langchain.finished is not None:
            assert langchain.content == (Text("x"),)
            return
    pytest.fail("no cut that only the native adapter notices")


@deviation("arguments-rewritten", "chat")
async def _(bench: Bench) -> None:
    call = ToolCall(CallId("c1"), "look", '{"b": 1e2}')
    messages = (
        Message.user("?", id="m1"),
        Message(Role.ASSISTANT, (call,), MessageId("m2")),
        Message(Role.TOOL, (ToolResult(call.id, "look", (Text("x"),)),), MessageId("m3")),
    )
    await bench.both(["x"], request=ModelRequest(messages))
    sent = [b["messages"][1]["tool_calls"][0]["function"]["arguments"] for b in bench.bodies()]
    assert sent == ['{"b": 1e2}', '{"b": 100.0}']


@deviation("cache-marks", "messages")
async def _(bench: Bench) -> None:
    request = ModelRequest((Message.user("?", id="m1"),), system="long " * 1_000)
    await bench.both(["x"], request=request)
    native, langchain = bench.bodies()
    assert "cache_control" in json.dumps(native)
    assert "cache_control" not in json.dumps(langchain)


@deviation("whole-answers", "messages", "chat")
async def _(bench: Bench) -> None:
    body: dict[str, Any] = {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }
    if bench.wire == "messages":
        body = {
            "id": "m",
            "type": "message",
            "role": "assistant",
            "model": "m",
            "content": [{"type": "text", "text": "x"}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 1, "output_tokens": 1},
        }
    native, langchain = await bench.both(Reply(["x"], (Answer(200, body),)))
    assert native.content == (Text("x"),)
    assert isinstance(langchain.error, ProviderError)


@deviation("chat-annotations", "chat")
async def _(bench: Bench) -> None:
    note = {"type": "url_citation", "url_citation": {"url": "https://example.org"}}
    answer = chat({"content": "x"}, {"annotations": [note]})
    native, langchain = await bench.both(Reply(["x"], (answer,)))
    assert native.content == (Text("x", json.dumps([note], separators=(",", ":"))),)
    assert langchain.content == (Text("x"),)


@deviation("unknown-blocks", "messages")
async def _(bench: Bench) -> None:
    usage = {"input_tokens": 1, "output_tokens": 1}
    head = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": []}
    answer = sse(
        {"type": "message_start", "message": {**head, "stop_reason": None, "usage": usage}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "new", "x": 1}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage},
        {"type": "message_stop"},
    )
    native, langchain = await bench.both(Reply(["x"], (answer,)))
    (block,) = native.content
    assert isinstance(block, Unknown)
    assert langchain.content == ()


@deviation("open-reasoning", "responses")
async def _(bench: Bench) -> None:
    item = {"type": "reasoning", "id": "rs", "summary": []}
    place = {"output_index": 0, "item_id": "rs", "content_index": 0}
    response = {
        "id": "resp",
        "object": "response",
        "created_at": 1,
        "model": "m",
        "output": [],
        "status": "completed",
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }
    answer = sse(
        {"type": "response.created", "response": {**response, "status": "in_progress"}},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.reasoning_text.delta", **place, "delta": "hm"},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": response},
    )
    native, langchain = await bench.both(Reply(["x"], (answer,)))
    assert ReasoningPart("hm") in native.events
    assert not any(isinstance(e, ReasoningPart) for e in langchain.events), langchain.error


@deviation("calls-without-arguments", "messages", "responses")
async def _(bench: Bench) -> None:
    turn: list[Line] = [Call("look", {}), Pause(until=asyncio.Event())]
    bench.server.script([turn, turn])
    spec = ToolSpec("look", "Looks.", {"type": "object", "properties": {}})
    request = msgspec.structs.replace(ASK, tools=(spec,))
    native, langchain = bench.models
    early = await attempt(native, request, until=CallCompleted)
    late = await attempt(langchain, request, until=CallCompleted, behind=CallStarted)
    assert any(isinstance(e, CallCompleted) for e in early.events)
    assert any(isinstance(e, CallStarted) for e in late.events)
    assert not any(isinstance(e, CallCompleted) for e in late.events)


@deviation("refused-options", "chat")
async def _(bench: Bench) -> None:
    said = {"error": {"message": "stream_options is not supported", "type": "invalid_request"}}
    refusal = Reply(["x"], (Answer(400, said),))
    bench.server.script([refusal, ["x"], refusal])
    native, langchain = [await attempt(model) for model in bench.models]
    assert native.content == (Text("x"),)
    assert isinstance(langchain.error, InvalidRequest)


@deviation("max-tokens", "chat")
async def _(bench: Bench) -> None:
    request = ModelRequest(ASK.messages, settings=GenerationSettings(max_tokens=5))
    await bench.both(["x"], request=request)
    native, langchain = bench.server.journal[0].body, bench.server.journal[-1].body
    assert native["max_tokens"] == langchain["max_completion_tokens"] == 5


CASES = [(name, wire) for name, (wires, _) in DEVIATIONS.items() for wire in wires]


@pytest.mark.parametrize("name, wire", CASES)
async def test_deviation(server: ProviderServer, name: str, wire: str) -> None:
    """The native adapter has it, LangChain's does not."""
    bench = Bench(wire, server)
    try:
        await DEVIATIONS[name][1](bench)
    finally:
        for model in bench.models:
            await model.aclose()


def test_the_page_has_a_row_for_each() -> None:
    """Names and wires of the table are those of the tests, no more and no fewer."""
    rows = re.findall(r"^\| `([a-z-]+)` \| ([a-z, ]+) \|", PAGE.read_text("utf-8"), re.MULTILINE)
    told = {name: tuple(wires.split(", ")) for name, wires in rows}
    assert told == {name: wires for name, (wires, _) in DEVIATIONS.items()}

"""What the offline responder promises: it is honest, useful, and calls tools as any model does."""

import json
from typing import Any

import pytest

from palaver.domain.errors import InvalidRequest, StreamTruncated
from palaver.domain.ids import CallId
from palaver.domain.messages import Image, Message, Role, StopReason, Text, ToolCall, ToolResult
from palaver.domain.values import GenerationSettings, OutputSchema
from palaver.providers.base import (
    CallArguments,
    CallCompleted,
    CallStarted,
    Finished,
    ModelEvent,
    ModelRequest,
    TextPart,
    ToolSpec,
)
from palaver.providers.offline import OfflineModel


def _tool(name: str, *properties: str, required: int = 1, **typed: str) -> ToolSpec:
    kinds = {**dict.fromkeys(properties, "string"), **typed}
    schema = {
        "type": "object",
        "properties": {key: {"type": kind} for key, kind in kinds.items()},
        "required": list(kinds)[:required],
    }
    return ToolSpec(name, "", schema)


TOOLS = (
    _tool("calculator", "expression"),
    _tool("current_time", "zone", required=0),
    _tool("convert_time", "time", "from_zone", "to_zone", required=3),
    _tool("read_file", "path"),
    _tool("list_files", "path", "pattern", required=0),
    _tool("search_files", "query", "path"),
    _tool("fetch_url", "url"),
    _tool("search_conversations", "query"),
    _tool("roll_dice", sides="integer", times="integer", loud="boolean"),
)


def _request(*messages: Message | str, tools: tuple[ToolSpec, ...] = TOOLS) -> ModelRequest:
    said = tuple(Message.user(m) if isinstance(m, str) else m for m in messages)
    return ModelRequest(said, tools=tools)


async def _events(request: ModelRequest) -> list[ModelEvent]:
    return [event async for batch in OfflineModel().stream(request) for event in batch]


async def _finished(request: ModelRequest) -> Finished:
    last = (await _events(request))[-1]
    assert isinstance(last, Finished)
    return last


async def _text(*messages: Message | str, tools: tuple[ToolSpec, ...] = TOOLS) -> str:
    finished = await _finished(_request(*messages, tools=tools))
    assert finished.stop is StopReason.END_TURN
    return "".join(block.text for block in finished.content if isinstance(block, Text))


async def _calls(text: str, **more: Any) -> list[tuple[str, dict[str, Any]]]:
    content = (await _finished(_request(text, **more))).content
    return [(b.name, b.parsed()) for b in content if isinstance(b, ToolCall)]


async def _with_results(asked: str, *results: str, failed: bool = False) -> str:
    content = (await _finished(_request(asked))).content
    assistant = Message.assistant(content)
    answered = tuple(
        ToolResult(call.id, call.name, (Text(result),), failed=failed)
        for call, result in zip(assistant.tool_calls, results, strict=True)
    )
    return await _text(asked, assistant, Message(Role.TOOL, answered))


@pytest.mark.parametrize(
    "text,expression",
    [
        ("what is 17*23?", "17*23"),
        ("15% of 80", "15% of 80"),
        ("sqrt(2)", "sqrt(2)"),
        ("(3+4)*2", "(3+4)*2"),
        ("Calculate 2^10, please.", "2**10"),
        ("what's the square root of 16?", "sqrt(16)"),
        ("17 x 23", "17*23"),
        ("1,000,000 / 8", "1,000,000 / 8"),
        ("what is 12 divided by 4 plus 1?", "12 / 4+ 1"),
        ("combien font 12 × 12 ?", "12 * 12"),
        ("17乘以23等于多少？", "17*23"),
        ("１７×２３＝？", "17*23"),
        ("Was ist 3,5 + 2?", "3.5 + 2"),
        ("сколько будет 2+2?", "2+2"),
        ("what is 2(3+4)?", "2*(3+4)"),
        ("what is 10-3?", "10-3"),
        ("5!", "5!"),
        ("max(3,5)*2", "max(3,5)*2"),
    ],
)
async def test_arithmetic_goes_to_the_calculator(text: str, expression: str) -> None:
    """A calculation in any language becomes one call."""
    assert await _calls(text) == [("calculator", {"expression": expression})]


@pytest.mark.parametrize(
    "text",
    [
        "I was born on 2024-05-17",
        "see pages 3-5 of it",
        "call 555-123-2002",
        "C++ 11 runs 24/7",
        "The 3 - 4 people who came",
        "hello",
        "I had a good time in Paris",
        "tell me a story about a file",
        "",
        "\n",
        "x" * 50_000,
    ],
)
async def test_what_is_no_request_calls_nothing(text: str) -> None:
    """Dates, ranges, phone numbers and prose start no tool."""
    assert await _calls(text) == []


async def test_the_answer_holds_the_result() -> None:
    """What the calculator gave is the answer."""
    assert "391" in await _with_results("what is 17*23?", "391")


@pytest.mark.parametrize(
    "text,arguments",
    [
        ("what time is it in Tokyo?", {"zone": "Asia/Tokyo"}),
        ("What's the time in New York right now?", {"zone": "America/New_York"}),
        ("current time in germany", {"zone": "Europe/Berlin"}),
        ("what time is it in UTC+2", {"zone": "UTC+2"}),
        ("what time is it?", {}),
        ("what's the date today", {}),
    ],
)
async def test_time(text: str, arguments: dict[str, str]) -> None:
    """A place becomes its zone; no place is the machine's own."""
    assert await _calls(text) == [("current_time", arguments)]


async def test_unknown_place_is_said() -> None:
    """A place without a known zone is not guessed."""
    assert "Narnia" in await _text("what time is it in Narnia?")


@pytest.mark.parametrize(
    "text,call",
    [
        ("list files", ("list_files", {})),
        ("list the files in src/palaver", ("list_files", {"path": "src/palaver"})),
        ("what files are there?", ("list_files", {})),
        ("ls docs", ("list_files", {"path": "docs"})),
        ("read README.md", ("read_file", {"path": "README.md"})),
        ("show me the file src/log.py.", ("read_file", {"path": "src/log.py"})),
        ('open "my notes.txt"', ("read_file", {"path": "my notes.txt"})),
        ("search for 'foo' in files", ("search_files", {"query": "foo"})),
        ("search my files for def main", ("search_files", {"query": "def main"})),
        ("fetch https://example.org/a?b=1.", ("fetch_url", {"url": "https://example.org/a?b=1"})),
        (
            "search my conversations for weather in Oslo",
            ("search_conversations", {"query": "weather in Oslo"}),
        ),
        (
            "search for budget in our past chats",
            ("search_conversations", {"query": "budget"}),
        ),
    ],
)
async def test_files_pages_and_conversations(text: str, call: tuple[str, dict[str, str]]) -> None:
    """Plain requests become the call that serves them."""
    assert await _calls(text) == [call]


async def test_several_requests_are_parallel_calls() -> None:
    """Two requests in one message are two calls of one answer, in the order of asking."""
    finished = await _finished(_request("what is 2+2 and what time is it in Oslo?"))
    assert finished.stop is StopReason.TOOL_USE
    calls = [block for block in finished.content if isinstance(block, ToolCall)]
    assert [call.name for call in calls] == ["calculator", "current_time"]
    assert len({call.id for call in calls}) == 2
    answer = await _with_results("what is 2+2 and what time is it in Oslo?", "4", "Monday, 14:00")
    assert answer.index("4") < answer.index("Monday, 14:00")
    assert len(await _calls("what time is it in Oslo and Tokyo?")) == 2


@pytest.mark.parametrize(
    "text,call",
    [
        ('/tool roll_dice {"sides": 6}', ("roll_dice", {"sides": 6})),
        ("use roll_dice with sides=6 loud=true", ("roll_dice", {"sides": 6, "loud": True})),
        ("run roll_dice with 6", ("roll_dice", {"sides": 6})),
        ("please use the tool calculator with 2+2.", ("calculator", {"expression": "2+2"})),
        ("/tool read_file my notes.txt", ("read_file", {"path": "my notes.txt"})),
        ("use current_time", ("current_time", {})),
    ],
)
async def test_explicit_calls(text: str, call: tuple[str, dict[str, Any]]) -> None:
    """Any offered tool can be called by name, with JSON, pairs, or the one thing it needs."""
    assert await _calls(text) == [call]


@pytest.mark.parametrize(
    "text,said",
    [
        ("/tool nope {}", "no tool `nope`"),
        ("use roll_dice", "sides=<integer>"),
        ('/tool roll_dice {"sides": }', "not valid JSON"),
        ("use convert_time with 14:30", "from_zone"),
    ],
)
async def test_explicit_calls_that_cannot_be(text: str, said: str) -> None:
    """A call that lacks something is explained."""
    assert said in await _text(text)


async def test_arguments_follow_the_schema() -> None:
    """Whatever a tool calls its argument, it gets it."""
    tools = (_tool("my-calc", "term"), _tool("get_current_time", "where"))
    assert await _calls("2+2", tools=tools) == [("my-calc", {"term": "2+2"})]
    assert await _calls("what time is it?", tools=tools) == [("get_current_time", {"where": "UTC"})]


async def test_a_missing_tool_is_said() -> None:
    """Without a calculator nothing is calculated, and the answer says so."""
    assert "not available" in await _text("what is 2+2?", tools=())
    request = ModelRequest(
        (Message.user("2+2"),), tools=TOOLS, settings=GenerationSettings(tool_choice="none")
    )
    assert (await _finished(request)).stop is StopReason.END_TURN


async def test_failures_are_reported_plainly() -> None:
    """A failed tool is reported as failed, with its reason."""
    answer = await _with_results("read nope.md", "there is no such file", failed=True)
    assert "failed" in answer
    assert "there is no such file" in answer


async def test_unknown_outcomes_are_said() -> None:
    """An effect that was interrupted is not called done."""
    call = ToolCall(CallId("c"), "send", "{}")
    result = ToolResult(CallId("c"), "send", (), unknown=True)
    answer = await _text("x", Message.assistant((call,)), Message(Role.TOOL, (result,)))
    assert "may or may not" in answer


async def test_results_are_fenced() -> None:
    """A file with code fences of its own cannot break out of its block."""
    answer = await _with_results("read a.md", "```\ncode\n````\nend")
    assert "`````\n```\ncode" in answer
    assert len(await _with_results("read a.md", "line\n" * 10_000)) < 7_000


@pytest.mark.parametrize("text", ["Write a poem about spring", "Why is the sky blue?", "", "?!"])
async def test_honest_about_the_rest(text: str) -> None:
    """What it cannot do it says, with what it can and how to set a key."""
    answer = await _text(text)
    assert "not a language model" in answer
    assert "ANTHROPIC_API_KEY" in answer
    assert "palaver doctor" in answer


async def test_pictures() -> None:
    """It does not pretend to see."""
    message = Message.user((Image("image/png", url="https://x/y.png"), Text("what is this?")))
    assert "cannot look at pictures" in await _text(message)


@pytest.mark.parametrize("text", ["hello", "Bonjour !", "привет", "你好", "hei der", "Hola, amigo"])
async def test_greetings(text: str) -> None:
    """A greeting is returned, with who it is that answers."""
    answer = await _text(text)
    assert answer.startswith("Hello!")
    assert "not a language model" in answer


@pytest.mark.parametrize("text", ["how do I set an API key?", "what can you do?", "are you an AI?"])
async def test_help(text: str) -> None:
    """Questions about itself are answered with both key variables."""
    answer = await _text(text)
    assert "ANTHROPIC_API_KEY" in answer
    assert "OPENAI_API_KEY" in answer


DIALOGUE = (
    Message.user("We plan the garden party for Saturday. The budget is 400 euros."),
    Message.assistant("A garden party for 400 euros works. Rent the tables early."),
    Message.user("The tables cost 90 euros. Anna brings the cake for the garden party."),
    Message.assistant("Then 310 euros remain for drinks and lights."),
)


async def test_summary() -> None:
    """A summary consists of sentences that were said, and says that it was picked."""
    answer = await _text(*DIALOGUE, "Summarise this conversation")
    assert "word for word" in answer
    picked = [line.partition(":** ")[2] for line in answer.splitlines() if line.startswith("- ")]
    everything = " ".join(message.text for message in DIALOGUE)
    assert picked
    assert all(sentence in everything for sentence in picked)
    assert "400 euros" in answer
    assert "nothing to summarise" in await _text("summarise this conversation")


async def test_what_was_said() -> None:
    """The conversation is searched by who said it, without a tool."""
    answer = await _text(*DIALOGUE, "What did I say about the tables?")
    assert "The tables cost 90 euros" in answer
    assert "Rent the tables early" not in answer
    assert "Rent the tables early" in await _text(*DIALOGUE, "what did you say about tables?")
    assert "nothing about" in await _text(*DIALOGUE, "did I mention dragons?")


async def test_it_streams_words() -> None:
    """Text comes in words, batches are sentences, and the parts make up the whole."""
    stream = OfflineModel().stream(_request("hello"))
    batches = [batch async for batch in stream]
    texts = [e.text for batch in batches for e in batch if isinstance(e, TextPart)]
    finished = batches[-1][0]
    assert isinstance(finished, Finished)
    assert Text("".join(texts)) == finished.content[0]
    assert len(batches) > 3
    assert max(map(len, texts)) < 60
    assert stream.partial() == finished.content
    assert finished.usage is not None
    assert finished.usage.estimated


async def test_call_events() -> None:
    """A call is started, argued and completed before the end, once."""
    events = await _events(_request("what is 2+2?"))
    assert [type(e) for e in events] == [CallStarted, CallArguments, CallCompleted, Finished]
    started, arguments, completed, _ = events
    assert isinstance(started, CallStarted)
    assert isinstance(arguments, CallArguments)
    assert isinstance(completed, CallCompleted)
    assert json.loads(arguments.text) == completed.call.parsed()
    assert started.id == completed.call.id


async def test_closing_ends_the_answer() -> None:
    """After `aclose` nothing more comes, and what came is known."""
    stream = OfflineModel().stream(_request("hello"))
    batches = aiter(stream)
    await anext(batches)
    await stream.aclose()
    with pytest.raises(StreamTruncated):
        await anext(batches)
    assert stream.partial() == (Text("Hello! "),)


async def test_deterministic() -> None:
    """The same request gives the same events."""
    request = _request(*DIALOGUE, "Summarise this conversation")
    assert await _events(request) == await _events(request)


async def test_schemas_are_refused() -> None:
    """It cannot fill in a schema and says what can."""
    request = ModelRequest((Message.user("x"),), output=OutputSchema("o", {"type": "object"}))
    with pytest.raises(InvalidRequest) as caught:
        await _events(request)
    assert "ANTHROPIC_API_KEY" in caught.value.hint


async def test_messages_of_any_shape_are_answered() -> None:
    """No history and no text still give an answer."""
    assert "not a language model" in await _text()
    assert "not a language model" in await _text(Message.assistant("prefill"))

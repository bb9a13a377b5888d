"""Registering tools and running calls of them."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from palaver.domain.errors import (
    InvalidInput,
    NotExecuted,
    ToolArgumentsError,
    ToolDisabledError,
    ToolError,
    ToolExecutionError,
    ToolNotFoundError,
    ToolTimeoutError,
)
from palaver.domain.ids import CallId
from palaver.domain.messages import Image, Text, ToolCall
from palaver.settings import ToolSettings, TurnLimits
from palaver.tools.decorator import tool
from palaver.tools.definition import (
    ExecutionContext,
    Tool,
    ToolDefinition,
    ToolOutput,
    ToolRetryPolicy,
)
from palaver.tools.manager import ToolManager


def call(name: str, arguments: str = "{}", id: str = "call_1") -> ToolCall:
    return ToolCall(CallId(id), name, arguments)


def definition(name: str = "it", **fields: Any) -> ToolDefinition:
    schema = fields.pop("parameters_schema", {"type": "object"})
    return ToolDefinition(name=name, description="", parameters_schema=schema, **fields)


@tool(effect="read")
async def weather(city: str) -> str:
    """Weather."""
    return f"sun in {city}"


async def test_call_gives_its_result(context: ExecutionContext) -> None:
    """A valid call is answered under its own id and name."""
    result = await ToolManager([weather]).execute_tool(
        call("weather", '{"city": "Oslo"}', id="c9"), context
    )
    assert (result.call_id, result.name, result.text) == ("c9", "weather", "sun in Oslo")
    assert not result.failed


async def test_subclass_may_override_execute(context: ExecutionContext) -> None:
    """A Tool subclass is run through its own `execute`."""

    class Echo(Tool):
        async def execute(self, arguments: dict[str, Any], context: ExecutionContext) -> Any:
            return arguments

    manager = ToolManager([Echo(definition("echo"))])
    assert (await manager.execute_tool(call("echo", '{"a": 1}'), context)).text == '{"a":1}'


@pytest.mark.parametrize("name", ["", "a b", "é", "x" * 65, "a/b"])
def test_bad_names_are_refused(name: str) -> None:
    """A name that some provider would refuse is refused at registration."""
    with pytest.raises(InvalidInput, match="name"):
        ToolManager([Tool(definition(name))])


def test_names_are_unique() -> None:
    """A second tool of one name is refused until the first is gone."""
    manager = ToolManager([weather])
    with pytest.raises(InvalidInput, match="already"):
        manager.register_tool(weather)
    manager.unregister("weather")
    manager.register_tool(weather)


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "string"},
        {"type": "object", "properties": []},
        {"type": "object", "properties": {"a": {"type": "text"}}},
        {"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:1/x.json"}}},
    ],
)
def test_bad_schemas_are_refused(schema: dict[str, Any]) -> None:
    """A schema must be JSON Schema of an object, and refer to nothing outside of itself."""
    with pytest.raises(InvalidInput, match="it: "):
        ToolManager([Tool(definition(parameters_schema=schema))])


async def test_disabled_tools_do_not_run(context: ExecutionContext) -> None:
    """A disabled tool is listed to people, not to models, and a call of it fails."""
    manager = ToolManager([weather])
    manager.disable("weather")
    assert [d.is_enabled for d in manager.definitions()] == [False]
    assert manager.specs() == ()
    with pytest.raises(ToolDisabledError):
        manager.get("weather")
    result = await manager.execute_tool(call("weather", '{"city": "Oslo"}'), context)
    assert result.failed
    assert "tool_disabled" in result.text
    manager.enable("weather")
    assert manager.get("weather").is_enabled


async def test_hidden_tools_still_run(context: ExecutionContext) -> None:
    """A hidden tool is offered to models and runs; people do not see it in lists."""
    manager = ToolManager([weather])
    manager.hide("weather")
    assert manager.definitions() == ()
    assert [d.name for d in manager.definitions(include_hidden=True)] == ["weather"]
    assert [d.name for d in manager.specs()] == ["weather"]
    assert (await manager.execute_tool(call("weather", '{"city": "Oslo"}'), context)).text
    manager.show("weather")
    assert len(manager.definitions()) == 1


async def test_unknown_tool_names_similar_ones(context: ExecutionContext) -> None:
    """A misspelt name fails with what was probably meant."""
    manager = ToolManager([weather])
    with pytest.raises(ToolNotFoundError) as raised:
        manager.get("wether")
    assert "weather" in raised.value.hint
    result = await manager.execute_tool(call("wether"), context)
    assert result.failed
    assert "weather" in result.text


@pytest.mark.parametrize("arguments", ["{", "[]", "null", '"x"', "[" * 100_000, '{"city": 1}'])
async def test_bad_arguments_are_a_failed_result(arguments: str, context: ExecutionContext) -> None:
    """Arguments that are no JSON object or do not fit give the model an error."""
    manager = ToolManager([weather])
    with pytest.raises(ToolArgumentsError):
        manager.validate(call("weather", arguments))
    result = await manager.execute_tool(call("weather", arguments), context)
    assert result.failed
    assert "tool_arguments" in result.text


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ValueError


@pytest.mark.parametrize(
    "error, says",
    [
        (ValueError("no such city"), "ValueError: no such city"),
        (ToolExecutionError("down", suggestions=["Ask later."]), "Ask later."),
        (SystemExit(3), "end the program"),
        (asyncio.CancelledError(), "cancelled itself"),
        (ExceptionGroup("many", [KeyError("a")]), "KeyError"),
        (StopAsyncIteration(), "StopAsyncIteration"),
        (RecursionError("deep"), "deep"),
        (Unprintable(), "Unprintable"),
        (ValueError("bad \x00\ud800 text"), "bad �� text"),
    ],
)
@pytest.mark.parametrize("kind", ["async", "thread"])
async def test_failures_are_results(
    error: BaseException, says: str, kind: str, context: ExecutionContext
) -> None:
    """Whatever a tool raises becomes a failed result that says what happened."""

    @tool(effect="read")
    async def broken() -> None:
        raise error

    @tool(effect="read", name="broken")
    def broken_thread() -> None:
        raise error

    manager = ToolManager([broken if kind == "async" else broken_thread])
    result = await manager.execute_tool(call("broken"), context)
    assert result.failed
    assert says in result.text


async def test_run_raises_typed_errors(context: ExecutionContext) -> None:
    """Programs get the typed error in place of a failed result."""

    @tool
    def broken() -> None:
        raise KeyError("x")

    @tool
    def failing() -> ToolOutput:
        return ToolOutput((Text("no"),), failed=True)

    manager = ToolManager([weather, broken, failing])
    assert (await manager.run("weather", {"city": "Oslo"}, context)).text == "sun in Oslo"
    for name, error in (
        ("nope", ToolNotFoundError),
        ("weather", ToolArgumentsError),
        ("broken", ToolExecutionError),
        ("failing", ToolExecutionError),
    ):
        with pytest.raises(error):
            await manager.run(name, {}, context)


async def test_slow_tool_is_stopped(context: ExecutionContext) -> None:
    """A tool that takes longer than it may is cancelled and fails as timed out."""
    ended = asyncio.Event()

    @tool(effect="effect", timeout_s=0.01)
    async def slow() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    result = await ToolManager([slow]).execute_tool(call("slow"), context)
    assert result.failed
    assert "tool_timeout" in result.text
    assert "may have had its effect" in result.text
    assert ended.is_set()


async def test_setting_bounds_tools_without_timeout(context: ExecutionContext) -> None:
    """The setting's timeout holds for tools that name none."""

    @tool
    async def slow() -> None:
        await asyncio.sleep(60)

    manager = ToolManager([slow], settings=ToolSettings(timeout_s=0.01))
    assert "0.01 s" in (await manager.execute_tool(call("slow"), context)).text


async def test_deaf_tool_is_left_behind(context: ExecutionContext) -> None:
    """A tool that ignores cancellation is left behind after the grace, and that is reported."""
    told: list[str] = []
    release = asyncio.Event()

    @tool(effect="read", timeout_s=0.01, retry_policy=ToolRetryPolicy(attempts=3))
    async def deaf() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    manager = ToolManager([deaf], grace_s=0.02, abandoned=lambda name, _: told.append(name))
    result = await manager.execute_tool(call("deaf"), context)
    assert "did not stop" in result.text
    assert told == ["deaf"]
    release.set()
    await asyncio.sleep(0)


async def test_abort_passes_and_stops_the_tool(context: ExecutionContext) -> None:
    """Cancelling the call cancels the tool, waits for its end, and raises CancelledError."""
    steps: list[str] = []
    started = asyncio.Event()

    @tool
    async def slow() -> None:
        started.set()
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            steps.append("tidied")

    running = asyncio.ensure_future(ToolManager([slow]).execute_tool(call("slow"), context))
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert steps == ["tidied"]


async def test_abort_does_not_wait_for_a_deaf_thread(context: ExecutionContext) -> None:
    """A blocking function cannot be stopped: the abort waits for the grace only."""
    told: list[str] = []
    started, release = threading.Event(), threading.Event()

    @tool
    def deaf() -> None:
        started.set()
        release.wait(60)

    manager = ToolManager([deaf], grace_s=0.02, abandoned=lambda name, _: told.append(name))
    running = asyncio.ensure_future(manager.execute_tool(call("deaf"), context))
    assert await asyncio.to_thread(started.wait, 60)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert told == ["deaf"]
    release.set()


@pytest.mark.parametrize(
    "effect, error, tries",
    [
        ("read", ValueError("x"), 3),
        ("idempotent", ToolExecutionError("x"), 3),
        ("effect", ValueError("x"), 1),
        ("effect", NotExecuted("x"), 3),
        ("read", ToolArgumentsError("x"), 1),
    ],
)
async def test_retries_by_effect(
    effect: Any, error: Exception, tries: int, context: ExecutionContext, waits: Any
) -> None:
    """A failed call is repeated with growing waits; one with an effect only if nothing was done."""
    tried: list[int] = []

    @tool(effect=effect, retry_policy=ToolRetryPolicy(attempts=3, wait_s=0.5, factor=2))
    async def broken() -> None:
        tried.append(1)
        raise error

    assert (await ToolManager([broken]).execute_tool(call("broken"), context)).failed
    assert len(tried) == tries
    assert waits.slept == [0.5, 1.0][: tries - 1]


async def test_long_output_is_cut_and_kept(context: ExecutionContext, blobs: Any) -> None:
    """The model gets head and tail within the limit; the whole output is a blob that it names."""

    @tool
    def long() -> str:
        return "HEAD" + "x" * 100_000 + "TAIL"

    manager = ToolManager([long], settings=ToolSettings(output_chars=1_000))
    result = await manager.execute_tool(call("long"), context)
    assert len(result.text) <= 1_000
    assert result.text.startswith("HEAD")
    assert result.text.endswith("TAIL")
    assert result.full is not None
    assert result.full in result.text
    assert len(blobs[result.full]) == 100_008


async def test_result_survives_a_full_disk(make_context: Callable[..., ExecutionContext]) -> None:
    """When the whole output cannot be kept the cut one is still a good result."""

    async def keep(data: bytes) -> Any:
        raise OSError("no space")

    @tool
    def long() -> str:
        return "x" * 5_000

    manager = ToolManager([long], settings=ToolSettings(output_chars=1_000))
    result = await manager.execute_tool(call("long"), make_context(keep=keep))
    assert not result.failed
    assert result.full is None


picture = Image(media_type="image/png", url="https://example.org/a.png")


@pytest.mark.parametrize(
    "value, expected",
    [
        ("text", (Text("text"),)),
        ("", ()),
        (None, (Text("(no output)"),)),
        ({"a": [1, 2.5, None]}, (Text('{"a":[1,2.5,null]}'),)),
        (b"text", (Text("text"),)),
        (17, (Text("17"),)),
        ("a\x00b", (Text("a�b"),)),
        ({"a": "\ud800"}, (Text('{"a": "�"}'),)),
        (picture, (picture,)),
        ([Text("a"), picture], (Text("a"), picture)),
        (ToolOutput((Text("a"), picture)), (Text("a"), picture)),
    ],
)
async def test_values_become_blocks(value: Any, expected: Any, context: ExecutionContext) -> None:
    """Text stays, JSON-able values become JSON, blocks stay blocks, and all text is storable."""

    async def execute(arguments: dict[str, Any], context: ExecutionContext) -> Any:
        return value

    manager = ToolManager([Tool(definition(), execute)])
    result = await manager.execute_tool(call("it"), context)
    assert result.content == expected
    assert not result.failed


async def test_foreign_values_are_said_to_be_foreign(context: ExecutionContext, blobs: Any) -> None:
    """What is no JSON is shown in its Python form, with a note; binary output is kept."""
    looped: list[Any] = []
    looped.append(looped)

    async def execute(arguments: dict[str, Any], context: ExecutionContext) -> Any:
        return {"object": object(), "loop": looped, "bytes": b"\x00\xff"}[arguments["of"]]

    manager = ToolManager([Tool(definition(), execute)])
    texts = {}
    for of in ("object", "loop", "bytes"):
        texts[of] = (await manager.execute_tool(call("it", f'{{"of": "{of}"}}'), context)).text
    assert "<object object" in texts["object"]
    assert "Python form of a object" in texts["object"]
    assert "[[...]]" in texts["loop"]
    assert "2 bytes" in texts["bytes"]
    assert list(blobs.values()) == [b"\x00\xff"]


class Watch:
    """Counts who runs at the same time."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.order: list[str] = []

    async def run(self, name: str) -> None:
        self.order.append(name)
        self.now += 1
        self.most = max(self.most, self.now)
        if name.startswith("alone"):
            assert self.now == 1
        for _ in range(50):  # steps of the loop, as time passes between any two of them
            await asyncio.sleep(0)
        self.now -= 1


async def test_exclusive_runs_alone_and_in_its_turn(context: ExecutionContext) -> None:
    """Parallel calls run together up to the limit, an exclusive one alone, first come first."""
    watch = Watch()

    @tool(effect="read")
    async def together(name: str) -> None:
        await watch.run(name)

    @tool(effect="read", is_exclusive=True)
    async def alone(name: str) -> None:
        await watch.run(name)

    manager = ToolManager([together, alone], limits=TurnLimits(parallel_tools=3))
    names = ["t1", "t2", "alone1", "t3", "t4", "t5", "t6", "alone2", "alone3"]
    calls = [
        call("alone" if n.startswith("alone") else "together", f'{{"name": "{n}"}}', id=n)
        for n in names
    ]
    results = await asyncio.gather(*(manager.execute_tool(c, context) for c in calls))
    assert [r.call_id for r in results] == names
    assert not any(r.failed for r in results)
    assert watch.order == names
    assert watch.most == 3


async def test_turns_do_not_wait_for_each_other(
    make_context: Callable[..., ExecutionContext],
) -> None:
    """An exclusive tool of one turn does not stop the tools of another."""
    inside = asyncio.Barrier(2)

    @tool(effect="read", is_exclusive=True)
    async def alone() -> None:
        async with asyncio.timeout(60):
            await inside.wait()

    manager = ToolManager([alone])
    results = await asyncio.gather(
        manager.execute_tool(call("alone"), make_context(turn="a")),
        manager.execute_tool(call("alone"), make_context(turn="b")),
    )
    assert not any(result.failed for result in results)


async def test_cancelled_waiter_leaves_the_gate_open(context: ExecutionContext) -> None:
    """A call that is cancelled while it waits for its turn does not block those behind it."""
    release = asyncio.Event()

    @tool(effect="read")
    async def together() -> None:
        await release.wait()

    @tool(effect="read", is_exclusive=True)
    async def alone() -> None: ...

    manager = ToolManager([together, alone])
    first = asyncio.ensure_future(manager.execute_tool(call("together"), context))
    await asyncio.sleep(0)
    waiting = asyncio.ensure_future(manager.execute_tool(call("alone"), context))
    await asyncio.sleep(0)
    last = asyncio.ensure_future(manager.execute_tool(call("together"), context))
    await asyncio.sleep(0)
    waiting.cancel()
    release.set()
    async with asyncio.timeout(60):
        assert not (await first).failed
        assert not (await last).failed


def test_errors_are_tool_errors() -> None:
    """Everything typed that a call can raise is a ToolError."""
    assert issubclass(ToolTimeoutError, ToolError)

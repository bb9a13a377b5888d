"""LangChain's tools, given to Palaver as they are."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest

pytest.importorskip("langchain_core")
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import (
    BaseTool,
    InjectedToolArg,
    InjectedToolCallId,
    StructuredTool,
    Tool,
    ToolException,
    tool,
)
from pydantic import BaseModel, Field

import palaver
from palaver.domain.errors import ToolArgumentsError, ToolExecutionError
from palaver.domain.ids import BlobId, CallId, ConversationId, TurnId
from palaver.domain.messages import Image, Text, ToolCall
from palaver.domain.values import Effect, Scope
from palaver.testing import Call, ScriptedModel
from palaver.tools.definition import ExecutionContext
from palaver.tools.langchain import adopted, is_langchain_tool
from palaver.tools.manager import ToolManager
from tests.tools.conftest import Waits


class Place(BaseModel):
    """Where."""

    city: str = Field(description="its name")
    days: int = 1


@tool(args_schema=Place)
async def weather(city: str, days: int = 1) -> str:
    """Weather in a city."""
    return f"{days} days of sun in {city}"


@tool
def blocking(text: str, config: RunnableConfig) -> str:
    """Says in which thread it runs."""
    return f"{text} in {threading.current_thread().name}"


@tool(response_format="content_and_artifact")
async def shots(n: int) -> tuple[list[Any], dict[str, int]]:
    """A picture and something for programs."""
    picture = {"type": "image", "base64": "iVBORw0KGgo=", "mime_type": "image/png"}
    return ["here:", picture, {"type": "json", "json": [n]}], {"n": n}


@tool
async def failing(how: str) -> str:
    """Fails."""
    raise ToolException(f"no {how}")


@tool
async def hidden(
    text: str,
    call: Annotated[str, InjectedToolCallId],
    secret: Annotated[str, InjectedToolArg] = "s",
) -> str:
    """Has parameters that no model sees."""
    return f"{text} {call} {secret}"


class Counter(BaseTool):
    """A tool as a class."""

    name: str = "count"
    description: str = "Counts."

    def _run(self, upto: int) -> list[int]:
        return list(range(upto))


def plain(text: str) -> str:
    """Upper case."""
    return text.upper()


kept: list[bytes] = []


async def keep(data: bytes) -> BlobId:
    kept.append(data)
    return BlobId("sha256:0")


def silent(text: str, fraction: float | None) -> None:
    """Shows nothing."""


def context() -> ExecutionContext:
    return ExecutionContext(
        scope=Scope(),
        conversation=ConversationId("conv_1"),
        turn=TurnId("turn_1"),
        call_id=CallId("call_1"),
        history=(),
        clock=Waits(),
        progress=silent,
        keep=keep,
    )


async def run(given: Any, **arguments: Any) -> Any:
    manager = ToolManager([given])
    (definition,) = manager.specs()
    return await manager.run(definition.name, arguments, context())


def test_recognised_without_import() -> None:
    """Tools are told by their classes; nothing else is taken for one."""
    assert is_langchain_tool(weather)
    assert is_langchain_tool(Counter())
    assert not is_langchain_tool(plain)
    assert not is_langchain_tool(palaver.tool(plain))


async def test_definition() -> None:
    """Name, description and schema are what LangChain tells a model; unknown effects ask."""
    made = adopted(weather).definition
    assert (made.name, made.description) == ("weather", "Weather in a city.")
    assert made.parameters_schema["properties"]["city"] == {
        "type": "string",
        "description": "its name",
    }
    assert made.parameters_schema["required"] == ["city"]
    assert made.effect is Effect.EFFECT
    assert adopted(weather, Effect.READ).definition.effect is Effect.READ


@pytest.mark.parametrize(
    "said, effect",
    [("read", Effect.READ), ("idempotent", Effect.IDEMPOTENT), ("else", Effect.EFFECT)],
)
async def test_effect_from_metadata(said: str, effect: Effect) -> None:
    """`metadata={"effect": …}` says what a tool does; an unknown word counts as `effect`."""
    made = StructuredTool.from_function(plain, metadata={"effect": said})
    assert adopted(made).definition.effect is effect


async def test_async_tool() -> None:
    """The coroutine is awaited in the loop, with defaults filled in."""
    assert (await run(weather, city="Oslo")).text == "1 days of sun in Oslo"


async def test_blocking_tool() -> None:
    """A tool that blocks runs in a thread of Palaver's; its config parameter is hidden."""
    assert "config" not in adopted(blocking).definition.parameters_schema["properties"]
    assert (await run(blocking, text="hi")).text.startswith("hi in palaver-tool")


async def test_tool_class() -> None:
    """A subclass of BaseTool works like a function; its value becomes JSON."""
    assert (await run(Counter(), upto=3)).text.replace(" ", "") == "[0,1,2]"


async def test_single_input_tool() -> None:
    """The oldest kind of tool takes one text."""
    made = Tool(name="Upper case!", func=plain, description="Upper case.")
    manager = ToolManager([made])
    (definition,) = manager.specs()
    assert definition.name == "Upper_case_"
    (parameter,) = definition.parameters_schema["properties"]
    result = await manager.run("Upper_case_", {parameter: "ab"}, context())
    assert result.text == "AB"


async def test_schema_as_json() -> None:
    """A JSON Schema as `args_schema`, as MCP adapters give it, is taken as it stands."""
    schema = {"type": "object", "properties": {"text": {"type": "string", "maxLength": 3}}}
    made = StructuredTool.from_function(plain, args_schema=schema)
    assert adopted(made).definition.parameters_schema["properties"] == schema["properties"]
    assert (await run(made, text="ab")).text == "AB"
    with pytest.raises(ToolArgumentsError):
        await run(made, text="abcd")


async def test_content_and_artifact() -> None:
    """The content goes to the model, its picture to the blob store; the artifact is dropped."""
    kept.clear()
    result = await run(shots, n=1)
    assert result.content[0] == Text("here:")
    assert isinstance(result.content[1], Image)
    assert kept == [b"\x89PNG\r\n\x1a\n"]
    assert result.text == 'here:{"type":"json","json":[1]}'


async def test_failures() -> None:
    """A ToolException is a failed result with its text; `handle_tool_error` gives its own."""
    with pytest.raises(ToolExecutionError, match="no luck"):
        await run(failing, how="luck")
    polite = failing.model_copy(update={"handle_tool_error": "Sorry."})
    manager = ToolManager([polite])
    call = ToolCall(CallId("c"), "failing", '{"how":"x"}')
    result = await manager.execute_tool(call, context())
    assert result.failed
    assert result.text == "Sorry."


async def test_injected_parameters() -> None:
    """They are hidden from the model; the call's id is filled in."""
    assert list(adopted(hidden).definition.parameters_schema["properties"]) == ["text"]
    assert (await run(hidden, text="a")).text.startswith("a ")


async def test_cancelled() -> None:
    """Cancelling a call cancels the coroutine."""
    began, ended = asyncio.Event(), asyncio.Event()

    @tool
    async def forever() -> str:
        """Never ends."""
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return ""

    task = asyncio.create_task(run(forever))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


@pytest.fixture
async def manager() -> AsyncIterator[Any]:
    told = weather.model_copy(update={"metadata": {"effect": "read"}})
    model = ScriptedModel([Call("weather", {"city": "Oslo"}), "Sunny."])
    async with palaver.open(":memory:", model=model, tools=[told]) as manager:
        yield manager


async def test_in_a_conversation(manager: Any) -> None:
    """`palaver.open(tools=[…])` takes a LangChain tool like any other."""
    conversation = await manager.create()
    reply = await conversation.say("weather?")
    assert reply.text.endswith("Sunny.")
    assert reply.tools[0].result.text == "1 days of sun in Oslo"

"""What works for a conversation without any provider."""

from typing import Any

import pytest

from palaver import ToolNotFoundError, tool
from palaver.domain.errors import ConnectionFailed, ToolArgumentsError
from palaver.testing import Call, Fail, ScriptedModel
from palaver.tools.definition import Tool, ToolDefinition, ToolExecutionType
from tests.service.conftest import Opened


@tool(effect="read")
async def harvest(year: int) -> str:
    """How many tons were harvested in a year."""
    return f"{year}: {year % 100} tons"


def model(*turns: Any) -> ScriptedModel:
    return ScriptedModel([*turns, Fail(ConnectionFailed("refused"))], name="a:1")


async def test_local_tools_run_without_a_model(opened: Opened) -> None:
    """By their names, with checked arguments; those of other machines are not among them."""
    remote = ToolDefinition(
        name="elsewhere",
        description="Runs elsewhere.",
        parameters_schema={"type": "object", "properties": {}},
        execution_type=ToolExecutionType.REMOTE,
    )
    manager = await opened(model(), tools=[harvest, Tool(remote)])
    conversation = await manager.create()
    offline = conversation.offline
    assert "harvest" in {d.name for d in offline.tools}
    assert "elsewhere" not in {d.name for d in offline.tools}
    assert (await offline.run_tool("harvest", {"year": 1987})).text == "1987: 87 tons"
    with pytest.raises(ToolArgumentsError):
        await offline.run_tool("harvest", {"year": "long ago"})
    with pytest.raises(ToolNotFoundError):
        await offline.run_tool("elsewhere", {})
    assert not conversation.messages


async def test_an_earlier_answer_can_be_looked_up(opened: Opened) -> None:
    """What the same message would be answered with, without saying it."""
    conversation = await (await opened(model("Paris.", "Madrid."))).create()
    await conversation.say("Capital of France?")
    await conversation.say("And of Spain?")
    assert await conversation.offline.cached("And of Spain?") is None
    await conversation.undo()
    found = await conversation.offline.cached("And of Spain?")
    assert found is not None
    assert found.text == "Madrid."
    assert len(conversation.messages) == 2


async def test_a_conversation_is_analysed_without_a_model(opened: Opened) -> None:
    """Search, an extractive summary within its size, a topic map, statistics."""
    look = Call("harvest", {"year": 1987})
    about = "The harvest of 1987 was 87 tons of rye. " + "It rained a lot that year. " * 200
    chosen = model([look], about, "The Alps have many glaciers, such as the Aletsch glacier.")
    manager = await opened(chosen, tools=[harvest])
    conversation = await manager.create()
    await conversation.say("How was the harvest of 1987?")
    await conversation.say("Tell me about glaciers in the Alps.")
    offline = conversation.offline
    (hit,) = await offline.search("Aletsch")
    assert hit.conversation == conversation.id
    summary = await offline.summary(tokens=300)
    assert "harvest of 1987" in summary
    assert "glaciers in the Alps" in summary
    assert len(summary) < len(about) / 2
    assert (await offline.topics())[0].startswith("m1")
    counted = await offline.statistics()
    assert counted.messages == {"user": 2, "assistant": 3, "tool": 1}
    assert (counted.tool_requests, counted.tools) == (1, {"harvest": 1})
    assert counted.tokens > 1_000


async def test_of_an_empty_conversation_there_is_nothing(opened: Opened) -> None:
    """No error either."""
    offline = (await (await opened(model())).create()).offline
    assert await offline.summary() == ""
    assert await offline.topics() == []
    assert (await offline.statistics()).tokens == 0

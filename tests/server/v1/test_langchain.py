"""ChatOpenAI of LangChain against the server, as it is: over both of OpenAI's APIs."""

from typing import Any

import pytest

from palaver.testing import Call, Say, ScriptedModel
from tests.server.v1.conftest import Connected, Connecting

langchain_openai = pytest.importorskip("langchain_openai")
messages = pytest.importorskip("langchain_core.messages")
tools = pytest.importorskip("langchain_core.tools")


def _weather(city: str) -> str:
    """Weather in a city."""
    return f"rain in {city}"


weather = tools.tool("weather")(_weather)


TURNS: list[Any] = [
    [Say("Let me look."), Call("weather", {"city": "Oslo"})],
    "Rain in Oslo.",
]


def chat(to: Connected, **more: Any) -> Any:
    return langchain_openai.ChatOpenAI(
        base_url=to.url, api_key="none", model="default", max_retries=0, **more
    )


@pytest.mark.parametrize("api", [{}, {"use_responses_api": True}], ids=["chat", "responses"])
async def test_a_loop_over_tools(connected: Connecting, api: dict[str, Any]) -> None:
    """Bound tools are called, and their results lead to the answer."""
    model = ScriptedModel(TURNS)
    bound = chat(await connected(model), **api).bind_tools([weather])
    said: list[Any] = [messages.SystemMessage("Be short."), messages.HumanMessage("Oslo?")]
    first = await bound.ainvoke(said)
    assert first.text == "Let me look."
    (call,) = first.tool_calls
    assert (call["name"], call["args"]) == ("weather", {"city": "Oslo"})
    said += [first, await weather.ainvoke(call)]
    answer = await bound.ainvoke(said)
    assert answer.text == "Rain in Oslo."
    assert model.requests[1].messages[-1].tool_results[0].text == "rain in Oslo"
    assert model.requests[1].system == "Be short."
    assert answer.usage_metadata["output_tokens"] > 0
    assert not model.problems


@pytest.mark.parametrize("api", [{}, {"use_responses_api": True}], ids=["chat", "responses"])
async def test_streaming(connected: Connecting, api: dict[str, Any]) -> None:
    """Chunks add up to the message, calls and usage included."""
    model = ScriptedModel(TURNS)
    bound = chat(await connected(model), stream_usage=True, **api).bind_tools([weather])
    said: list[Any] = [messages.HumanMessage("Oslo?")]
    whole: Any = None
    async for chunk in bound.astream(said):
        whole = chunk if whole is None else whole + chunk
    assert whole.text == "Let me look."
    assert [c["args"] for c in whole.tool_calls] == [{"city": "Oslo"}]
    assert whole.usage_metadata["input_tokens"] > 0
    said += [whole, await weather.ainvoke(whole.tool_calls[0])]
    pieces = [chunk.text async for chunk in bound.astream(said)]
    assert "".join(pieces) == "Rain in Oslo."
    assert not model.problems


async def test_a_kept_conversation(connected: Connecting) -> None:
    """The client sends its whole history each time; what is kept is said once."""
    to = await connected(ScriptedModel([*TURNS, "Bye."]))
    id = await to.served.conversation()
    named = chat(to, default_headers={"x-palaver-conversation": id})
    bound = named.bind_tools([weather])
    said: list[Any] = [messages.HumanMessage("Oslo?")]
    first = await bound.ainvoke(said)
    said += [first, await weather.ainvoke(first.tool_calls[0])]
    said += [await bound.ainvoke(said), messages.HumanMessage("Bye")]
    assert (await bound.ainvoke(said)).text == "Bye."
    async with to.server.tenants.use("local") as manager:
        opened = await manager.open(id)
        assert [m.text for m in opened.messages] == [
            "Oslo?", "Let me look.", "", "Rain in Oslo.", "Bye", "Bye.",
        ]  # fmt: skip
        assert len(opened.branches()) == 1

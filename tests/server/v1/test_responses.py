"""Responses and conversations, through the `openai` SDK as it is."""

import asyncio
from pathlib import Path
from typing import Any

import pydantic
import pytest

from palaver import tool
from palaver.domain.errors import RateLimited
from palaver.domain.ids import TurnId
from palaver.domain.messages import StopReason
from palaver.domain.values import Scope, Usage
from palaver.environment import Environment
from palaver.server.core import Server
from palaver.server.run import listening, open_server
from palaver.settings import RetrySettings, ServerSettings, Settings
from palaver.testing import Call, Cut, Decline, Pause, Report, Say, ScriptedModel, Stop, Think
from tests.server.v1.conftest import Connected, Connecting

openai = pytest.importorskip("openai")

WEATHER: dict[str, Any] = {
    "type": "function",
    "name": "weather",
    "description": "Weather in a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": False,
}
TURNS: list[Any] = [
    [Think("hm"), Say("Let me look."), Call("weather", {"city": "Oslo"})],
    "Rain in Oslo.",
]
types = pytest.importorskip("openai.types.responses")
_event: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(types.ResponseStreamEvent)


def checked(event: Any) -> Any:
    """The event, which must be one of the SDK's types, strictly."""
    _event.validate_python(event.to_dict(), strict=True)
    return event


async def respond(to: Connected, said: Any, **more: Any) -> Any:
    return await to.client.responses.create(model="default", input=said, **more)


async def followed(stream: Any) -> list[Any]:
    events = [checked(event) async for event in stream]
    numbers = [event.sequence_number for event in events]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    return events


def outputs(response: Any) -> list[dict[str, Any]]:
    return [
        {"type": "function_call_output", "call_id": item.call_id, "output": "rain"}
        for item in response.output
        if item.type == "function_call"
    ]


async def test_a_response(connected: Connecting) -> None:
    """With output, usage, and what was asked for; it can be retrieved, with its input."""
    usage = Usage(input=5, output=3, reasoning=1)
    model = ScriptedModel([[Think("hm"), Say("391."), Report(usage)]])
    to = await connected(model)
    made = await respond(
        to,
        "17 * 23?",
        instructions="Be short.",
        temperature=0.5,
        max_output_tokens=50,
        reasoning={"effort": "low"},
        metadata={"a": "b"},
    )
    types.Response.model_validate(made.to_dict(), strict=True)
    assert (made.output_text, made.status, made.model) == ("391.", "completed", "scripted:model")
    assert (made.instructions, made.temperature, made.metadata) == ("Be short.", 0.5, {"a": "b"})
    assert (made.usage.input_tokens, made.usage.output_tokens_details.reasoning_tokens) == (5, 1)
    assert [item.type for item in made.output] == ["reasoning", "message"]
    assert await to.client.responses.retrieve(made.id) == made
    items = [item async for item in to.client.responses.input_items.list(made.id)]
    assert [item.content[0].text for item in items] == ["17 * 23?"]
    settings = model.requests[0].settings
    assert (settings.temperature, settings.max_tokens, settings.reasoning) == (0.5, 50, "low")


async def test_a_response_is_streamed(connected: Connecting) -> None:
    """In OpenAI's events, which are the same when they are read again, from any number on."""
    to = await connected(ScriptedModel(TURNS))
    stream = await respond(to, "Oslo?", tools=[WEATHER], stream=True)
    events = await followed(stream)
    names = [event.type.removeprefix("response.") for event in events]
    assert [name for i, name in enumerate(names) if i == 0 or names[i - 1] != name] == [
        "created",
        "in_progress",
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    final = events[-1].response
    assert final.output_text == "Let me look."
    assert "".join(e.delta for e in events if e.type.endswith("output_text.delta")) == (
        final.output_text
    )
    assert await to.client.responses.retrieve(final.id) == final
    for behind in range(-1, len(events)):
        again = await to.client.responses.retrieve(final.id, stream=True, starting_after=behind)
        assert [event async for event in again] == events[behind + 1 :]


async def test_a_loop_over_tools(connected: Connecting) -> None:
    """The results lead to the next response of the same turn, which has an id and a sequence of its
    own; both can be read again."""
    model = ScriptedModel([*TURNS, "Welcome."])
    to = await connected(model)
    first = await respond(to, "Oslo?", tools=[WEATHER], metadata={"n": "1"})
    (call,) = (item for item in first.output if item.type == "function_call")
    assert (call.name, call.arguments) == ("weather", '{"city":"Oslo"}')
    stream = await respond(
        to, outputs(first), previous_response_id=first.id, tools=[WEATHER], stream=True
    )
    events = await followed(stream)
    second = events[-1].response
    assert (second.output_text, second.previous_response_id) == ("Rain in Oslo.", first.id)
    assert events[0].sequence_number == 0
    assert second.id != first.id
    third = await respond(to, "Thanks!", previous_response_id=second.id)
    assert third.output_text == "Welcome."
    assert [m.text for m in model.requests[2].messages] == [
        "Oslo?", "Let me look.", "", "Rain in Oslo.", "Thanks!",
    ]  # fmt: skip
    assert await to.client.responses.retrieve(first.id) == first
    assert await to.client.responses.retrieve(second.id) == second
    again = await to.client.responses.retrieve(second.id, stream=True, starting_after=2)
    assert [event async for event in again] == events[3:]
    assert not model.problems


@tool(effect="read")
async def ours(city: str) -> str:
    """A tool of the server."""
    return city


async def test_facts_and_events_tell_the_same(connected: Connecting) -> None:
    """What a response came to is the same from the log as in its last event: with calls of tools
    that were not offered, several messages, thinking between them, a refusal, a limit."""
    turns: list[Any] = [
        [Think("a"), Say("One. "), Call("ours", {"city": "x"})],
        [Say("Two. "), Think("b"), Say("Three."), Call("weather", '{"city": '), Call("weather")],
        [Call("ours", {"city": "y"})],
        [Think("only"), Decline("I will not.")],
        [Think("c"), Say("cut"), Stop(StopReason.CONTENT_FILTER)],
    ]
    model = ScriptedModel(turns, strict=False)
    to = await connected(model, tools=[ours])
    last: Any = None
    said: Any = "go"
    for end in ("completed", "completed", "incomplete"):
        before = {} if last is None else {"previous_response_id": last.id}
        stream = await respond(to, said, tools=[WEATHER], stream=True, **before)
        last = (await followed(stream))[-1].response
        assert last.status == end
        assert await to.client.responses.retrieve(last.id) == last
        said = outputs(last) or "on"
    assert len(model.requests) == 5


async def test_over_a_restart(tmp_path: Path) -> None:
    """A response in the background goes on in the next process; its client comes back there, and
    every event has one number."""
    environment = Environment(
        home=tmp_path,
        model="offline",
        settings=Settings(server=ServerSettings(port=0, drain_s=0.0)),
    )
    hang = asyncio.Event()
    turns: list[list[Any]] = [[[Say("The first half"), Pause(until=hang)]], [", and all."]]
    seen: list[Any] = []
    whole: Any = None
    for turn in turns:
        model = ScriptedModel(turn, strict=False)
        path = str(tmp_path / "a.db")
        async with (
            open_server(path, environment=environment, model=model) as server,
            listening(server) as address,
            openai.AsyncOpenAI(api_key="k", base_url=f"{address}/v1", max_retries=0) as client,
        ):
            if not seen:
                stream = await client.responses.create(
                    model="default", input="go", background=True, stream=True
                )
            else:
                stream = await client.responses.retrieve(
                    seen[0].response.id, stream=True, starting_after=seen[-1].sequence_number
                )
            async for event in stream:
                seen.append(checked(event))
                if turn is turns[0] and getattr(event, "delta", "").endswith("half"):
                    await durable(server, seen[0].response.id)
                    break
            await stream.close()
            whole = await client.responses.retrieve(seen[0].response.id)
    assert [event.sequence_number for event in seen] == list(range(len(seen)))
    assert seen[-1].type == "response.completed"
    assert whole == seen[-1].response
    deltas = (e.delta for e in seen if e.type == "response.output_text.delta")
    assert "".join(deltas) == whole.output_text
    assert whole.output_text.startswith("The first half")


async def durable(server: Server, response: str) -> None:
    """Return when the answer so far is on disk."""
    turn = TurnId(response.replace("resp_", "turn_"))
    async with asyncio.timeout(30):
        while True:
            rows = await server.parts.store.read_run(Scope(), turn)
            if b"half" in b"".join(row.body for row in rows):
                return
            await asyncio.sleep(0.01)


async def test_a_history_of_items(connected: Connecting) -> None:
    """A client may send everything back as input, and keep nothing here."""
    model = ScriptedModel(TURNS)
    to = await connected(model)
    said: list[Any] = [{"role": "user", "content": "Oslo?"}]
    first = await respond(to, said, tools=[WEATHER], store=False)
    assert (first.store, first.conversation) == (False, None)
    said += [*(item.to_dict() for item in first.output), *outputs(first)]
    second = await respond(to, said, tools=[WEATHER], store=False)
    assert second.output_text == "Rain in Oslo."
    assert not model.problems
    with pytest.raises(openai.NotFoundError):
        await to.client.responses.retrieve(second.id)


async def test_branches(connected: Connecting) -> None:
    """What goes on behind an older response is a branch; the newer ones are still there."""
    model = ScriptedModel(["one", "two", "other", TURNS[0], "fine", "rain"])
    to = await connected(model)
    one = await respond(to, "1")
    two = await respond(to, "2", previous_response_id=one.id)
    other = await respond(to, "3", previous_response_id=one.id)
    assert [m.text for m in model.requests[2].messages] == ["1", "one", "3"]
    assert (await to.client.responses.retrieve(two.id)).output_text == "two"
    # A turn that waits for results is given up, and taken up again elsewhere.
    asks = await respond(to, "4", previous_response_id=other.id, tools=[WEATHER])
    assert (await respond(to, "5", previous_response_id=asks.id)).output_text == "fine"
    late = await respond(to, outputs(asks), previous_response_id=asks.id, tools=[WEATHER])
    assert late.output_text == "rain"
    assert [m.text for m in model.requests[5].messages] == [
        "1", "one", "3", "other", "4", "Let me look.", "",
    ]  # fmt: skip
    assert model.requests[5].messages[-1].tool_results[0].text == "rain"
    memory = await connected(ScriptedModel(["kept", "not kept"]))
    kept = await respond(memory, "1")
    gone = await respond(memory, "2", previous_response_id=kept.id, store=False)
    assert (gone.output_text, gone.store) == ("not kept", False)
    assert not model.problems


async def test_in_the_background(connected: Connecting) -> None:
    """It goes on without its client, who comes back for the rest of the stream, or the whole."""
    gate = asyncio.Event()
    to = await connected(ScriptedModel([[Say("The first half"), Pause(until=gate), ", and all."]]))
    stream = await respond(to, "go", background=True, stream=True)
    seen: list[Any] = []
    async for event in stream:
        seen.append(checked(event))
        if event.type == "response.output_text.delta" and event.delta.endswith("half"):
            break
    await stream.close()
    id = seen[0].response.id
    waiting = await to.client.responses.retrieve(id)
    assert (waiting.status, waiting.background, waiting.output) == ("in_progress", True, [])
    resumed = await to.client.responses.retrieve(
        id, stream=True, starting_after=seen[-1].sequence_number
    )
    gate.set()
    rest = [checked(event) async for event in resumed]
    numbers = [event.sequence_number for event in (*seen, *rest)]
    assert numbers == list(range(len(numbers)))
    deltas = (e.delta for e in (*seen, *rest) if e.type == "response.output_text.delta")
    assert "".join(deltas) == "The first half, and all."
    assert rest[-1].response == await to.client.responses.retrieve(id)
    assert rest[-1].response.status == "completed"


async def test_cancelled(connected: Connecting) -> None:
    """A response in progress ends at once, with what it said; one that has ended stays."""
    hang = asyncio.Event()
    to = await connected(ScriptedModel([[Say("Begun"), Pause(until=hang)], "Done."]))
    begun = await respond(to, "go", background=True)
    assert begun.status == "in_progress"
    stream = await to.client.responses.retrieve(begun.id, stream=True)
    async for event in stream:
        if event.type == "response.output_text.delta":
            break
    cancelled = await to.client.responses.cancel(begun.id)
    assert (cancelled.status, cancelled.output_text) == ("cancelled", "Begun")
    last = [checked(event) async for event in stream][-1]
    assert (last.type, last.response.status) == ("response.incomplete", "cancelled")
    done = await respond(to, "more", previous_response_id=begun.id)
    assert (await to.client.responses.cancel(done.id)).status == "completed"


async def test_ends(connected: Connecting) -> None:
    """A limit is `incomplete`, a failure an error, or the last event of a stream."""
    limited = RateLimited("too much", retry_after_s=900.0)
    to = await connected(ScriptedModel([["cut", Stop(StopReason.MAX_TOKENS)], limited, limited]))
    cut = await respond(to, "go")
    assert (cut.status, cut.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    with pytest.raises(openai.RateLimitError) as caught:
        await respond(to, "go")
    assert caught.value.response.headers["x-should-retry"] == "false"
    events = await followed(await respond(to, "go", stream=True))
    assert events[-1].type == "response.failed"
    assert events[-1].response.error.code == "rate_limit_exceeded"


class City(pydantic.BaseModel):
    """A city."""

    name: str


async def test_structured_output(connected: Connecting) -> None:
    """A schema is asked of the model, and the SDK parses the answer."""
    model = ScriptedModel(['{"name":"Oslo"}'])
    to = await connected(model)
    parsed = await to.client.responses.parse(model="default", input="Oslo?", text_format=City)
    assert parsed.output_parsed == City(name="Oslo")
    assert model.requests[0].output is not None
    assert model.requests[0].output.name == "City"


async def test_the_sdks_own_accumulator(connected: Connecting) -> None:
    """It builds the same response out of the events, from the beginning and from the middle."""
    to = await connected(ScriptedModel([*TURNS, '{"name":"Oslo"}']))
    async with to.client.responses.stream(
        model="default", input="Oslo?", tools=[WEATHER]
    ) as stream:
        first = await stream.get_final_response()
    assert [item.type for item in first.output] == ["reasoning", "message", "function_call"]
    assert first.output[2].arguments == '{"city":"Oslo"}'
    async with to.client.responses.stream(response_id=first.id, starting_after=5) as stream:
        assert (await stream.get_final_response()).output_text == "Let me look."
    second = await respond(to, outputs(first), previous_response_id=first.id, tools=[WEATHER])
    async with to.client.responses.stream(
        model="default", input="As JSON.", previous_response_id=second.id, text_format=City
    ) as stream:
        third = await stream.get_final_response()
    assert third.output_parsed == City(name="Oslo")


async def test_conversations(connected: Connecting) -> None:
    """Are made with items, talked on in, listed page by page, changed and erased."""
    model = ScriptedModel([TURNS[0], "Rain."])
    to = await connected(model)
    api = to.client.conversations
    made = await api.create(
        metadata={"topic": "weather"},
        items=[
            {"type": "message", "role": "user", "content": "Hi"},
            {"type": "message", "role": "assistant", "content": "Hello."},
        ],
    )
    first = await respond(to, "Oslo?", conversation=made.id, tools=[WEATHER])
    assert first.conversation.id == made.id
    second = await respond(to, outputs(first), conversation={"id": made.id}, tools=[WEATHER])
    assert second.output_text == "Rain."
    items = [item async for item in api.items.list(made.id, limit=2, order="asc")]
    assert [item.type for item in items] == [
        "message", "message", "message", "reasoning", "message", "function_call",
        "function_call_output", "message",
    ]  # fmt: skip
    newest = [item async for item in api.items.list(made.id, limit=3)]
    assert [item.id for item in newest] == [item.id for item in reversed(items)]
    assert await api.items.retrieve(items[5].id, conversation_id=made.id) == items[5]
    added = await api.items.create(
        made.id, items=[{"type": "message", "role": "user", "content": "Later."}]
    )
    assert [item.content[0].text for item in added.data] == ["Later."]
    assert (await api.retrieve(made.id)).metadata == {"topic": "weather"}
    assert (await api.update(made.id, metadata={"a": "b"})).metadata == {"a": "b"}
    assert (await api.delete(made.id)).deleted
    with pytest.raises(openai.NotFoundError):
        await api.retrieve(made.id)
    with pytest.raises(openai.NotFoundError):
        await to.client.responses.retrieve(first.id)


async def test_deleted(connected: Connecting) -> None:
    """A response that stands alone is erased; one of a conversation is not, without its own."""
    to = await connected(ScriptedModel(["a", "b"]))
    one = await respond(to, "1")
    two = await respond(to, "2", previous_response_id=one.id)
    with pytest.raises(openai.ConflictError):
        await to.client.responses.delete(two.id)
    alone = await connected(ScriptedModel(["a"]))
    made = await respond(alone, "1")
    await alone.client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        await alone.client.responses.retrieve(made.id)


async def test_whose_it_is(connected: Connecting) -> None:
    """Responses of other tenants, and names that are none, do not exist."""
    to = await connected(ScriptedModel(["a"] * 2))
    made = await respond(to, "1")
    mine = (await to.served.key())["authorization"].partition(" ")[2]
    other = (await to.served.key(tenant="other"))["authorization"].partition(" ")[2]
    api = to.client.with_options(api_key=other).responses
    assert (await to.client.with_options(api_key=mine).responses.retrieve(made.id)).id == made.id
    for id in (made.id, f"{made.id}_2", "resp_0", "nothing"):
        for call in (api.retrieve, api.cancel, api.delete):
            with pytest.raises(openai.NotFoundError):
                await call(id)
    with pytest.raises(openai.NotFoundError):
        await api.create(model="default", input="x", previous_response_id=made.id)
    with pytest.raises(openai.NotFoundError):
        await to.client.with_options(api_key=mine).responses.retrieve(f"{made.id}_2")


@pytest.mark.parametrize(
    "wrong, param",
    [
        ({"previous_response_id": "resp_1", "conversation": "conv_1"}, "previous_response_id"),
        ({"background": True, "store": False}, "background"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"input": [{"type": "web_search_call"}]}, "input[0].type"),
        ({"input": [{"role": "assistant", "content": "b"}]}, "input"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format"),
        ({"top_p": 2}, "top_p"),
    ],
    ids=["both", "background", "prompt", "item", "nobody asks", "schema", "range"],
)
async def test_wrong_requests(connected: Connecting, wrong: dict[str, Any], param: str) -> None:
    """Are 400, and the parameter is named."""
    to = await connected(ScriptedModel())
    with pytest.raises(openai.BadRequestError) as caught:
        await respond(to, "hi", extra_body=wrong)
    assert caught.value.param == param


async def test_a_broken_stream_is_not_seen(connected: Connecting) -> None:
    """Where the model's stream breaks within a call and is made anew, clients are told one call,
    and the text once."""
    fast = Settings(retry=RetrySettings(network_base_s=0.01, network_cap_s=0.01))
    broken: list[Any] = [Say("Let me "), Call("weather", '{"ci', id="c1"), Cut()]
    anew: list[Any] = [Say("look."), Call("weather", {"city": "Oslo"}, id="c2")]
    model = ScriptedModel([broken, anew, broken, anew], strict=False)
    to = await connected(model, settings=fast)
    events = await followed(await respond(to, "Oslo?", tools=[WEATHER], stream=True))
    final = events[-1].response
    calls = [item.arguments for item in final.output if item.type == "function_call"]
    assert calls == ['{"city":"Oslo"}']
    deltas = (e.delta for e in events if e.type == "response.output_text.delta")
    assert "".join(deltas) == final.output_text
    assert await to.client.responses.retrieve(final.id) == final
    tool = {"type": "function", "function": {"name": "weather"}}
    async with to.client.chat.completions.stream(
        model="", messages=[{"role": "user", "content": "Oslo?"}], tools=[tool]
    ) as stream:
        (choice,) = (await stream.get_final_completion()).choices
    assert [c.function.arguments for c in choice.message.tool_calls] == ['{"city":"Oslo"}']
    assert choice.message.content == final.output_text

"""Clients that run their own tools, and conversations that are kept, through the `openai` SDK."""

import asyncio
from typing import Any

import pydantic
import pytest

from palaver import tool
from palaver.domain.errors import RateLimited
from palaver.domain.messages import Role
from palaver.testing import Call, Pause, Say, ScriptedModel, Think
from tests.server.v1.conftest import Connected, Connecting

openai = pytest.importorskip("openai")

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
TURNS: list[Any] = [
    [Say("Let me look."), Call("weather", {"city": "Oslo"}), Call("weather", {"city": "Rome"})],
    "Rain in Oslo, sun in Rome.",
]
KEEP = {"x-palaver-conversation": "new"}


@tool(effect="read")
async def ours(city: str) -> str:
    """A tool of the server."""
    return city


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def results_of(message: Any) -> list[dict[str, Any]]:
    return [
        {"role": "tool", "tool_call_id": call.id, "content": f"fine in {call.function.arguments}"}
        for call in message.tool_calls
    ]


async def ask(to: Connected, messages: list[Any], **more: Any) -> Any:
    return await to.client.chat.completions.create(
        model="default", messages=messages, tools=[WEATHER], **more
    )


async def test_a_loop_over_tools(connected: Connecting) -> None:
    """The model gets the client's tools and none of the server's; the calls come back to the
    client, its results go to the model, and nothing is kept."""
    model = ScriptedModel(TURNS)
    to = await connected(model, tools=[ours])
    messages: list[Any] = [{"role": "system", "content": "Be short."}, user("Oslo and Rome?")]
    first = await ask(to, messages, tool_choice="auto", parallel_tool_calls=True)
    (choice,) = first.choices
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", "Let me look.")
    assert [c.function.arguments for c in choice.message.tool_calls] == [
        '{"city":"Oslo"}', '{"city":"Rome"}',
    ]  # fmt: skip
    messages += [choice.message, *results_of(choice.message)]
    second = await ask(to, messages)
    assert second.choices[0].message.content == "Rain in Oslo, sun in Rome."
    assert [[t.name for t in r.tools] for r in model.requests] == [["weather"]] * 2
    assert model.requests[1].system == "Be short."
    assert "fine in" in model.requests[1].messages[2].tool_results[0].text
    assert not model.problems
    async with to.server.tenants.use("local") as manager:
        assert (await manager.list()).items == ()


async def test_a_loop_over_tools_streamed(connected: Connecting) -> None:
    """The SDK's own accumulator finds the same calls in the chunks."""
    to = await connected(ScriptedModel([[Think("hm"), *TURNS[0]], TURNS[1]]))
    messages: list[Any] = [user("Oslo and Rome?")]
    async with to.client.chat.completions.stream(
        model="default", messages=messages, tools=[WEATHER]
    ) as stream:
        done = await stream.get_final_completion()
    (choice,) = done.choices
    assert choice.finish_reason == "tool_calls"
    calls = [
        call.model_dump(exclude={"function": {"parsed_arguments"}})
        for call in choice.message.tool_calls
    ]
    assert [c["function"]["arguments"] for c in calls] == ['{"city":"Oslo"}', '{"city":"Rome"}']
    answer = {"role": "assistant", "content": None, "tool_calls": calls}
    messages += [answer, *results_of(choice.message)]
    assert (await ask(to, messages)).choices[0].message.content == TURNS[1]


class City(pydantic.BaseModel):
    """A city."""

    name: str
    people: int


async def test_structured_output(connected: Connecting) -> None:
    """A schema is asked of the model, and the SDK parses the answer."""
    model = ScriptedModel(['{"name":"Oslo","people":700000}', '{"any":1}'])
    to = await connected(model)
    parsed = await to.client.chat.completions.parse(
        model="default", messages=[user("Oslo?")], response_format=City
    )
    assert parsed.choices[0].message.parsed == City(name="Oslo", people=700_000)
    assert model.requests[0].output is not None
    assert model.requests[0].output.schema["required"] == ["name", "people"]
    await to.client.chat.completions.create(
        model="", messages=[user("any")], response_format={"type": "json_object"}
    )
    assert model.requests[1].output is not None
    assert model.requests[1].output.schema == {"type": "object"}


async def test_settings_reach_the_model(connected: Connecting) -> None:
    """Of each request; what the next one does not say is the provider's default again."""
    model = ScriptedModel(["a", "b"])
    to = await connected(model)
    told = await to.client.chat.completions.with_raw_response.create(
        model="",
        messages=[user("hi")],
        temperature=0.5,
        top_p=0.9,
        max_completion_tokens=7,
        stop="END",
        seed=3,
        reasoning_effort="minimal",
        tools=[WEATHER],
        tool_choice={"type": "function", "function": {"name": "weather"}},
        extra_headers=KEEP,
        extra_body={"frequency_penalty": 1, "wholly": "unknown"},
    )
    id = told.headers["x-palaver-conversation"]
    settings = model.requests[0].settings
    assert (settings.temperature, settings.top_p, settings.max_tokens) == (0.5, 0.9, 7)
    assert (settings.stop, settings.seed, settings.reasoning) == (("END",), 3, "low")
    assert settings.tool_choice == "weather"
    await ask(to, [user("on")], extra_headers={"x-palaver-conversation": id})
    assert model.requests[1].settings.temperature is None
    assert model.requests[1].settings.tool_choice == ""


# Conversations that are kept.


async def messages_of(to: Connected, id: str) -> list[tuple[Role, str]]:
    async with to.server.tenants.use("local") as manager:
        opened = await manager.open(id)
        return [(m.role, m.text) for m in opened.messages]


async def test_only_what_is_new(connected: Connecting) -> None:
    """A named conversation is kept: the client sends what is new, results of its tools too."""
    model = ScriptedModel([*TURNS, "You are welcome."])
    to = await connected(model)
    first = await to.client.chat.completions.with_raw_response.create(
        model="", messages=[user("Oslo and Rome?")], tools=[WEATHER], extra_headers=KEEP
    )
    id = first.headers["x-palaver-conversation"]
    message = first.parse().choices[0].message
    named = {"x-palaver-conversation": id}
    second = await ask(to, results_of(message), extra_headers=named)
    assert second.choices[0].message.content == TURNS[1]
    third = await to.client.chat.completions.create(
        model="", messages=[user("Thanks!")], metadata={"conversation_id": id}
    )
    assert third.choices[0].message.content == "You are welcome."
    assert [text for _, text in await messages_of(to, id)] == [
        "Oslo and Rome?", "Let me look.", "", TURNS[1], "Thanks!", "You are welcome.",
    ]  # fmt: skip
    assert first.parse().id != second.id
    assert second.id.startswith(first.parse().id)


async def test_the_whole_history_again(connected: Connecting) -> None:
    """A client that sends all of it is matched: nothing is stored twice, and what it says otherwise
    becomes a branch."""
    model = ScriptedModel([*TURNS, "Bye.", "Other."])
    to = await connected(model)
    messages: list[Any] = [user("Oslo and Rome?")]
    raw = await to.client.chat.completions.with_raw_response.create(
        model="", messages=messages, tools=[WEATHER], extra_headers=KEEP
    )
    id = raw.headers["x-palaver-conversation"]
    named = {"extra_headers": {"x-palaver-conversation": id}}
    message = raw.parse().choices[0].message
    messages += [message, *results_of(message)]
    answer = (await ask(to, messages, **named)).choices[0].message
    messages += [answer, user("bye")]
    assert (await ask(to, messages, **named)).choices[0].message.content == "Bye."
    assert len(await messages_of(to, id)) == 6
    messages[-1] = user("something else")
    assert (await ask(to, messages, **named)).choices[0].message.content == "Other."
    assert [text for _, text in await messages_of(to, id)][-3:] == [
        TURNS[1], "something else", "Other.",
    ]  # fmt: skip
    async with to.server.tenants.use("local") as manager:
        assert len((await manager.open(id)).branches()) == 2
    assert not model.problems


async def test_a_client_that_goes_another_way(connected: Connecting) -> None:
    """A turn that waits for results is given up when its client says something else."""
    model = ScriptedModel([TURNS[0], "Fine.", TURNS[0], "Another."])
    to = await connected(model)
    raw = await to.client.chat.completions.with_raw_response.create(
        model="", messages=[user("Oslo?")], tools=[WEATHER], extra_headers=KEEP
    )
    named = {"x-palaver-conversation": raw.headers["x-palaver-conversation"]}
    assert (await ask(to, [user("never mind")], extra_headers=named)).choices[
        0
    ].message.content == "Fine."
    assert (await ask(to, [user("Oslo?")], extra_headers=named)).choices[0].message.tool_calls
    history = [user("Hi"), {"role": "assistant", "content": "Hello."}, user("Rome?")]
    answer = await ask(to, history, extra_headers=named)
    assert answer.choices[0].message.content == "Another."
    assert not model.problems


async def test_names_of_conversations(connected: Connecting) -> None:
    """`store` keeps one, too; an unknown one is 404, and so is another tenant's."""
    to = await connected(ScriptedModel(["a", "b"]))
    raw = await to.client.chat.completions.with_raw_response.create(
        model="", messages=[user("hi")], store=True
    )
    assert raw.headers["x-palaver-conversation"].startswith("conv_")
    theirs = await to.served.conversation(tenant="other")
    for name in ("conv_0123", theirs, "no id at all"):
        with pytest.raises(openai.NotFoundError):
            await ask(to, [user("hi")], extra_headers={"x-palaver-conversation": name})


async def test_a_busy_conversation(connected: Connecting) -> None:
    """While a turn runs another request is 409, which clients try again; nothing is changed."""
    gate = asyncio.Event()
    to = await connected(ScriptedModel([[Say("Long"), Pause(until=gate)], "Then."]))
    stream = await ask(to, [user("hi")], stream=True, extra_headers=KEEP)
    await anext(aiter(stream))
    named = {"x-palaver-conversation": stream.response.headers["x-palaver-conversation"]}
    with pytest.raises(openai.ConflictError):
        await ask(to, [user("more")], temperature=0.3, extra_headers=named)
    gate.set()
    assert [chunk async for chunk in stream]
    assert (await ask(to, [user("more")], extra_headers=named)).choices[0].message.content


async def test_a_dropped_request_is_cancelled(connected: Connecting) -> None:
    """Nobody can come back for an answer that is not kept; one that is kept goes on."""
    hang = asyncio.Event()
    model = ScriptedModel([[Say("Begun"), Pause(until=hang)]] * 3)
    to = await connected(model)
    stream = await ask(to, [user("hi")], stream=True)
    await anext(aiter(stream))
    await stream.close()
    await until(lambda: model.streams[0].is_closed)
    whole = asyncio.ensure_future(ask(to, [user("hi")]))
    await until(lambda: len(model.requests) == 2)
    whole.cancel()
    await until(lambda: model.streams[1].is_closed)
    kept = await ask(to, [user("hi")], stream=True, extra_headers=KEEP)
    await anext(aiter(kept))
    await kept.close()
    hang.set()
    id = kept.response.headers["x-palaver-conversation"]
    async with to.server.tenants.use("local") as manager:
        opened = await manager.open(id)
        await until(lambda: opened.state.turn is None)
        assert opened.messages[-1].text == "Begun"


async def until(is_so: Any) -> None:
    async with asyncio.timeout(30):
        while not is_so():  # noqa: ASYNC110 - it is told by nobody
            await asyncio.sleep(0.01)


async def test_wrong_histories(connected: Connecting) -> None:
    """A call without its result, a result without its call, an answer at the end: 400, with the
    place."""
    to = await connected(ScriptedModel())
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    asked = {"role": "assistant", "tool_calls": [call]}
    result = {"role": "tool", "tool_call_id": "c9", "content": "x"}
    wrong: list[tuple[list[Any], str]] = [
        ([user("a"), asked, user("b")], "messages[2]"),
        ([user("a"), asked], "messages"),
        ([user("a"), asked, result], "messages[2].tool_call_id"),
        ([result], "messages[0].tool_call_id"),
        ([user("a"), {"role": "assistant", "content": "b"}], "messages"),
        ([{"role": "system", "content": "b"}], "messages"),
    ]
    for messages, param in wrong:
        with pytest.raises(openai.BadRequestError) as caught:
            await ask(to, messages)
        assert caught.value.param == param


PICTURE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGA"
    "WjR9awAAAABJRU5ErkJggg=="
)


async def test_pictures(connected: Connecting) -> None:
    """Come as data URLs; an address is refused, and never fetched."""
    model = ScriptedModel(["a dot"])
    to = await connected(model)

    def look(url: str) -> Any:
        part = {"type": "image_url", "image_url": {"url": url}}
        return ask(to, [{"role": "user", "content": [{"type": "text", "text": "see"}, part]}])

    assert (await look(PICTURE)).choices[0].message.content == "a dot"
    (_, picture) = model.requests[0].messages[0].content
    assert (picture.media_type, picture.width) == ("image/png", 1)  # type: ignore[union-attr]
    for url in (
        "http://169.254.169.254/x.png",
        "file:///etc/passwd",
        "data:text/plain;base64,aGk=",
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            await look(url)
        assert caught.value.param == "messages[0].content[1].image_url.url"


async def test_who_chooses_the_model(connected: Connecting) -> None:
    """A client that names none leaves it to the conversation."""
    to = await connected(ScriptedModel(["by the server's"]))
    async with to.server.tenants.use("local") as manager:
        id = (await manager.create(model="offline")).id
    named = {"x-palaver-conversation": id}
    assert (await ask(to, [user("hi")], extra_headers=named)).model == "offline"
    answer = await to.client.chat.completions.create(
        model="scripted:model", messages=[user("hi")], extra_headers=named
    )
    assert answer.choices[0].message.content == "by the server's"


async def test_a_request_that_is_sent_again(connected: Connecting) -> None:
    """With its key it is answered once, also by calls; a message whose turn failed is not said
    twice."""
    limited = RateLimited("too much", retry_after_s=900.0)
    model = ScriptedModel(["one", TURNS[0], limited, "two"])
    to = await connected(model)
    id = await to.served.conversation()
    named = {"x-palaver-conversation": id}
    for key in ("k1", "k2"):
        named["idempotency-key"] = key
        first = await ask(to, [user("hi")], extra_headers=named)
        again = await ask(to, [user("hi")], extra_headers=named)
        assert (again.id, again.choices) == (first.id, first.choices)
    del named["idempotency-key"]
    with pytest.raises(openai.RateLimitError) as caught:
        await ask(to, [user("more")], extra_headers=named)
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert (await ask(to, [user("more")], extra_headers=named)).choices[0].message.content == "two"
    assert [text for _, text in await messages_of(to, id)] == [
        "hi", "one", "hi", "Let me look.", "", "more", "two",
    ]  # fmt: skip

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import palaver
from palaver import (
    Conversation,
    ConversationBusy,
    InvalidInput,
    NotFound,
    StopReason,
    TextDelta,
    TurnSuspended,
    tool,
)
from palaver.domain.errors import (
    ActionBlocked,
    ConfigurationError,
    Conflict,
    ContextWindowExceeded,
    IdempotencyMismatch,
    ProtocolViolation,
)
from palaver.domain.messages import Flag
from palaver.domain.state import ConversationState
from palaver.domain.values import TurnOutcome
from palaver.providers.base import ModelEvent, ModelInfo, ModelRequest
from palaver.service.actions import SendMessage, StateAction
from palaver.service.output import OutputInvalid
from palaver.service.state import StateChange
from palaver.testing import Call, Pause, Say, ScriptedModel, valid_history
from tests.service.conftest import Opened, first_text


@tool(effect="effect")
async def send(to: str) -> str:
    """Send a letter."""
    return f"sent to {to}"


# Busy


async def held_open(opened: Opened, then: list[str]) -> tuple[Conversation, asyncio.Event]:
    """A conversation whose first turn goes on until the event is set."""
    gate = asyncio.Event()
    manager = await opened(ScriptedModel([[Say("one"), Pause(until=gate)], *then]))
    conversation = await manager.create()
    await first_text(await conversation.start("first"))
    return conversation, gate


async def test_a_second_message_is_rejected_while_a_turn_runs(opened: Opened) -> None:
    """By default a busy conversation says so, and nothing is stored."""
    conversation, gate = await held_open(opened, [])
    with pytest.raises(ConversationBusy):
        await conversation.say("second")
    gate.set()
    assert [m.text for m in conversation.messages] == ["first"]


async def test_queued_messages_are_answered_in_order(opened: Opened) -> None:
    """With `queue` each message waits for the turns before it."""
    conversation, gate = await held_open(opened, ["two", "three"])
    second = asyncio.create_task(conversation.say("second", on_busy="queue"))
    third = asyncio.create_task(conversation.say("third", on_busy="queue"))
    await asyncio.sleep(0)
    gate.set()
    assert (await second).text == "two"
    assert (await third).text == "three"
    said = [m.text for m in conversation.messages]
    assert said == ["first", "one", "second", "two", "third", "three"]


async def test_an_interrupting_message_cancels_the_turn(opened: Opened) -> None:
    """With `interrupt` the running answer is kept as partial and the new one begins."""
    conversation, _ = await held_open(opened, ["two"])
    reply = await conversation.say("second", on_busy="interrupt")
    assert reply.text == "two"
    assert conversation.messages[1].flags == (Flag.PARTIAL,)


# Once


async def test_a_repeated_key_gives_the_same_turn(opened: Opened) -> None:
    """A client that sends again after a lost answer gets the first turn's answer."""
    model = ScriptedModel(["only once"])
    conversation = await (await opened(model)).create()
    first = await conversation.say("hi", idempotency_key="k1")
    again = await conversation.say("hi", idempotency_key="k1")
    assert (again.turn, again.text) == (first.turn, "only once")
    assert len(model.requests) == 1


async def test_a_repeated_key_is_known_while_the_turn_runs(opened: Opened) -> None:
    """The second request follows the running turn, not a Busy."""
    gate = asyncio.Event()
    conversation = await (await opened(ScriptedModel([[Pause(until=gate), Say("a")]]))).create()
    first = await conversation.start("hi", idempotency_key="k")
    again = await conversation.start("hi", idempotency_key="k")
    assert again is first
    gate.set()


async def test_a_key_belongs_to_its_message(opened: Opened) -> None:
    """The same key with other words is a mistake, and said so."""
    conversation = await (await opened(ScriptedModel(["a", "b"]))).create()
    await conversation.say("hi", idempotency_key="k")
    with pytest.raises(IdempotencyMismatch):
        await conversation.say("ho", idempotency_key="k")


# Approval


async def test_an_effect_waits_for_a_person(opened: Opened) -> None:
    """The turn is suspended, the answer continues it, the tool runs once."""
    model = ScriptedModel([[Say("Sending."), Call("send", {"to": "bob"})], "Sent."])
    conversation = await (await opened(model, tools=[send])).create()
    asked = await conversation.say("write bob")
    assert asked.outcome is None
    (call,) = asked.waiting
    assert call.parsed() == {"to": "bob"}
    reply = await conversation.resume({call.id: True})
    assert (reply.text, reply.outcome) == ("Sent.", TurnOutcome.COMPLETED)
    assert conversation.messages[2].tool_results[0].text == "sent to bob"


async def test_a_refused_call_is_told_to_the_model(opened: Opened) -> None:
    """Denying answers the call with what the person said; the tool does not run."""
    model = ScriptedModel([Call("send", {"to": "bob"}), "Alright."])
    conversation = await (await opened(model, tools=[send])).create()
    (call,) = (await conversation.say("write bob")).waiting
    session = await conversation.decide(call.id, approve=False, note="not bob")
    await session.ended()
    (result,) = conversation.messages[2].tool_results
    assert result.failed
    assert "not bob" in result.text


async def test_where_nobody_can_be_asked_effects_are_denied(opened: Opened) -> None:
    """With approvals=deny the model learns it at once."""
    model = ScriptedModel([Call("send", {"to": "bob"}), "Pity."])
    manager = await opened(model, tools=[send], approvals="deny")
    reply = await (await manager.create()).say("write bob")
    assert reply.text == "Pity."
    assert reply.tools[0].result.failed


async def test_a_suspended_turn_survives_a_restart(opened: Opened, tmp_path: Path) -> None:
    """The question is durable: another process asks it again and goes on with the answer."""
    path = tmp_path / "chat.db"
    async with palaver.open(
        path, model=ScriptedModel([Call("send", {"to": "bob"})]), tools=[send]
    ) as manager:
        conversation = await manager.create()
        (call,) = (await conversation.say("write bob")).waiting
    manager = await opened(ScriptedModel(["Sent."]), path=path, tools=[send])
    again = await manager.open(conversation.id)
    assert again.state.turn is not None
    assert again.state.turn.waiting == (call.id,)
    reply = await again.resume({call.id: True})
    assert reply.text == "Sent."
    numbers = [n.number async for n in again.follow(reply.turn)]
    assert numbers == list(range(1, len(numbers) + 1))


async def test_a_held_turn_can_be_cancelled(opened: Opened) -> None:
    """Cancelling answers the waiting calls; the conversation goes on."""
    model = ScriptedModel([Call("send", {"to": "bob"}), "Hello."])
    conversation = await (await opened(model, tools=[send])).create()
    events = [e async for e in conversation.stream("write bob")]
    assert isinstance(events[-1], TurnSuspended)
    await conversation.cancel()
    assert valid_history(list(conversation.messages)) == []
    assert (await conversation.say("hi")).text == "Hello."


async def test_only_waiting_calls_can_be_decided(opened: Opened) -> None:
    """A wrong id is refused with a reason."""
    conversation = await (await opened(ScriptedModel())).create()
    with pytest.raises(InvalidInput):
        await conversation.decide("nope", approve=True)


# Input


@pytest.mark.parametrize("said", ["", "   \n", ()])
async def test_an_empty_message_is_refused(opened: Opened, said: str) -> None:
    """Nothing is stored of it."""
    conversation = await (await opened(ScriptedModel())).create()
    with pytest.raises(InvalidInput):
        await conversation.say(said)
    assert len(conversation.messages) == 0


async def test_unstorable_text_is_mended_and_flagged(opened: Opened) -> None:
    """NUL and lone surrogates become U+FFFD; the message says so."""
    conversation = await (await opened(ScriptedModel(["ok"]))).create()
    await conversation.say("a\x00b\ud800")
    assert conversation.messages[0].text == "a\ufffdb\ufffd"
    assert conversation.messages[0].flags == (Flag.SANITISED,)


async def test_a_turn_that_does_not_fit_says_what_to_do(opened: Opened) -> None:
    """The message is kept, nothing is sent, the error is typed."""
    model = ScriptedModel(info=ModelInfo("scripted:small", window=5_000, max_output=1_000))
    conversation = await (await opened(model)).create()
    with pytest.raises(ContextWindowExceeded) as caught:
        await conversation.say("word " * 20_000)
    assert "larger model" in caught.value.hint
    assert model.requests == []
    assert conversation.state.turn is None


async def test_an_unknown_model_is_said_before_anything_is_stored(opened: Opened) -> None:
    """A wrong name does not cost a message."""
    manager = await opened(ScriptedModel())
    with pytest.raises(ConfigurationError):
        await manager.create(model="nonsense")
    conversation = await manager.create()
    with pytest.raises(InvalidInput):
        await conversation.set_preferences(temprature=1)
    with pytest.raises(InvalidInput):
        await conversation.set_preferences(temperature="hot")


@pytest.mark.parametrize("name", ["conv_nope", "../../etc/passwd", "", "x" * 500])
async def test_what_is_not_there_is_not_found(opened: Opened, name: str) -> None:
    """Any id is safe to ask for."""
    manager = await opened(ScriptedModel())
    with pytest.raises(NotFound):
        await manager.open(name)


# Output


class Weather(msgspec.Struct):
    city: str
    degrees: float


async def test_a_reply_in_a_shape(opened: Opened) -> None:
    """The schema goes to the model, and its reply comes back as the type."""
    model = ScriptedModel(['{"city": "Oslo", "degrees": -3.5}'])
    reply = await (await (await opened(model)).create()).say("weather?", output=Weather)
    assert reply.output == Weather("Oslo", -3.5)
    output = model.requests[0].output
    assert output is not None
    assert output.schema["properties"].keys() == {"city", "degrees"}


async def test_a_reply_that_misses_its_shape_is_an_error(opened: Opened) -> None:
    """What the model said is kept, and in the error."""
    conversation = await (await opened(ScriptedModel(["no idea"]))).create()
    with pytest.raises(OutputInvalid) as caught:
        await conversation.say("weather?", output=Weather)
    assert caught.value.text == "no idea"


# State


async def test_middleware_may_change_or_block_a_command(opened: Opened) -> None:
    """What is stored is what the middleware let through."""

    async def shout(action: StateAction, state: ConversationState) -> StateAction:
        if isinstance(action, SendMessage):
            if "secret" in action.message.text:
                raise ActionBlocked("no secrets here")
            upper = palaver.Message.user(action.message.text.upper(), id=action.message.id)
            return msgspec.structs.replace(action, message=upper)
        return action

    conversation = await (await opened(ScriptedModel(["ok"]), middleware=[shout])).create()
    with pytest.raises(ActionBlocked):
        await conversation.say("my secret")
    await conversation.say("hello")
    assert conversation.messages[0].text == "HELLO"


async def test_subscribers_see_every_change_in_order(opened: Opened) -> None:
    """Each change begins where the last one ended, and a failing subscriber harms nobody."""
    manager = await opened(ScriptedModel(["ok"]))
    changes: list[StateChange] = []

    def fails(change: StateChange) -> None:
        raise ValueError

    manager.subscribe(fails)
    manager.subscribe(changes.append)
    conversation = await manager.create()
    await conversation.say("hi")
    assert [c.before.seq for c in changes[1:]] == [c.after.seq for c in changes[:-1]]
    assert changes[-1].after == conversation.state
    assert [s.seq for s in conversation.states.state_history][-1] == conversation.state.seq


async def test_a_reloaded_conversation_is_the_same(opened: Opened, tmp_path: Path) -> None:
    """Snapshots or not, what was lived is what is loaded."""
    path = tmp_path / "chat.db"
    settings = palaver.Settings(snapshot_every=7)
    model = ScriptedModel(["answer"] * 12)
    async with palaver.open(path, model=model, settings=settings) as manager:
        conversation = await manager.create(title="T")
        for n in range(12):
            await conversation.say(f"question {n}")
        lived = conversation.state
    again = await (await opened(ScriptedModel(), path=path)).open(conversation.id)
    assert again.state == lived


async def test_leaving_the_stream_does_not_stop_the_turn(opened: Opened) -> None:
    """A closed tab stops nothing: the turn belongs to the service."""
    conversation = await (await opened(ScriptedModel([[Say("a long answer", piece=1)]]))).create()
    async for event in conversation.stream("?"):
        if isinstance(event, TextDelta):
            break
    await conversation._sessions.settled(conversation.state.turn.id)
    assert conversation.messages[-1].text == "a long answer"
    assert conversation.messages[-1].stop is StopReason.END_TURN


async def test_an_id_of_ones_own() -> None:
    """A conversation may be made under a chosen id, once; what cannot be an id is refused."""
    async with palaver.open(":memory:", model="offline") as manager:
        assert (await manager.create(id="conv_of_mine")).id == "conv_of_mine"
        with pytest.raises(Conflict):
            await manager.create(id="conv_of_mine")
        with pytest.raises(InvalidInput):
            await manager.create(id="no id")


async def test_an_adapter_that_breaks(opened: Opened) -> None:
    """The turn fails with the kind of the failure; its words, which may hold anything, are for the
    program alone."""

    class Broken:
        def __init__(self, stream: Any) -> None:
            self._stream = stream

        def __getattr__(self, name: str) -> Any:
            return getattr(self._stream, name)

        async def __aiter__(self) -> AsyncIterator[list[ModelEvent]]:
            raise OSError("/secret/place")
            yield []  # type: ignore[unreachable]

    class Breaks(ScriptedModel):
        def stream(self, request: ModelRequest) -> Any:
            return Broken(super().stream(request))

    manager = await opened(Breaks())
    conversation = await manager.create()
    with pytest.raises(ProtocolViolation) as caught:
        await conversation.say("?")
    assert "OSError" in caught.value.message
    assert "secret" not in repr(caught.value.info())
    assert "secret" in repr(caught.value.__cause__)

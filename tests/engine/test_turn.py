import asyncio

import pytest

from palaver import (
    ExecutionContext,
    MessageCompleted,
    Role,
    StopReason,
    TextDelta,
    ToolFinished,
    ToolStarted,
    TurnCancelled,
    TurnCompleted,
    TurnFailed,
    tool,
)
from palaver.domain.errors import (
    AuthenticationFailed,
    Overloaded,
    RateLimited,
    StreamTruncated,
)
from palaver.domain.messages import Flag
from palaver.domain.values import TurnOutcome, Usage
from palaver.settings import Clocks, RetrySettings, Settings, TurnLimits
from palaver.testing import (
    Call,
    Cut,
    Fail,
    Line,
    Pause,
    Report,
    Say,
    ScriptedModel,
    Stop,
    Think,
    ToldClock,
    valid_history,
)
from tests.engine.conftest import Opened, kinds, told

NO_RESUMES = Settings(retry=RetrySettings(resumes=0))


@tool(effect="read")
async def weather(city: str) -> str:
    """Weather in a city."""
    return f"sunny in {city}"


async def test_an_answer_streams_and_is_stored(opened: Opened) -> None:
    """Text comes in pieces, the message is stored whole, the last event is terminal."""
    manager = await opened(ScriptedModel(["Hello there, friend"]))
    conversation = await manager.create()
    events = await told(conversation, "Hi")
    assert "".join(e.text for e in events if isinstance(e, TextDelta)) == "Hello there, friend"
    assert [m.text for m in conversation.messages] == ["Hi", "Hello there, friend"]
    assert kinds(events) == [
        "turn.started",
        "attempt.started",
        "text.delta",
        "message.completed",
        "usage",
        "turn.completed",
    ]
    assert conversation.state.turn is None


async def test_a_tool_is_called_and_its_result_goes_back(opened: Opened) -> None:
    """The model's call runs, and the model is asked again with its result."""
    model = ScriptedModel([[Say("Let me see."), Call("weather", {"city": "Oslo"})], "Sunny."])
    manager = await opened(model, tools=[weather])
    reply = await (await manager.create()).say("Weather in Oslo?")
    assert reply.text == "Let me see.Sunny."
    assert [t.result.text for t in reply.tools] == ["sunny in Oslo"]
    assert reply.is_complete
    assert model.requests[1].messages[-1].role is Role.TOOL


async def test_a_safe_tool_starts_while_the_model_speaks(opened: Opened) -> None:
    """The first of three calls runs before the stream ends; results go back in call order."""
    started, finish_stream = asyncio.Event(), asyncio.Event()

    @tool(effect="read")
    async def slow(name: str) -> str:
        """Waits for the end of the stream."""
        started.set()
        await finish_stream.wait()
        return name

    @tool(effect="read")
    async def quick(name: str) -> str:
        """Does not wait."""
        return name

    async def end_stream() -> None:
        await started.wait()
        finish_stream.set()

    calls = [Call("slow", {"name": "a"}), Call("quick", {"name": "b"})]
    model = ScriptedModel(
        [[*calls, Pause(until=finish_stream), Call("quick", {"name": "c"}), Say("!")], "Done."]
    )
    manager = await opened(model, tools=[slow, quick])
    conversation = await manager.create()
    async with asyncio.TaskGroup() as group:
        group.create_task(end_stream())
        events = await told(conversation, "go")
    starts = [e for e in events if isinstance(e, ToolStarted)]
    assert [s.early for s in starts] == [True, True, True]
    completed = next(i for i, e in enumerate(events) if isinstance(e, MessageCompleted))
    assert events.index(starts[0]) < completed
    results = model.requests[1].messages[-1].tool_results
    assert [r.text for r in results] == ["a", "b", "c"]


async def test_an_effect_waits_for_a_good_end(opened: Opened) -> None:
    """A tool with an effect never runs when the message is cut; its call is answered."""
    ran: list[str] = []

    @tool(effect="effect", needs_approval=False)
    async def send(to: str) -> str:
        """Sends."""
        ran.append(to)
        return "sent"

    model = ScriptedModel([[Call("send", {"to": "bob"}), Stop(StopReason.MAX_TOKENS)], "Later."])
    manager = await opened(model, tools=[send])
    conversation = await manager.create()
    reply = await conversation.say("send it")
    assert ran == []
    assert not reply.is_complete
    assert reply.stop is StopReason.MAX_TOKENS
    assert valid_history(list(conversation.messages)) == []
    assert (await conversation.say("and now?")).text == "Later."


async def test_an_effect_is_claimed_before_it_runs(opened: Opened) -> None:
    """The claim is durable when the tool starts: a crash within it can be told from none at all."""
    claims: list[int] = []

    @tool(effect="effect", needs_approval=False)
    async def send() -> str:
        """Sends."""
        claims.append(len(conversation.state.turn.claimed))
        return "sent"

    manager = await opened(ScriptedModel([Call("send"), "Done."]), tools=[send])
    conversation = await manager.create()
    await conversation.say("send")
    assert claims == [1]


async def test_cancel_in_mid_text_keeps_what_came(opened: Opened) -> None:
    """A cancelled answer is stored as partial, and the next turn is valid."""
    never = asyncio.Event()
    model = ScriptedModel([[Say("Once upon"), Pause(until=never)], "Fine."])
    manager = await opened(model)
    conversation = await manager.create()
    session = await conversation.start("Tell me a story")
    text = ""
    async for event in session.events():
        text += event.text if isinstance(event, TextDelta) else ""
        if text == "Once upon":
            session.cancel()
    assert isinstance(event, TurnCancelled)
    last = conversation.messages[-1]
    assert (last.text, last.stop, last.flags) == ("Once upon", StopReason.ABORTED, (Flag.PARTIAL,))
    assert model.streams[0].is_closed
    assert (await conversation.say("And?")).text == "Fine."


async def test_cancel_in_mid_tool_leaves_valid_history(opened: Opened) -> None:
    """A running tool is cancelled, and its call has a result that says so."""
    began = asyncio.Event()

    @tool(effect="read")
    async def forever() -> str:
        """Never ends."""
        began.set()
        await asyncio.Event().wait()
        return ""

    model = ScriptedModel([[Say("Working."), Call("forever")], "Ok."])
    manager = await opened(model, tools=[forever])
    conversation = await manager.create()
    session = await conversation.start("go")
    await began.wait()
    await conversation.cancel()
    assert session.is_ended
    assert valid_history(list(conversation.messages)) == []
    assert (await conversation.say("next")).text == "Ok."


async def test_a_cancelled_effect_is_of_unknown_outcome(opened: Opened) -> None:
    """What had begun may have happened: the model is told so, and it is not run again."""
    began = asyncio.Event()

    @tool(effect="effect", needs_approval=False)
    async def pay() -> str:
        """Pays."""
        began.set()
        await asyncio.Event().wait()
        return ""

    manager = await opened(ScriptedModel([Call("pay"), "Ok."]), tools=[pay])
    conversation = await manager.create()
    await conversation.start("pay")
    await began.wait()
    await conversation.cancel()
    (result,) = conversation.messages[-1].tool_results
    assert result.unknown
    assert "unknown" in result.text


async def test_a_stream_without_end_is_no_answer(opened: Opened) -> None:
    """A truncated stream that is not continued fails the turn; what came is kept as partial."""
    manager = await opened(ScriptedModel([[Say("Half an ans"), Cut()]]), settings=NO_RESUMES)
    conversation = await manager.create()
    events = await told(conversation, "?")
    assert isinstance(events[-1], TurnFailed)
    assert events[-1].error.code == "stream_truncated"
    assert conversation.messages[-1].flags == (Flag.PARTIAL,)


async def test_say_raises_what_ended_the_turn(opened: Opened) -> None:
    """Collecting a stream that broke raises its error, not half an answer."""
    manager = await opened(ScriptedModel([[Say("Half an ans"), Cut()]]), settings=NO_RESUMES)
    with pytest.raises(StreamTruncated):
        await (await manager.create()).say("?")


async def test_an_early_failure_is_tried_again(opened: Opened, clock: ToldClock) -> None:
    """Before the first token the engine tries again, and says what it waits for."""
    model = ScriptedModel([Fail(Overloaded("busy")), Fail(Overloaded("busy")), "There."])
    manager = await opened(model)
    conversation = await manager.create()
    session = await conversation.start("?")
    for _ in range(3):
        await clock.advance(30)
    events = [event async for event in session.events()]
    assert kinds(events).count("attempt.retrying") == 2
    assert conversation.messages[-1].text == "There."


async def test_what_cannot_succeed_is_said_at_once(opened: Opened) -> None:
    """A wrong key is not tried twice."""
    model = ScriptedModel([Fail(AuthenticationFailed("wrong key"))])
    manager = await opened(model)
    conversation = await manager.create()
    with pytest.raises(AuthenticationFailed):
        await conversation.say("?")
    assert len(model.requests) == 1
    assert [m.text for m in conversation.messages] == ["?"]


async def test_retry_after_beyond_the_deadline_is_not_waited_for(opened: Opened) -> None:
    """A provider that says "in an hour" is believed, and the caller told at once."""
    model = ScriptedModel([Fail(RateLimited("slow down", retry_after_s=3_600))])
    manager = await opened(model)
    with pytest.raises(RateLimited) as caught:
        await (await manager.create()).say("?")
    assert caught.value.info().retry_after_s == 3_600


async def test_a_turn_ends_at_its_deadline(opened: Opened, clock: ToldClock) -> None:
    """A turn that takes too long fails with a timeout; what came is kept."""
    model = ScriptedModel([[Say("slow"), Pause(until=asyncio.Event())]])
    manager = await opened(model, settings=Settings(clocks=Clocks(turn_s=5.0)))
    conversation = await manager.create()
    session = await conversation.start("?")
    await clock.advance(6)
    events = [event async for event in session.events()]
    assert isinstance(events[-1], TurnFailed)
    assert events[-1].error.code == "timeout"
    assert conversation.messages[-1].text == "slow"


async def test_a_model_that_loops_is_stopped(opened: Opened) -> None:
    """Steps are bounded; the history stays valid."""
    model = ScriptedModel([Call("weather", {"city": "X"})] * 9)
    limits = Settings(turn=TurnLimits(steps=3))
    manager = await opened(model, tools=[weather], settings=limits)
    conversation = await manager.create()
    events = await told(conversation, "?")
    assert isinstance(events[-1], TurnFailed)
    assert events[-1].error.code == "step_limit"
    assert len(model.requests) == 3
    assert valid_history(list(conversation.messages)) == []


async def test_bad_arguments_and_unknown_tools_are_answers(opened: Opened) -> None:
    """The model reads what was wrong and goes on; nothing is raised."""
    model = ScriptedModel([[Call("weather", {"town": 1}), Call("whether")], "Sorry."])
    manager = await opened(model, tools=[weather])
    reply = await (await manager.create()).say("?")
    assert reply.text == "Sorry."
    assert [t.result.failed for t in reply.tools] == [True, True]


async def test_reasoning_goes_back_unchanged(opened: Opened) -> None:
    """Thinking with its proof is in the next request as it came."""
    model = ScriptedModel([[Think("hmm"), Call("weather", {"city": "A"})], "Done."])
    manager = await opened(model, tools=[weather])
    await (await manager.create()).say("?")
    first = model.streams[0].partial()[0]
    assert model.requests[1].messages[-2].content[0] == first


async def test_an_empty_answer_is_asked_for_again(opened: Opened, clock: ToldClock) -> None:
    """A completion without content is a failure that one retry may mend."""
    model = ScriptedModel([[Stop(StopReason.END_TURN)], "Here."])
    manager = await opened(model)
    conversation = await manager.create()
    session = await conversation.start("?")
    await clock.advance(5)
    await session.ended()
    assert conversation.messages[-1].text == "Here."


async def test_nothing_to_add_behind_results_is_an_end(opened: Opened) -> None:
    """A model may end its turn without a word once its tools are done."""
    model = ScriptedModel([Call("weather", {"city": "A"}), [Stop(StopReason.END_TURN)]])
    manager = await opened(model, tools=[weather])
    reply = await (await manager.create()).say("?")
    assert reply.outcome is TurnOutcome.COMPLETED


async def test_tools_see_the_history_and_report_progress(opened: Opened) -> None:
    """A tool reads the conversation through its context only, and its progress is shown."""

    @tool(effect="read")
    async def count(context: ExecutionContext) -> str:
        """Counts messages."""
        context.progress("half", 0.5)
        await asyncio.sleep(0)
        return str(len(context.history))

    manager = await opened(ScriptedModel([Call("count"), "Done."]), tools=[count])
    conversation = await manager.create()
    events = await told(conversation, "?")
    assert "tool.progress" in kinds(events)
    assert next(e for e in events if isinstance(e, ToolFinished)).result.text == "1"
    assert isinstance(events[-1], TurnCompleted)


async def test_what_a_cut_answer_used_counts_what_it_said(opened: Opened) -> None:
    """Providers report the output at the end; until then it is estimated, and marked so."""
    begun = Report(Usage(input=900, output=1))
    model = ScriptedModel([[begun, Say("many words " * 200), Pause(until=asyncio.Event())]])
    conversation = await (await opened(model)).create()
    session = await conversation.start("go")
    async for event in session.events():
        if isinstance(event, TextDelta) and len(model.streams[0].partial()[0].text) == 2200:  # type: ignore[union-attr]
            session.cancel()
    assert conversation.state.usage.input == 900
    assert conversation.state.usage.output > 200
    assert conversation.state.usage.estimated
    assert conversation.state.anchor is None


async def test_a_repeated_attempt_costs_what_it_reported(opened: Opened, clock: ToldClock) -> None:
    """What the provider counted before it failed stands in the ledger."""
    failing: list[Line] = [Report(Usage(input=900)), Fail(Overloaded("busy"))]
    conversation = await (await opened(ScriptedModel([failing, "ok"]))).create()
    said = asyncio.create_task(conversation.say("go"))
    await clock.advance(60)
    reply = await said
    assert reply.usage == conversation.state.usage
    assert reply.usage.input > 900

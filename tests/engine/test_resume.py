"""Answers whose stream breaks: what stands, what is made anew, and what is stored."""

import asyncio
from typing import Any

from palaver import (
    AttemptStarted,
    BlockReset,
    Reasoning,
    RetryScheduled,
    StopReason,
    StreamEvent,
    Text,
    TextDelta,
    ToolCall,
    TurnCancelled,
    TurnFailed,
    tool,
)
from palaver.domain.errors import ConnectionFailed, InvalidRequest
from palaver.domain.ids import CallId
from palaver.domain.messages import Flag, Role
from palaver.engine.resume import anchor_of, as_shown, continuation, standing
from palaver.providers.base import ModelInfo, ModelRequest
from palaver.settings import RetrySettings, Settings
from palaver.testing import Call, Cut, Fail, Pause, Say, ScriptedModel, Stop, Think, valid_history
from tests.engine.conftest import Opened

AT_ONCE = Settings(retry=RetrySettings(network_base_s=0.0))
FIRST, WHOLE = "The quick brown fox ju", "The quick brown fox jumps over the lazy dog."


def goes_on(request: ModelRequest) -> str:
    """What an obedient model says when it is asked for the rest of WHOLE."""
    asked = request.messages[-1].text
    anchor = asked[asked.index("<anchor>") + 8 : asked.rindex("</anchor>")]
    return anchor + WHOLE[len(request.messages[-2].text) :]


async def told(opened: Opened, model: ScriptedModel, **options: Any) -> Any:
    """A conversation after one turn, with `events`."""
    options.setdefault("settings", AT_ONCE)
    manager = await opened(model, **options)
    conversation = await manager.create()
    events = [event async for event in conversation.stream("?")]
    return conversation, events


def text_of(events: list[StreamEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


async def test_a_broken_answer_is_continued(opened: Opened) -> None:
    """One message, joined exactly; what asked for the rest is in no history."""
    model = ScriptedModel([[Say(FIRST), Cut()], goes_on, "Next."])
    conversation, events = await told(opened, model)
    assert text_of(events) == conversation.messages[-1].text == WHOLE
    assert conversation.messages[-1].flags == (Flag.JOINED,)
    assert [e.continues for e in events if isinstance(e, AttemptStarted)] == [False, True]
    assert [e.continues for e in events if isinstance(e, RetryScheduled)] == [True]
    await conversation.say("And then?")
    assert [m.text for m in model.requests[-1].messages] == ["?", WHOLE, "And then?"]


async def test_a_model_that_does_not_repeat_leaves_the_join_unverified(opened: Opened) -> None:
    """Nothing proves that no word is missing, and the message says so."""
    model = ScriptedModel([[Say(FIRST), Cut()], "mps over the lazy dog."])
    conversation, events = await told(opened, model)
    assert text_of(events) == WHOLE
    assert conversation.messages[-1].flags == (Flag.JOINED, Flag.JOIN_UNVERIFIED)


async def test_a_model_that_begins_again_is_heard_once(opened: Opened) -> None:
    """What it repeats is not shown twice."""
    model = ScriptedModel([[Say(FIRST), Cut()], WHOLE])
    conversation, events = await told(opened, model)
    assert text_of(events) == conversation.messages[-1].text == WHOLE
    assert conversation.messages[-1].flags == (Flag.JOINED,)


async def test_a_prefilled_model_goes_on_by_itself(opened: Opened) -> None:
    """The request ends with what was said, without white space behind it."""
    info = ModelInfo("scripted:model", window=200_000, prefill=True)
    model = ScriptedModel([[Say("One.\n\n"), Cut()], "\n\nTwo."], info=info)
    conversation, events = await told(opened, model)
    assert text_of(events) == conversation.messages[-1].text == "One.\n\nTwo."
    assert model.requests[1].messages[-1].role is Role.ASSISTANT
    assert model.requests[1].messages[-1].text == "One."


async def test_a_refused_prefill_is_asked_in_words(opened: Opened) -> None:
    """A catalogue may be wrong about a model; the answer is continued all the same."""
    info = ModelInfo("scripted:model", window=200_000, prefill=True)
    refusal = Fail(InvalidRequest("prefill is not supported", status=400))
    model = ScriptedModel([[Say(FIRST), Cut()], refusal, goes_on], info=info)
    conversation, events = await told(opened, model)
    assert text_of(events) == conversation.messages[-1].text == WHOLE


async def test_calls_and_thoughts_of_a_broken_message_are_made_anew(opened: Opened) -> None:
    """A tool that only reads had run already: its result is dropped, and the new call gets its
    own. The client is told what does not count."""
    ran: list[str] = []

    @tool(effect="read")
    async def look(at: str) -> str:
        """Look at something."""
        ran.append(at)
        return f"seen {at}"

    model = ScriptedModel(
        [
            [Say(FIRST), Call("look", {"at": "a"}), Think("Hm"), Cut()],
            lambda request: [Say(goes_on(request)), Call("look", {"at": "b"})],
            "Done.",
        ]
    )
    conversation, events = await told(opened, model, tools=[look])
    resets = [event.kind for event in events if isinstance(event, BlockReset)]
    assert resets == ["reasoning", "tool_call"]
    assert ran == ["a", "b"]
    answer, results = conversation.messages[1], conversation.messages[2]
    assert answer.text == WHOLE
    assert [call.parsed() for call in answer.tool_calls] == [{"at": "b"}]
    assert [result.text for result in results.tool_results] == ["seen b"]
    assert valid_history(list(conversation.messages)) == []


async def test_without_text_the_message_is_asked_for_again(opened: Opened) -> None:
    """Nothing that was shown has to stand: the same request goes out, also for a shaped reply."""
    model = ScriptedModel([[Think("Hm"), Cut()], '{"n": 1}'])
    manager = await opened(model, settings=AT_ONCE)
    shape = {"title": "n", "type": "object", "properties": {"n": {"type": "integer"}}}
    reply = await (await manager.create()).say("?", output=shape)
    assert reply.output == {"n": 1}
    assert model.requests[1].messages == model.requests[0].messages


async def test_a_shaped_reply_has_no_second_half(opened: Opened) -> None:
    """Half a JSON document is not glued to another: the turn fails, and the half is kept."""
    model = ScriptedModel([[Say('{"n": '), Cut()]])
    manager = await opened(model, settings=AT_ONCE)
    shape = {"title": "n", "type": "object", "properties": {"n": {"type": "integer"}}}
    conversation = await manager.create()
    session = await conversation.start("?", output=shape)
    events = [event async for event in session.events()]
    assert isinstance(events[-1], TurnFailed)
    assert conversation.messages[-1].flags == (Flag.PARTIAL,)


async def test_silence_is_no_second_half(opened: Opened) -> None:
    """A model that was asked to go on and says nothing is asked again: half an answer is not passed
    off as a whole one."""
    model = ScriptedModel([[Say(FIRST), Cut()], [Stop(StopReason.END_TURN)], goes_on])
    conversation, events = await told(opened, model)
    assert text_of(events) == conversation.messages[-1].text == WHOLE


async def test_at_most_two_breaks_are_mended(opened: Opened) -> None:
    """Then the failure is said; what was shown is one partial message."""
    model = ScriptedModel([[Say(FIRST), Cut()], [goes_on_badly(), Cut()], [Say("x" * 40), Cut()]])
    conversation, events = await told(opened, model)
    assert isinstance(events[-1], TurnFailed)
    assert text_of(events) == conversation.messages[-1].text
    assert Flag.PARTIAL in conversation.messages[-1].flags
    assert len(model.requests) == 3


def goes_on_badly() -> Say:
    return Say("mps over the lazy dog and then it breaks")


async def test_a_cancel_while_it_waits_keeps_what_was_said(opened: Opened) -> None:
    """The half that was shown is stored, once."""
    model = ScriptedModel([[Say(FIRST), Cut()], goes_on])
    manager = await opened(model)  # the told clock stands still: the wait does not end
    conversation = await manager.create()
    session = await conversation.start("?")
    kinds = []
    async for event in session.events():
        kinds.append(type(event))
        if isinstance(event, RetryScheduled):
            await conversation.cancel()
    assert kinds[-1] is TurnCancelled
    assert conversation.messages[-1].text == FIRST
    assert conversation.messages[-1].flags == (Flag.PARTIAL,)


async def test_a_cancel_in_the_second_half_keeps_both(opened: Opened) -> None:
    """As far as they were shown."""
    model = ScriptedModel(
        [[Say(FIRST), Cut()], lambda r: [Say(goes_on(r)[:-5]), Pause(until=asyncio.Event())]]
    )
    manager = await opened(model, settings=AT_ONCE)
    conversation = await manager.create()
    session = await conversation.start("?")
    shown = ""
    async for event in session.events():
        if isinstance(event, TextDelta):
            shown += event.text
        if shown == WHOLE[:-5]:
            await conversation.cancel()
    assert conversation.messages[-1].text == shown == WHOLE[:-5]
    assert conversation.messages[-1].flags == (Flag.PARTIAL, Flag.JOINED)


async def test_another_model_may_give_the_second_half(opened: Opened) -> None:
    """When the first one cannot be reached any more; the message names the one that ended it."""
    gone = [Fail(ConnectionFailed("gone"))] * 5
    first = ScriptedModel([[Say(FIRST), Cut()], *gone], name="a:1")
    second = ScriptedModel([goes_on], name="b:2")
    conversation, events = await told(opened, first, fallbacks=[second])
    assert text_of(events) == conversation.messages[-1].text == WHOLE
    assert conversation.messages[-1].model == "b:2"


def test_only_what_was_shown_stands() -> None:
    """What a stream had read when it broke, and nobody was given, is not there."""
    call, thought = ToolCall(CallId("c"), "look"), Reasoning("Hm", signature="s")
    assert as_shown([thought, Text("Well, yes"), call], "Well") == (thought, Text("Well"), call)
    assert as_shown([Text("Well", "[1]")], "Well") == (Text("Well", "[1]"),)


def test_what_stands() -> None:
    """Finished reasoning and text; nothing where no text was shown."""
    thought, text = Reasoning("Hm", signature="s"), Text("Well")
    assert standing([thought, text]).blocks == (thought, text)
    assert standing([thought]).blocks == ()


def test_the_anchor_is_the_last_line_or_words_of_it() -> None:
    """Long enough to be found once, short enough to be repeated, and always an end of the text."""
    for text in (
        "short",
        "a\n" * 50 + "b",
        "word " * 40 + "end",
        "x" * 300,
        "one line\nand the last",
    ):
        anchor = anchor_of(text)
        assert text.endswith(anchor)
        assert 0 < len(anchor) <= 60
    assert anchor_of("one line\nand the last line") == "and the last line"


def test_white_space_alone_is_no_beginning() -> None:
    """No provider takes a message of white space; the request goes out as it was."""
    request = ModelRequest(())
    asked, joiner = continuation(request, standing([Text("\n\n")]), prefill=False)
    assert asked is request
    assert joiner.add("\n\nHi") == "Hi"

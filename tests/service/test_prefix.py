"""A client's whole history against ours: what is the same, what joins, what becomes a branch."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from palaver import InvalidInput, Message, Text, ToolCall, ToolResult
from palaver.domain.events import (
    Event,
    MessageAdded,
    ToolResolved,
    TurnClosed,
    TurnHeld,
    TurnOpened,
)
from palaver.domain.ids import CallId, ConversationId, MessageId, TurnId
from palaver.domain.messages import Reasoning, Role
from palaver.domain.reducer import apply
from palaver.domain.state import ConversationState
from palaver.domain.values import ClientTool, SuspendReason, TurnOutcome
from palaver.service.branching import everywhere
from palaver.service.brought import checked_history, facts_of, joined
from palaver.service.prefix import matched
from palaver.testing import valid_history
from palaver.travel.repair import repair

TOOLS = (ClientTool("theirs"),)


def user(text: str) -> Message:
    return Message.user(text)


def said(text: str, *calls: ToolCall) -> Message:
    return Message.assistant((*((Text(text),) if text else ()), *calls))


def call(id: str, name: str = "theirs", arguments: str = "{}") -> ToolCall:
    return ToolCall(CallId(id), name, arguments)


def results(*pairs: tuple[str, str]) -> Message:
    content = tuple(ToolResult(CallId(id), "", (Text(text),)) for id, text in pairs)
    return Message(Role.TOOL, content)


def with_facts(state: ConversationState, *facts: Event) -> ConversationState:
    for fact in facts:
        state = apply(state, fact)
    return state


def brought(state: ConversationState, messages: Sequence[Message], seed: str) -> ConversationState:
    """The state after a client has sent this history."""
    return with_facts(state, *facts_of(state, joined(state, checked_history(messages), seed)))


class Server:
    """What a turn does to a conversation, as facts."""

    def __init__(self) -> None:
        self.state = ConversationState(ConversationId("conv_1"))
        self._made = 0

    def new(self, kind: str) -> str:
        self._made += 1
        return f"{kind}_{self._made}"

    def begin(self) -> TurnId:
        turn = TurnId(self.new("turn"))
        self.state = with_facts(self.state, TurnOpened(turn, tools=TOOLS))
        return turn

    def say(self, turn: TurnId, text: str, *names: str) -> tuple[ToolCall, ...]:
        """An assistant message, thinking included, with calls of these tools."""
        last = self.state.messages[-1].id
        calls = tuple(call(self.new("call"), name, f'{{"n": {n}}}') for n, name in enumerate(names))
        content = (Reasoning("hm"), *((Text(text),) if text else ()), *calls)
        message = Message(Role.ASSISTANT, content, MessageId(self.new("msg")), last)
        self.state = with_facts(self.state, MessageAdded(message, turn))
        return calls

    def resolve(self, turn: TurnId, made: ToolCall, text: str) -> None:
        result = ToolResult(made.id, made.name, (Text(text),), by_client=made.name == "theirs")
        self.state = with_facts(self.state, ToolResolved(turn, result))

    def end(self, turn: TurnId) -> None:
        self.state = with_facts(self.state, TurnClosed(turn, TurnOutcome.COMPLETED))

    def talk(self, text: str, *steps: tuple[str, tuple[str, ...]]) -> None:
        """A user message and its answer, in steps of text and tools."""
        self.state = brought(self.state, [*known(self.state), user(text)], self.new("msg"))
        turn = self.begin()
        for words, names in steps:
            for made in self.say(turn, words, *names):
                self.resolve(turn, made, f"result of {made.id}")
        self.end(turn)


def known(state: ConversationState) -> list[Message]:
    """The active path as a client knows it that saw each turn as one answer."""
    seen: list[Message] = []
    text = ""
    for number, message in enumerate(state.messages):
        if message.role is Role.USER:
            seen += [said(text)] if text else []
            seen.append(user(message.text))
            text = ""
        elif message.role is Role.ASSISTANT:
            text += message.text
            behind = state.messages[number + 1] if message.tool_calls else None
            given = {r.call_id: r for r in behind.tool_results} if behind is not None else {}
            mine = [c for c in message.tool_calls if given[c.id].by_client]
            if mine or not message.tool_calls:
                seen.append(said(text, *mine))
                text = ""
            if mine:
                seen.append(results(*((c.id, given[c.id].text) for c in mine)))
    return [*seen, said(text)] if text else seen


def plain(messages: Sequence[Message]) -> list[Any]:
    """A history without what differs between two who say the same."""
    return [
        (
            m.role,
            m.text,
            [(c.name, c.parsed()) for c in m.tool_calls],
            [r.text for r in m.tool_results],
        )
        for m in messages
    ]


# Cases


def test_the_same_history_changes_nothing() -> None:
    """Sent again as the client knows it, with one message more, only that one joins."""
    server = Server()
    server.talk("one", ("Answer.", ()))
    server.talk("two", ("Let me see. ", ("ours",)), ("It is.", ()))
    history = known(server.state)
    assert [m.text for m in history] == ["one", "Answer.", "two", "Let me see. It is."]
    found = matched(server.state, history)
    assert (found.count, found.at) == (4, server.state.messages[-1].id)
    after = brought(server.state, [*history, user("three")], "msg_new")
    assert after.messages[:-1] == server.state.messages
    assert (after.messages[-1].text, after.aside) == ("three", ())


def test_an_edited_answer_is_a_branch() -> None:
    """The conversation goes on behind what agrees; what was there stays."""
    server = Server()
    server.talk("one", ("Answer.", ()))
    after = brought(server.state, [user("one"), said("Better."), user("two")], "msg_new")
    assert [m.text for m in after.messages] == ["one", "Better.", "two"]
    assert [m.text for tail in after.aside for m in tail.messages] == ["Answer."]
    back = brought(after, [user("one"), said("Answer."), user("two")], "msg_more")
    assert [m.text for m in back.messages] == ["one", "Answer.", "two"]
    assert back.messages[1].id == server.state.messages[1].id


def test_a_branch_is_found_again() -> None:
    """A history that is another branch's leads there; nothing is stored twice."""
    server = Server()
    server.talk("one", ("Answer.", ()))
    elsewhere = brought(server.state, [user("other")], "msg_new")
    assert [m.text for m in elsewhere.messages] == ["other"]
    back = brought(elsewhere, [user("one"), said("Answer.")], "msg_more")
    assert [m.text for m in back.messages] == ["one", "Answer."]
    assert len(list(everywhere(back))) == 3


def test_calls_are_told_by_what_they_say() -> None:
    """Ids and the writing of arguments do not matter; names, values and results do."""
    server = Server()
    server.talk("one", ("", ("theirs", "theirs")), ("Done.", ()))
    _, asked, answered, _ = server.state.messages
    texts = [r.text for r in answered.tool_results]
    again = [call("a", arguments='{"n":0}'), call("b", arguments='{ "n" : 1 }')]
    history = [
        user("one"), said("", *again), results(("b", texts[1])), results(("a", texts[0])),
        said("Done."),
    ]  # fmt: skip
    assert matched(server.state, history).count == 5
    swapped = [*history[:2], results(("a", texts[1]), ("b", texts[0]))]
    assert matched(server.state, swapped).count == 1
    other = [user("one"), said("", again[0]), results(("a", texts[0]))]
    assert matched(server.state, other).count == 1
    assert asked.tool_calls


def test_calls_that_wait_are_given_their_results() -> None:
    """The results that a history brings for a held turn are told apart, under our ids."""
    server = Server()
    server.state = brought(server.state, [user("go")], "msg_0")
    turn = server.begin()
    mine, ours = server.say(turn, "Look.", "theirs", "ours")
    server.resolve(turn, ours, "ran here")
    held = TurnHeld(turn, SuspendReason.CLIENT_TOOL_RESULT, (mine.id,))
    server.state = with_facts(server.state, held)
    history = [user("go"), said("Look.", call("x", arguments='{"n":0}'))]
    assert matched(server.state, history).is_open
    found = matched(server.state, [*history, results(("x", "done"))])
    assert (found.count, found.is_open) == (3, True)
    assert [(r.call_id, r.name, r.text) for r in found.results] == [(mine.id, "theirs", "done")]


def test_what_providers_refuse_is_mended_once() -> None:
    """A client that always sends the same odd history gets no new branch each time."""
    odd = [
        said("I begin."), user(""), user("one\x00"), said("a"), said("b"), user("two"),
        said("", call("c")), user("three"),
    ]  # fmt: skip
    state = brought(ConversationState(ConversationId("conv_1")), odd, "msg_1")
    assert not valid_history(state.messages)
    again = brought(state, odd, "msg_2")
    assert again == state
    more = brought(again, [*odd, said("Yes."), user("four")], "msg_3")
    assert more.aside == ()
    assert [m.text for m in more.messages][-2:] == ["Yes.", "four"]


def test_system_messages_are_no_part_of_it() -> None:
    """They are refused with what to do instead."""
    with pytest.raises(InvalidInput, match="no system messages"):
        checked_history([Message(Role.SYSTEM, (Text("Be kind."),))])


def test_a_turn_that_said_nothing_is_not_done_again() -> None:
    """What its tools did stays on the path when the question is sent again."""
    server = Server()
    server.talk("one", ("", ("ours",)))
    after = brought(server.state, [user("one")], "msg_new")
    assert after == server.state


# Whatever a client sends

WORDS = st.sampled_from(["", "a", "b", "ab"])
STEPS = st.lists(
    st.tuples(WORDS, st.lists(st.sampled_from(["ours", "theirs"]), max_size=2).map(tuple)),
    max_size=2,
)


@st.composite
def changed(draw: Any, history: list[Message]) -> list[Message]:
    """What a client may make of its history before it sends it."""
    made = history[: draw(st.integers(0, len(history)))] if draw(st.booleans()) else list(history)
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(made)))
        kind = draw(st.sampled_from(["user", "assistant", "call", "drop", "result"]))
        if kind == "drop" and at < len(made):
            del made[at]
        elif kind == "call":
            made.insert(at, said(draw(WORDS), call(draw(st.sampled_from(["c1", "c2"])))))
        elif kind == "result":
            made.insert(at, results((draw(st.sampled_from(["c1", "c2"])), draw(WORDS))))
        else:
            text = draw(WORDS)
            made.insert(at, user(text) if kind == "user" else said(text))
    return made


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_the_path_says_what_the_client_says(data: st.DataObject) -> None:
    """Whatever a client sends, afterwards the active path is its history, valid for every provider,
    and nothing is lost; sent again, it changes nothing."""
    server = Server()
    for _ in range(data.draw(st.integers(1, 4))):
        history = data.draw(changed(known(server.state)))
        before = {m.id: m for m in everywhere(server.state)}
        server.state = brought(server.state, history, server.new("msg"))
        wanted, _ = repair(checked_history(history))
        assert plain(merged(known(server.state))) == plain(merged(wanted))
        assert not server.state.messages or not valid_history(server.state.messages)
        after = {m.id: m for m in everywhere(server.state)}
        assert before.items() <= after.items()
        assert brought(server.state, history, server.new("msg")) == server.state
        if server.state.last is not None and server.state.last.role is not Role.ASSISTANT:
            turn = server.begin()
            for words, names in [*data.draw(STEPS), (data.draw(WORDS) or "end", ())]:
                if words or names:
                    for made in server.say(turn, words, *names):
                        server.resolve(turn, made, "r")
                if not names:
                    break
            server.end(turn)


def merged(messages: Sequence[Message]) -> list[Message]:
    """Answers in a row as one."""
    made: list[Message] = []
    for message in messages:
        if made and made[-1].role is message.role is Role.ASSISTANT and not made[-1].tool_calls:
            made[-1] = said(made[-1].text + message.text, *message.tool_calls)
        else:
            made.append(message)
    return made


@pytest.mark.long
@given(st.data())
@settings(max_examples=1_500, deadline=None)
def test_the_path_says_what_the_client_says_at_length(data: st.DataObject) -> None:
    """The same, for long."""
    test_the_path_says_what_the_client_says.hypothesis.inner_test(data)  # type: ignore[attr-defined]

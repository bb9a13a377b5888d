"""What counts as valid history."""

import pytest

from palaver.domain.ids import CallId
from palaver.domain.messages import (
    Block,
    Message,
    Reasoning,
    Role,
    StopReason,
    Text,
    ToolCall,
    ToolResult,
)
from palaver.testing import sendable, valid_history

USER = Message.user("hi")
REPLY = Message.assistant("hello")


def calls(*ids: str) -> Message:
    return Message.assistant(tuple(ToolCall(CallId(id), "add") for id in ids))


def results(*ids: str) -> Message:
    return Message(Role.TOOL, tuple(ToolResult(CallId(id), "add", (Text("3"),)) for id in ids))


def system(text: str) -> Message:
    return Message(Role.SYSTEM, (Text(text),))


VALID: dict[str, list[Message]] = {
    "one question": [USER],
    "a finished exchange": [USER, REPLY],
    "calls answered in order": [USER, calls("a", "b"), results("a", "b"), REPLY],
    "a call right behind results": [USER, calls("a"), results("a"), calls("b"), results("b")],
    "an id used again later": [USER, calls("a"), results("a"), calls("a"), results("a")],
    "two questions in a row": [USER, USER],
    "a system message first": [system("be brief"), USER, REPLY],
    "a paused turn that goes on": [
        USER,
        Message(Role.ASSISTANT, (Text("wait"),), stop=StopReason.PAUSE),
        REPLY,
    ],
    "an empty result": [USER, calls("a"), Message(Role.TOOL, (ToolResult(CallId("a"), "add"),))],
}
INVALID: dict[str, tuple[list[Message], str]] = {
    "nothing": ([], "no messages"),
    "an open call": ([USER, calls("a")], "leaves calls open: a"),
    "a call that is passed over": ([USER, calls("a"), USER], "not answered: a"),
    "one of two answers missing": ([USER, calls("a", "b"), results("a")], "call b has no result"),
    "wrong order": ([USER, calls("a", "b"), results("b", "a")], "not in call order"),
    "answered twice": ([USER, calls("a"), results("a", "a")], "result a occurs 2 times"),
    "answered in two messages": (
        [USER, calls("a", "b"), results("a"), results("b")],
        "call b has no result",
    ),
    "an answer to nobody": ([USER, results("a")], "result a belongs to no call"),
    "the same id twice": ([USER, calls("a", "a"), results("a", "a")], "call a occurs 2 times"),
    "an empty message": ([USER, Message.assistant(())], "it is empty"),
    "only white space": ([Message.user(" \n")], "white space"),
    "assistant speaks first": ([REPLY, USER], "nobody has spoken"),
    "assistant twice": ([USER, REPLY, REPLY], "follows another assistant"),
    "a result in a user message": (
        [Message.user((ToolResult(CallId("a"), "add"),))],
        "ToolResult does not belong here",
    ),
    "a call of the user": ([Message.user((ToolCall(CallId("a"), "add"),))], "ToolCall"),
    "reasoning of the user": ([Message.user((Reasoning("hm"),))], "Reasoning"),
}


@pytest.mark.parametrize("name", VALID)
def test_valid(name: str) -> None:
    """What providers accept has no problems."""
    assert valid_history(VALID[name]) == []


@pytest.mark.parametrize("name", INVALID)
def test_invalid(name: str) -> None:
    """What a provider refuses is named."""
    messages, problem = INVALID[name]
    assert any(problem in found for found in valid_history(messages)), valid_history(messages)


def test_sendable_needs_somebody_who_waits() -> None:
    """A finished exchange is valid to keep and nothing to send; results and questions are."""
    assert sendable([USER]) == []
    assert sendable([USER, calls("a"), results("a")]) == []
    assert "nobody waits" in sendable([USER, REPLY])[0]
    assert sendable([USER, REPLY], prefill=True) == []
    paused: tuple[Block, ...] = (Text("wait"),)
    assert sendable([USER, Message(Role.ASSISTANT, paused, stop=StopReason.PAUSE)]) == []

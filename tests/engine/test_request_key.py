"""What makes two requests the same one, and what finding that out costs."""

import sys
from typing import Any

import pytest
from msgspec.structs import replace

from palaver.domain.history import History
from palaver.domain.ids import CallId, ConversationId, MessageId
from palaver.domain.messages import (
    Block,
    Flag,
    Message,
    Reasoning,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from palaver.domain.values import GenerationSettings, OutputSchema
from palaver.engine.request_key import RequestKeys
from palaver.providers.base import ModelRequest, ToolSpec

ME = ConversationId("conv_1")
SCHEMA: dict[str, Any] = {"type": "object", "properties": {}}
LOOK = ToolSpec("look", "Look.", SCHEMA)


def asked(*messages: Message, **given: Any) -> ModelRequest:
    return ModelRequest(History(messages), conversation=ME, **given)


def key(request: ModelRequest) -> bytes:
    return RequestKeys().key(request)


def of(role: Role, *content: Block, **given: Any) -> Message:
    return Message(role, content, **given)


QUESTION = Message.user("q", id="msg_1")
CALL, RESULT = (
    ToolCall(CallId("c1"), "look", "{}"),
    ToolResult(CallId("c1"), "look", (Text("sea"),)),
)
TALK = (
    QUESTION,
    of(Role.ASSISTANT, Reasoning("Hm.", signature="s"), Text("I look."), CALL, id=MessageId("m2")),
    of(Role.TOOL, RESULT),
)


def test_ids_models_and_thoughts_make_no_difference() -> None:
    """The same words, calls and results are the same request, whoever said them, and where."""
    other_call = replace(CALL, id=CallId("toolu_9"), origin="openai", native="{}")
    other = (
        Message.user("q", id="msg_9"),
        of(Role.ASSISTANT, Text("I look."), other_call, model="b:2", flags=(Flag.JOINED,)),
        of(Role.TOOL, replace(RESULT, call_id=CallId("toolu_9"))),
    )
    elsewhere = replace(asked(*other), conversation=ConversationId("conv_2"))
    assert key(asked(*TALK)) == key(elsewhere)


@pytest.mark.parametrize(
    "other",
    [
        asked(Message.user("Q")),
        asked(of(Role.ASSISTANT, Text("q"))),
        asked(of(Role.USER, Text("q"), Text(""))),
        asked(QUESTION, QUESTION),
        asked(QUESTION, system="s"),
        asked(QUESTION, tools=(LOOK,)),
        asked(QUESTION, settings=GenerationSettings(seed=1)),
        asked(QUESTION, output=OutputSchema("n", SCHEMA)),
    ],
    ids=["words", "role", "blocks", "length", "system", "tools", "settings", "shape"],
)
def test_what_a_model_reads_makes_a_difference(other: ModelRequest) -> None:
    """Messages, system prompt, tools, settings and shape."""
    assert key(other) != key(asked(QUESTION))


def test_a_tools_description_belongs_to_it() -> None:
    """The same keys tell tools apart that were changed in between."""
    keys = RequestKeys()
    changed = ToolSpec("look", "Look twice.", SCHEMA)
    found = [keys.key(asked(QUESTION, tools=(t,))) for t in (LOOK, changed, LOOK)]
    assert found[0] == found[2] != found[1]


def test_what_is_remembered_changes_no_key() -> None:
    """However a conversation came to be what it is (results one by one, an undo, another branch),
    its key is that of a first look."""
    keys = RequestKeys()
    second = replace(CALL, id=CallId("c2"))
    both = (RESULT, ToolResult(CallId("c2"), "look", (Text("sky"),)))
    calls = of(Role.ASSISTANT, CALL, second)
    paths = [
        (QUESTION,),
        (QUESTION, calls, of(Role.TOOL, RESULT)),
        (QUESTION, calls, of(Role.TOOL, *both)),
        (QUESTION, calls, of(Role.TOOL, *both), Message.assistant("Blue."), Message.user("And?")),
        (QUESTION, Message.assistant("Other.")),
        (),
        (QUESTION,),
    ]
    for path in paths:
        request = asked(*path)
        assert keys.key(request) == key(request)
    keys.forget(ME)
    assert keys.key(asked(*TALK)) == key(asked(*TALK))


def test_a_key_costs_what_is_new() -> None:
    """Of a long conversation only the messages behind the last key are read."""
    keys, long = RequestKeys(), 2_000
    said = History([Message.user(f"message {n}") for n in range(long)])
    grown = said.append(Message.assistant("answer")).append(Message.user("next"))

    def calls_of(messages: History[Message]) -> int:
        count = 0

        def counting(frame: object, event: str, of: object) -> None:
            nonlocal count
            count += event == "call"

        sys.setprofile(counting)
        try:
            keys.key(ModelRequest(messages, conversation=ME))
        finally:
            sys.setprofile(None)
        return count

    assert calls_of(said) > long
    assert calls_of(grown) < 100

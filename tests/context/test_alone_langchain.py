"""LangChain's messages in, LangChain's messages out."""

import random
from collections.abc import Sequence

import pytest

pytest.importorskip("langchain_core")
from hypothesis import given, settings, strategies as st
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
    convert_to_messages,
    convert_to_openai_messages,
)
from langchain_core.messages.utils import count_tokens_approximately

from palaver.context import Window, compact, count, segment
from palaver.domain.errors import ContextWindowExceeded, InvalidInput
from palaver.domain.messages import Message, Role
from tests.context.foreign import faults
from tests.context.histories import history

USER = HumanMessage("Please.")


def messages_of(messages: Sequence[Message]) -> list[BaseMessage]:
    """Our messages as LangChain's; arguments that are no object are invalid calls there."""
    made: list[BaseMessage] = []
    for message in messages:
        match message.role:
            case Role.SYSTEM:
                made.append(SystemMessage(message.text))
            case Role.USER:
                made.append(HumanMessage(message.text or "[a file]"))
            case Role.TOOL:
                made += [
                    ToolMessage(
                        r.text, tool_call_id=r.call_id, status="error" if r.failed else "success"
                    )
                    for r in message.tool_results
                ]
            case Role.ASSISTANT:
                made.append(_answer(message))
    return made


def _answer(message: Message) -> AIMessage:
    whole, broken = [], []
    for call in message.tool_calls:
        try:
            args = call.parsed()
        except ValueError:
            broken.append(
                {
                    "name": call.name,
                    "args": call.arguments,
                    "id": call.id,
                    "error": "no JSON",
                    "type": "invalid_tool_call",
                }
            )
        else:
            whole.append({"name": call.name, "args": args, "id": call.id, "type": "tool_call"})
    return AIMessage(message.text, tool_calls=whole, invalid_tool_calls=broken)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**40))
def test_any_history_any_budget(seed: int) -> None:
    """Valid as chat completions has it, kept objects the same, within the budget by LangChain's own
    counter or ours, settled, input unchanged."""
    chance = random.Random(seed)
    messages = messages_of(history(seed))
    for _ in range(chance.randint(0, 3)):
        if len(messages) > 2:
            del messages[chance.randrange(len(messages))]
    before = [message.model_copy(deep=True) for message in messages]
    counts = chance.choice((None, count_tokens_approximately))
    budget = int(count(messages, count=counts) * chance.choice((0.2, 0.5, 0.8, 1.0, 2.0)))
    try:
        made = compact(messages, budget, count=counts)
    except ContextWindowExceeded:
        return
    assert messages == before
    assert all(isinstance(message, BaseMessage) for message in made)
    assert count(made, count=counts) <= budget
    assert not any(m.invalid_tool_calls for m in made if isinstance(m, AIMessage))
    converted = convert_to_openai_messages(made)
    assert isinstance(converted, list)
    assert faults(converted) == []
    users = [m for m in messages if isinstance(m, HumanMessage) and str(m.content).strip()]
    assert all(any(m is user for m in made) for user in (*users[:1], *users[-1:]))
    again = compact(made, budget, count=counts)
    assert all(a is b for a, b in zip(again, made, strict=True))


def test_what_fits_and_is_valid_comes_back_as_it_is() -> None:
    """Blocks of content, calls, metadata: the very same objects."""
    call = {"name": "read", "args": {"path": "/a"}, "id": "t1"}
    messages = [
        SystemMessage([{"type": "text", "text": "Be brief."}]),
        HumanMessage([{"type": "text", "text": "Look."}, {"type": "image", "url": "https://x/y"}]),
        AIMessage(
            [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "tool_use", "id": "t1", "name": "read", "input": {"path": "/a"}},
            ],
            tool_calls=[call],
        ),
        ToolMessage("", tool_call_id="t1"),
        AIMessage("Empty."),
    ]
    made = compact(messages, 10_000)
    assert all(a is b for a, b in zip(made, messages, strict=True))


def test_calls_within_content_alone_are_calls() -> None:
    """Messages that were made by hand from a provider's answer have calls nowhere else."""
    used = {"type": "tool_use", "id": "t1", "name": "read", "input": {"path": "/a"}}
    made = compact([USER, AIMessage([used]), ToolMessage("x", tool_call_id="t1")], 10_000)
    assert isinstance(made[1], AIMessage)
    assert [call["id"] for call in made[1].tool_calls] == ["t1"]
    assert isinstance(made[2], ToolMessage)


def test_an_invalid_call_becomes_one_that_is_answered() -> None:
    """Some adapters send it back, and then it needs its result."""
    invalid = {"name": "read", "args": "{bro", "id": "t1", "error": "", "type": "invalid_tool_call"}
    kwargs = {"tool_calls": [{"id": "t1"}]}
    source = AIMessage("", invalid_tool_calls=[invalid], additional_kwargs=kwargs)
    made = compact([USER, source], 10_000)
    assert isinstance(made[1], AIMessage)
    assert made[1].tool_calls[0]["args"] == {"input": "{bro"}
    assert made[1].invalid_tool_calls == []
    assert "tool_calls" not in made[1].additional_kwargs
    assert isinstance(made[2], ToolMessage)
    assert source.invalid_tool_calls == [invalid]


def test_cleared_results_keep_their_message() -> None:
    """What was read again later: id, name and status of the original, which is not touched."""
    messages: list[BaseMessage] = [USER]
    for n in range(30):
        call = {"name": "read", "args": {"path": "/src/file.py"}, "id": f"t{n}"}
        told = f"line {n} of the file\n" * 40
        messages += [
            AIMessage("", tool_calls=[call]),
            ToolMessage(told, tool_call_id=f"t{n}", name="read", id=f"m{n}"),
        ]
    made = compact(messages, int(count(messages) * 0.7))
    stubs = [
        m for m in made if isinstance(m, ToolMessage) and not any(m is other for other in messages)
    ]
    assert stubs
    for stub in stubs:
        assert stub.name == "read"
        assert stub.id is not None
    assert all(len(str(m.content)) > 500 for m in messages if isinstance(m, ToolMessage))


def test_roles_of_ones_own_are_understood() -> None:
    """A chat message has its role as a field; what only changes a list is no message."""
    messages: list[BaseMessage] = [ChatMessage(content="Hello", role="user"), AIMessage("Hi.")]
    assert compact(messages, 1_000) == messages
    with pytest.raises(InvalidInput):
        compact([RemoveMessage(id="x")], 1_000)


def test_topics_and_windows_take_them() -> None:
    """As dictionaries and texts."""
    texts = ["Book me a flight to Oslo.", "Done.", "Another thing: my laptop is broken.", "Oh."]
    messages = convert_to_messages([(("user", "assistant")[n % 2], t) for n, t in enumerate(texts)])
    pairs = [(("user", "assistant")[n % 2], text) for n, text in enumerate(texts)]
    assert segment(messages) == segment(pairs)
    window: Window[BaseMessage] = Window(1_000)
    for message in messages:
        window.append(message)
    assert window.messages() == messages

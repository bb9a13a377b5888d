"""Whatever a conversation goes through, its requests stay valid and independent of what is kept."""

import asyncio
import json
from typing import Any

from hypothesis import given, settings, strategies as st

from palaver.domain.history import History
from palaver.domain.ids import CallId, MessageId
from palaver.domain.messages import (
    Block,
    Message,
    Reasoning,
    Role,
    Text,
    ToolCall,
    ToolResult,
    Unknown,
)
from palaver.providers.anthropic_request import RequestEncoder
from palaver.providers.base import ModelInfo, ModelRequest

OURS = "anthropic.messages"
TEXTS = st.sampled_from(["", " ", "hello", "long " * 900, "größer 👩‍🚀\n"])
CALLS = st.builds(
    lambda id, arguments: ToolCall(CallId(id), "look", arguments),
    st.sampled_from(["toolu_1", "toolu_2", "a:b", "", "0"]),
    st.sampled_from(["{}", "", '{"x": [1, {"y": "z"}]}', "[1]", '{"x']),
)
SPOKEN: st.SearchStrategy[Block] = st.one_of(
    st.builds(Text, TEXTS),
    st.builds(
        lambda text, signature, origin: Reasoning(text, signature=signature, origin=origin),
        TEXTS,
        st.sampled_from(["", "sig"]),
        st.sampled_from(["", OURS, "openai.responses"]),
    ),
    st.builds(lambda: Unknown(OURS, "fallback", '{"type":"fallback"}')),
    st.builds(lambda: Unknown("openai.responses", "x", '{"type":"x"}')),
)
ROUNDS = st.tuples(TEXTS, st.lists(SPOKEN, max_size=3), st.lists(CALLS, max_size=3), st.booleans())


def spoken(number: int, round_: tuple[str, list[Block], list[ToolCall], bool]) -> list[Message]:
    text, blocks, calls, failed = round_
    unique = tuple({call.id: call for call in calls}.values())
    answer = Message(Role.ASSISTANT, (*blocks, *unique), MessageId(f"a{number}"))
    made = [Message.user(text, id=f"u{number}"), answer]
    if unique:
        results = tuple(
            ToolResult(call.id, "look", (Text(text),) if text else (), failed) for call in unique
        )
        made.append(Message(Role.TOOL, results, MessageId(f"a{number}.results")))
    return made


def encoder() -> RequestEncoder:
    info = ModelInfo("anthropic:claude-sonnet-4-5")
    return RequestEncoder(model="claude-sonnet-4-5", info=info, provider="anthropic")


def check(sent: dict[str, Any]) -> None:
    """The API's own rules."""
    sides = [message["role"] for message in sent["messages"]]
    assert sides[::2] == ["user"] * len(sides[::2])
    assert sides[1::2] == ["assistant"] * len(sides[1::2])
    called: list[str] = []
    everything: set[str] = set()
    marks = 0
    for message in sent["messages"]:
        assert message["content"]
        answered = [b["tool_use_id"] for b in message["content"] if b["type"] == "tool_result"]
        assert answered == called or message["role"] == "assistant"
        called = [b["id"] for b in message["content"] if b["type"] == "tool_use"]
        assert everything.isdisjoint(called)
        everything |= set(called)
        for block in message["content"]:
            marks += "cache_control" in block
            assert block.get("text", "x").strip()
            assert not block.get("is_error") or block["content"]
            if block["type"] == "thinking":
                assert block["signature"] == "sig"
        if message["role"] == "assistant":
            assert message["content"][-1]["type"] != "thinking"
    assert marks + sum("cache_control" in block for block in sent.get("system", ())) <= 4


@settings(deadline=None, max_examples=80)
@given(
    rounds=st.lists(ROUNDS, min_size=1, max_size=6),
    cut=st.integers(0, 10),
    system=TEXTS,
    head=TEXTS,
)
def test_requests_are_valid_and_repeatable(
    rounds: list[tuple[str, list[Block], list[ToolCall], bool]], cut: int, system: str, head: str
) -> None:
    """Growing, undoing, branching: each request is valid, and the same as a fresh encoder's."""

    async def run() -> None:
        kept = encoder()
        history: History[Message] = History([Message(Role.SYSTEM, (Text(head),))])
        for number, round_ in enumerate(rounds):
            history = History([*history, *spoken(number, round_)])
            for messages in (history, history[: max(2, len(history) - cut)], history):
                asked = History([*messages, Message.user("next", id=f"n{number}")])
                request = ModelRequest(asked, system=system)
                body = await kept.encode(request)
                assert body == await encoder().encode(request)
                if asked[-2].role is not Role.ASSISTANT or not asked[-2].tool_calls:
                    check(json.loads(b"".join(body)))

    asyncio.run(run())


async def test_two_requests_at_once() -> None:
    """Requests of one conversation that overlap do not mix."""
    kept = encoder()
    base = [m for n in range(3) for m in spoken(n, ("q", [Text("a")], [], False))]
    first = ModelRequest((*base, Message.user("one", id="x")))
    second = ModelRequest((*base, Message.user("two", id="y")))
    bodies = await asyncio.gather(*(kept.encode(r) for r in (first, second, first, second)))
    assert bodies[0] == bodies[2] == await encoder().encode(first)
    assert bodies[1] == bodies[3] == await encoder().encode(second)

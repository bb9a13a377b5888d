"""Messages both ways between Palaver and LangChain."""

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st
from pydantic import SecretStr

pytest.importorskip("langchain_core")
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
    messages_from_dict,
    messages_to_dict,
)

from palaver.domain.errors import InvalidInput
from palaver.domain.ids import BlobId, CallId, MessageId
from palaver.domain.messages import (
    Block,
    File,
    Flag,
    Image,
    Message,
    Reasoning,
    Refusal,
    Role,
    StopReason,
    Text,
    ToolCall,
    ToolResult,
    Unknown,
)
from palaver.langchain import from_langchain, stored, to_langchain

texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=30)
short = st.text("abcXYZ09_-", max_size=8)
blobs = st.builds(lambda n: BlobId(f"sha256:{n:064x}"), st.integers(0, 9))
origins = st.sampled_from(
    ["", "anthropic.messages", "openai.responses", "openai.chat", "langchain.x", "other"]
)
raws = st.sampled_from(['{"type":"new","x":[1,2]}', "[]", "no json", '{"x":1}', '{"type":1}', ""])
pictures = st.builds(Image, short, blobs, st.none(), texts, st.integers(0, 9), st.integers(0, 9))
linked = st.builds(Image, short, st.none(), st.just("https://example.org/a.png"))
files = st.builds(File, short, blobs, st.none(), texts, st.integers(0, 9))
plain: st.SearchStrategy[Block] = st.one_of(st.builds(Text, texts, texts), pictures, linked, files)
arguments = st.sampled_from(['{"a":1.0}', "{}", "", '{"a":', "[1]", '{"b":1e2,"a":"ü"}'])
blocks: st.SearchStrategy[Block] = st.one_of(
    plain,
    st.builds(ToolCall, short.map(CallId), short, arguments, origins, raws),
    st.builds(
        ToolResult,
        short.map(CallId),
        short,
        st.lists(st.one_of(st.builds(Text, texts), pictures), max_size=3).map(tuple),
        st.booleans(),
        st.none() | blobs,
        st.booleans(),
    ),
    st.builds(Reasoning, texts, texts, texts, short, origins, raws),
    st.builds(Refusal, texts),
    st.builds(Unknown, origins, short, raws),
)
messages = st.builds(
    Message,
    st.sampled_from(Role),
    st.lists(blocks, max_size=4).map(tuple),
    short.map(MessageId),
    st.none() | short.map(MessageId),
    st.sampled_from(["", "anthropic:claude", "openai:gpt-5", "langchain:x:y"]),
    st.none() | st.sampled_from(StopReason),
    st.lists(st.sampled_from(Flag), max_size=2).map(tuple),
    short,
)


@given(st.lists(messages, max_size=5))
def test_there_and_back(given: list[Message]) -> None:
    """Domain → LangChain → domain is the identity, whatever the messages hold."""
    assert from_langchain(to_langchain(given)) == tuple(given)


@given(st.lists(messages, max_size=4))
def test_there_and_back_through_json(given: list[Message]) -> None:
    """Also when LangChain stored the messages in between."""
    kept = json.loads(json.dumps(messages_to_dict(to_langchain(given))))
    assert from_langchain(messages_from_dict(kept)) == tuple(given)


def test_what_was_changed_counts() -> None:
    """A message that somebody edited in LangChain is read as it stands, not as it was."""
    call = ToolCall(CallId("c"), "look", '{"a":1}')
    made = to_langchain([Message.user("hi", id="m1"), Message.assistant((Text("so"), call))])
    made[0].content = "hello"
    assert isinstance(made[1], AIMessage)
    made[1].tool_calls[0]["args"] = {"a": 2}
    changed = from_langchain(made)
    assert changed[0] == Message.user("hello", id="m1")
    assert changed[1].tool_calls[0].parsed() == {"a": 2}


def test_results_that_were_parted() -> None:
    """Dropping one of two results leaves the other as a message of its own."""
    results = tuple(ToolResult(CallId(i), "t", (Text(i),)) for i in "ab")
    made = to_langchain([Message(Role.TOOL, results)])
    assert len(made) == 2
    (kept,) = from_langchain(made[1:])
    assert [r.text for r in kept.tool_results] == ["b"]


def payload(wire: str, messages: list[BaseMessage]) -> Any:
    """What LangChain's own adapter sends for these messages."""
    if wire == "messages":
        from langchain_anthropic import ChatAnthropic

        made: Any = ChatAnthropic(
            model_name="claude-haiku-4-5", api_key=SecretStr("k"), stop=None, timeout=None
        )
    else:
        from langchain_openai import ChatOpenAI

        made = ChatOpenAI(
            model="gpt-5-mini", api_key=SecretStr("k"), use_responses_api=wire == "responses"
        )
    return made._get_request_payload(messages)


PNG = "data:image/png;base64,iVBORw0KGgo="
CALL: Any = {"type": "tool_call", "id": "c1", "name": "look", "args": {"a": [1, "ü"]}}
THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "sig"}
ITEM = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": "hm"}],
    "encrypted_content": "xyz",
}
FUNCTION = {"type": "function_call", "name": "look", "arguments": "{}", "call_id": "c1"}
CONVERSATIONS: dict[str, list[BaseMessage]] = {
    "text": [SystemMessage("Be brief."), HumanMessage("hi"), AIMessage("yo"), HumanMessage("?")],
    "calls": [
        HumanMessage("look"),
        AIMessage("", tool_calls=[CALL, {**CALL, "id": "c2"}]),
        ToolMessage("one", tool_call_id="c1"),
        ToolMessage("two", tool_call_id="c2", status="error"),
    ],
    "picture": [
        HumanMessage(
            [
                {"type": "text", "text": "What?"},
                {"type": "image_url", "image_url": {"url": PNG}},
                {"type": "image", "base64": "iVBORw0KGgo=", "mime_type": "image/png"},
                {"type": "image", "url": "https://example.org/a.png"},
            ]
        )
    ],
}
THOUGHTFUL: dict[str, list[BaseMessage]] = {
    "messages": [
        HumanMessage("look"),
        AIMessage(
            [THOUGHT, {"type": "text", "text": "So."}, {**CALL, "type": "tool_use", "input": {}}],
            tool_calls=[CALL],
            response_metadata={"model_provider": "anthropic"},
        ),
        ToolMessage("one", tool_call_id="c1"),
    ],
    "responses": [
        HumanMessage("look"),
        AIMessage(
            [ITEM, {"type": "text", "text": "So."}, FUNCTION],
            tool_calls=[{**CALL, "args": {}}],
            response_metadata={"model_provider": "openai"},
        ),
        ToolMessage("one", tool_call_id="c1"),
    ],
}


@pytest.mark.parametrize("wire", ["messages", "chat", "responses"])
@pytest.mark.parametrize("name", ["text", "calls", "picture"])
def test_the_reverse_sends_the_same(wire: str, name: str) -> None:
    """LangChain → domain → LangChain makes the same request."""
    given = CONVERSATIONS[name]
    again = to_langchain(from_langchain(given))
    assert payload(wire, again) == payload(wire, given)


@pytest.mark.parametrize("wire", ["messages", "responses"])
def test_thinking_comes_back(wire: str) -> None:
    """Signed and encrypted thinking reaches its provider unchanged, in its place."""
    given = THOUGHTFUL[wire]
    middle = from_langchain(given)
    assert [type(b) for b in middle[1].content] == [Reasoning, Text, ToolCall]
    sent, again = payload(wire, given), payload(wire, to_langchain(middle))
    key = "messages" if wire == "messages" else "input"
    thoughts = ("thinking", "reasoning")
    assert [b for b in _flat(sent[key]) if b.get("type") in thoughts] == [
        b for b in _flat(again[key]) if b.get("type") in thoughts
    ]
    assert [b.get("type") for b in _flat(sent[key])] == [b.get("type") for b in _flat(again[key])]


def _flat(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for item in items:
        content = item.get("content")
        found += content if isinstance(content, list) else [item]
    return found


async def test_pictures_and_files_move_to_the_store() -> None:
    """Every form in which LangChain keeps bytes ends up in the blob store once asked."""
    kept: dict[BlobId, bytes] = {}

    async def keep(data: bytes) -> BlobId:
        kept[BlobId(f"b{len(kept)}")] = data
        return BlobId(f"b{len(kept) - 1}")

    pdf = {"type": "file", "base64": "JVBERg==", "mime_type": "application/pdf"}
    source = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
    given = [
        *CONVERSATIONS["picture"],
        HumanMessage([pdf, {"type": "image", "source": source}]),
        HumanMessage([{"type": "file", "file": {"filename": "a", "file_data": PNG}}]),
    ]
    first, second, third = await stored(from_langchain(given), keep)
    png = b"\x89PNG\r\n\x1a\n"
    assert list(kept.values()) == [png, png, b"%PDF", png, png]
    assert [getattr(b, "url", None) for b in first.content][-1] == "https://example.org/a.png"
    assert second.content[0] == File("application/pdf", BlobId("b2"), size=4)
    assert isinstance(third.content[0], File)
    assert third.content[0].name == "a"
    shown = to_langchain((first, second), blobs=kept)
    assert shown[0].content[1] == {
        "type": "image",
        "base64": "iVBORw0KGgo=",
        "mime_type": "image/png",
    }


def test_what_is_no_message() -> None:
    """Instructions of LangGraph's and unknown roles are refused by name."""
    with pytest.raises(InvalidInput, match="remove"):
        from_langchain([RemoveMessage(id="x")])
    assert from_langchain([ChatMessage(content="hi", role="user")])[0].role is Role.USER

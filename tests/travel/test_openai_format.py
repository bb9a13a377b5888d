"""Chat completions: every way of writing them is read, and what we write comes back."""

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st
from msgspec.structs import replace

from palaver.domain.ids import BlobId, CallId, ConversationId, MessageId
from palaver.domain.messages import (
    Block,
    File,
    Flag,
    Image,
    Message,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from palaver.domain.state import ConversationState
from palaver.domain.values import UserPreferences
from palaver.testing import valid_history
from palaver.travel import openai_format
from palaver.travel.attachments import blob_id
from palaver.travel.base import Imported, RepairKind
from palaver.travel.source import Source

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
DATA = Path(os.environ.get("PALAVER_TEST_DATA", SHARED))
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20
words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20).filter(
    lambda text: bool(text.strip())
)


def nothing(blob: BlobId) -> None:
    """No blob is here."""


def read(*values: Any) -> tuple[Imported, ...]:
    data = "\n".join(json.dumps(value) for value in values)
    return tuple(openai_format.read(Source(data.encode())))


def one(*values: Any) -> Imported:
    (made,) = read(*values)
    return made


def state_of(*messages: Message, system: str = "") -> ConversationState:
    state = ConversationState(ConversationId("c"), preferences=UserPreferences(system=system))
    for message in messages:
        state = state.with_message(message)
    return state


def told(imported: Imported) -> list[tuple[Role, tuple[Block, ...]]]:
    return [(message.role, message.content) for message in imported.messages]


@st.composite
def histories(draw: st.DrawFn) -> list[Message]:
    """Valid ones, in what the format can hold."""
    messages = []
    for n in range(draw(st.integers(1, 4))):
        messages.append(Message.user(draw(words), id=f"u{n}"))
        for step in range(draw(st.integers(0, 2))):
            names = draw(st.lists(st.sampled_from(["look", "find"]), min_size=1, max_size=3))
            calls = tuple(
                ToolCall(CallId(f"c{n}{step}{i}"), name, json.dumps({"a": draw(words)}))
                for i, name in enumerate(names)
            )
            text = (Text(draw(words)),) if draw(st.booleans()) else ()
            results = tuple(ToolResult(c.id, c.name, (Text(draw(words)),)) for c in calls)
            asked = Message(Role.ASSISTANT, (*text, *calls), MessageId(f"a{n}{step}"))
            messages += [asked, Message(Role.TOOL, results, MessageId(f"a{n}{step}.results"))]
        messages.append(Message.assistant(draw(words), id=f"e{n}"))
    return messages


@given(histories(), st.one_of(st.just(""), words))
def test_there_and_back_keeps_roles_text_calls_and_results(
    messages: list[Message], system: str
) -> None:
    """What we write is read as the same conversation: nothing to mend, the same hash."""
    state = state_of(*messages, system=system)
    (made,) = openai_format.read(Source(openai_format.write(state, blobs=nothing).line))
    assert told(made) == [(m.role, m.content) for m in messages]
    assert made.system == system
    assert made.repairs == ()
    assert state_of(*made.messages).content_hash == state.content_hash


def test_pictures_and_files_travel_as_data_urls() -> None:
    """Bytes that are here are written and come back; addresses stay addresses."""
    said = (
        Image("image/png", blob_id(PNG)),
        Image(url="https://example.org/a.png"),
        File("application/pdf", blob_id(b"%PDF"), name="a.pdf", size=4),
        Text("What is this?"),
    )
    blobs = {blob_id(PNG): PNG, blob_id(b"%PDF"): b"%PDF"}
    wrote = openai_format.write(state_of(Message(Role.USER, said)), blobs=blobs.get)
    (made,) = openai_format.read(Source(wrote.line))
    assert made.messages[0].content == said
    assert made.blobs == blobs
    assert wrote.attachments == 0


def test_what_the_format_cannot_hold_is_counted() -> None:
    """Thinking goes, missing bytes become a note, a cut answer is not trained on."""
    gone = Image("image/png", BlobId("sha256:" + "0" * 64), name="map.png")
    cut = Message(Role.ASSISTANT, (Reasoning("Hm."), Text("It is")), flags=(Flag.PARTIAL,))
    wrote = openai_format.write(state_of(Message(Role.USER, (gone,)), cut), blobs=nothing)
    assert (wrote.reasoning, wrote.attachments, wrote.unknown) == (1, 1, 0)
    assert json.loads(wrote.line)["messages"] == [
        {"role": "user", "content": "[picture: map.png]"},
        {"role": "assistant", "content": "It is", "weight": 0},
    ]


def test_pictures_of_tools_follow_their_results() -> None:
    """A tool message cannot hold a picture, so a message of the user behind all results does."""
    calls = tuple(ToolCall(CallId(id), "draw") for id in "ab")
    drawn = ToolResult(CallId("a"), "draw", (Text("Here:"), Image("image/png", blob_id(PNG))))
    messages = (
        Message.user("Draw."),
        Message(Role.ASSISTANT, calls),
        Message(Role.TOOL, (drawn, ToolResult(CallId("b"), "draw", (Text("no"),)))),
    )
    wrote = openai_format.write(state_of(*messages), blobs={blob_id(PNG): PNG}.get)
    roles = [message["role"] for message in json.loads(wrote.line)["messages"]]
    assert roles == ["user", "assistant", "tool", "tool", "user"]
    (made,) = openai_format.read(Source(wrote.line))
    assert made.repairs == ()


def test_tools_are_written_beside_the_messages() -> None:
    """Fine-tuning wants the schemas that the calls were made with."""
    tool = {"name": "look", "description": "Looks.", "parameters": {"type": "object"}}
    wrote = openai_format.write(state_of(Message.user("x")), blobs=nothing, tools=[tool])
    assert json.loads(wrote.line)["tools"] == [{"type": "function", "function": tool}]


HELLO = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(json.dumps({"messages": HELLO}), id="line"),
        pytest.param(json.dumps({"messages": HELLO}, indent=2), id="indented"),
        pytest.param(json.dumps(HELLO), id="list"),
        pytest.param(json.dumps(HELLO, indent=1), id="indented-list"),
        pytest.param("\n".join(map(json.dumps, HELLO)), id="messages"),
        pytest.param("\r\n\r\n".join(map(json.dumps, HELLO)), id="blank-lines"),
        pytest.param(json.dumps([{"messages": HELLO}]), id="list-of-conversations"),
        pytest.param(json.dumps({"body": {"messages": HELLO}, "custom_id": "x"}), id="batch"),
        pytest.param(
            json.dumps({"messages": HELLO[:1], "choices": [{"message": HELLO[1]}]}), id="answered"
        ),
    ],
)
def test_every_layout_of_a_file_is_read(data: str) -> None:
    """Lines, lists and single objects of conversations or messages are the same conversation."""
    source = Source(data.encode())
    assert openai_format.sniff(source)
    (made,) = openai_format.read(source)
    assert [(m.role, m.text) for m in made.messages] == [
        (Role.USER, "Hi"),
        (Role.ASSISTANT, "Hello"),
    ]


def test_a_file_of_many_conversations_gives_each() -> None:
    """Lines are conversations of their own; a damaged line is told, not passed over in silence."""
    lines = [json.dumps({"messages": HELLO, "id": n}) for n in range(3)]
    made = tuple(openai_format.read(Source("\n".join([*lines, '{"mess']).encode())))
    assert [conversation.custom for conversation in made] == [
        {"conversation": "0"},
        {"conversation": "1"},
        {"conversation": "2"},
    ]
    assert [repair.kind for repair in made[-1].repairs] == [RepairKind.UNKNOWN_RECORD]


def test_instructions_of_both_names_are_the_system_prompt() -> None:
    """`system` and `developer` before the first message are one prompt."""
    said = [{"role": "system", "content": "A"}, {"role": "developer", "content": "B"}, *HELLO]
    assert one({"messages": said}).system == "A\n\nB"


def test_old_function_calls_are_calls() -> None:
    """`function_call` and `role: function` pair by name and order, for they have no ids."""
    called = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": ""}}
    made = one(*HELLO[:1], called, {"role": "function", "name": "f", "content": "7"}, called)
    (first,), (answer,) = made.messages[1].tool_calls, made.messages[2].tool_results
    assert (first.name, answer.call_id, answer.text) == ("f", first.id, "7")
    assert made.messages[3].tool_calls[0].id != first.id
    assert [r.kind for r in made.repairs] == [RepairKind.UNANSWERED_CALL]


def test_dialects_of_calls_are_understood() -> None:
    """Arguments as objects, flat calls, calls without ids, and custom tools with plain input."""
    calls = [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": {"x": 1}}},
        {"id": "b", "name": "g", "arguments": {"y": [2]}},
        {"function": {"name": "h", "arguments": "{}"}},
        {"id": "d", "type": "custom", "custom": {"name": "i", "input": "text"}},
    ]
    results = [
        {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "1"}]},
        {"role": "tool", "id": "b", "content": None},
        {"role": "tool", "content": {"z": 3}},
        {"role": "tool", "tool_call_id": "d", "content": "4"},
    ]
    made = one(HELLO[0], {"role": "assistant", "tool_calls": calls}, *results)
    assert [(c.name, c.parsed()) for c in made.messages[1].tool_calls] == [
        ("f", {"x": 1}),
        ("g", {"y": [2]}),
        ("h", {}),
        ("i", {"input": "text"}),
    ]
    assert [r.text for r in made.messages[2].tool_results] == ["1", "", '{"z":3}', "4"]
    assert made.repairs == ()


def test_parts_of_all_kinds_are_read() -> None:
    """Text, pictures, files, refusals, thinking; what is unknown is kept as it came."""
    said = [
        {"type": "text", "text": "Look: "},
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png", "detail": "low"}},
        {"type": "input_image", "image_url": "https://example.org/b.png"},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
        "and text",
    ]
    answer = {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}
    thought = {"role": "assistant", "content": "Yes", "reasoning_content": "Hm.", "refusal": None}
    made = one({"role": "user", "content": said}, answer, HELLO[0], thought)
    kinds = [type(block).__name__ for block in made.messages[0].content]
    assert kinds == ["Text", "Image", "Image", "Text", "File", "Text"]
    assert made.messages[1].content == (Refusal("No."),)
    assert made.messages[3].content == (Reasoning("Hm."), Text("Yes"))
    assert len(made.blobs) == 1


def test_speakers_of_one_role_keep_their_names() -> None:
    """Of several users each message says whose it is; a single one's name is kept beside."""
    by = [{"role": "user", "name": name, "content": "Hi"} for name in ("ann", "bob")]
    assert [m.text for m in one(*by).messages] == ["ann: Hi", "bob: Hi"]
    alone = one(by[0], HELLO[1])
    assert alone.messages[0].text == "Hi"
    assert alone.custom == {"user_name": "ann"}


def test_a_pair_of_answers_is_two_branches() -> None:
    """The preferred answer ends the path; the other one stays beside it."""
    pair = {
        "input": {"messages": HELLO[:1]},
        "preferred_output": [{"role": "assistant", "content": "good"}],
        "non_preferred_output": [{"role": "assistant", "content": "bad"}],
    }
    made = one(pair)
    head = next(m for m in made.messages if m.id == made.head)
    assert head.text == "good"
    assert {m.text for m in made.messages if m.parent == head.parent} == {"good", "bad"}


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.sampled_from(["user", "tool", "x", "{"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["role", "content", "messages", "tool_calls", "function", "name", "type", "id"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=20,
    )
)
def test_nonsense_is_refused_without_a_crash(value: object) -> None:
    """Whatever JSON a file holds, it is read as valid history or as nothing."""
    for made in read(value, {"messages": [value, *HELLO]}):
        assert valid_history(made.messages) == []


def well(message: Message) -> Message:
    """The message as if no tool had failed, which the format cannot say."""
    content = (
        replace(b, failed=False) if isinstance(b, ToolResult) else b for b in message.content
    )
    return replace(message, content=tuple(content))


@pytest.mark.parametrize("file", ["tau_airline", "tau2"])
def test_recorded_dialogues_come_back_to_the_same_hash(file: str) -> None:
    """Real dialogues, read, written and read again, are the same conversations, but for failures,
    which are counted."""
    path = DATA / "service_dialogues" / f"{file}.jsonl.gz"
    if not path.exists():
        pytest.skip("the shared data is not here")
    for made in openai_format.read(Source(gzip.decompress(path.read_bytes())[:2_000_000])):
        assert valid_history(made.messages) == []
        state = state_of(*made.messages, system=made.system)
        wrote = openai_format.write(state, blobs=nothing)
        (again,) = openai_format.read(Source(wrote.line))
        kept = state if wrote.failed == 0 else state_of(*map(well, state.messages))
        assert state_of(*again.messages).content_hash == kept.content_hash

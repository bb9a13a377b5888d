"""ChatGPT's export: a tree of nodes becomes a conversation with branches."""

import json
import os
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from palaver.domain.errors import InvalidInput
from palaver.domain.messages import Flag, Image, Message, Reasoning, Role, StopReason, Text
from palaver.testing import valid_history
from palaver.travel import chatgpt
from palaver.travel.base import Imported, RepairKind
from palaver.travel.chatgpt_files import Export
from palaver.travel.source import Source

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
DATA = Path(os.environ.get("PALAVER_TEST_DATA", SHARED))
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20


def node(
    id: str, parent: str | None, role: str, content: Any, *, name: str = "", **more: Any
) -> dict[str, Any]:
    if isinstance(content, str):
        content = {"content_type": "text", "parts": [content]}
    author = {"role": role, "name": name or None}
    message = {"id": id, "author": author, "content": content, "recipient": "all", **more}
    return {"id": id, "parent": parent, "children": [], "message": message}


def export(*nodes: dict[str, Any], current: str = "", **more: Any) -> dict[str, Any]:
    root: dict[str, Any] = {"id": "root", "parent": None, "children": [], "message": None}
    mapping = {n["id"]: n for n in (root, *nodes)}
    for made in nodes:
        mapping[made["parent"]]["children"].append(made["id"])
    current = current or nodes[-1]["id"]
    return {
        "title": "Tea",
        "create_time": 1.7e9,
        "mapping": mapping,
        "current_node": current,
    } | more


def read(*conversations: Any) -> tuple[Imported, ...]:
    source = Source(json.dumps(conversations).encode())
    assert chatgpt.sniff(source)
    return tuple(chatgpt.read(source))


def one(*nodes: dict[str, Any], **more: Any) -> Imported:
    (made,) = read(export(*nodes, **more))
    return made


def path(made: Imported) -> list[Message]:
    by_id = {m.id: m for m in made.messages}
    found, at = [], made.head
    while at is not None:
        found.append(by_id[at])
        at = by_id[at].parent
    found.reverse()
    assert valid_history(found) == []
    return found


def packed(**files: bytes) -> bytes:
    target = BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return target.getvalue()


def test_branches_are_kept_and_the_head_is_where_it_was() -> None:
    """An edited question and an answer asked for again are branches; `current_node` is the head."""
    made = one(
        node("u1", "root", "user", "Hi"),
        node("a1", "u1", "assistant", "First"),
        node("a2", "u1", "assistant", "Second", metadata={"model_slug": "gpt-4o"}),
        node("u2", "a1", "user", "Why?"),
        node("a3", "u2", "assistant", "Because"),
        current="a2",
    )
    assert [m.text for m in path(made)] == ["Hi", "Second"]
    assert {m.text for m in made.messages} == {"Hi", "First", "Second", "Why?", "Because"}
    assert (made.title, made.created_at, made.model) == ("Tea", 1.7e9, "openai:gpt-4o")
    assert made.messages[-1].model in ("", "openai:gpt-4o")


def test_calls_and_their_output_are_one_exchange() -> None:
    """What is said to a tool is a call; text and pictures that come of it are its one result."""
    code = {"content_type": "code", "language": "unknown", "text": "print(6*7)"}
    picture = {"content_type": "image_asset_pointer", "asset_pointer": "file-service://file-x"}
    made = one(
        node("u", "root", "user", "Compute"),
        node("c", "u", "assistant", code, recipient="python"),
        node("t1", "c", "tool", {"content_type": "execution_output", "text": "42"}, name="python"),
        node("t2", "t1", "tool", {"content_type": "multimodal_text", "parts": [picture]}),
        node("w", "t2", "assistant", '{"query": "tea"}', recipient="web.search"),
        node("t3", "w", "tool", {"content_type": "system_error", "name": "E", "text": "no net"}),
        node("a", "t3", "assistant", "It is 42."),
    )
    said = path(made)
    assert [m.role.value for m in said] == [
        "user", "assistant", "tool", "assistant", "tool", "assistant",
    ]  # fmt: skip
    assert [c.parsed() for m in said for c in m.tool_calls] == [
        {"input": "print(6*7)"},
        {"query": "tea"},
    ]
    assert said[2].tool_results[0].text == "42[picture: file-x]"
    assert said[4].tool_results[0].failed
    assert "no net" in said[4].tool_results[0].text


def test_two_calls_at_once_get_their_own_results() -> None:
    """Results are told apart by the name of their tool."""
    made = one(
        node("u", "root", "user", "Both"),
        node("c1", "u", "assistant", "{}", recipient="first"),
        node("c2", "c1", "assistant", "{}", recipient="second"),
        node("t2", "c2", "tool", "two", name="second"),
        node("t1", "t2", "tool", "one", name="first"),
        node("a", "t1", "assistant", "Done"),
    )
    results = [(r.name, r.text) for m in path(made) for r in m.tool_results]
    assert results == [("first", "one"), ("second", "two")]


def test_a_call_without_output_is_told() -> None:
    """A stopped tool leaves history valid, and the repair says what was missing."""
    made = one(
        node("u", "root", "user", "Draw"),
        node("c", "u", "assistant", "{}", recipient="dalle.text2im"),
        node("u2", "c", "user", "Never mind"),
    )
    assert [m.role.value for m in path(made)] == ["user", "assistant", "tool", "user"]
    assert RepairKind.UNANSWERED_CALL in {r.kind for r in made.repairs}


def test_thinking_goes_to_the_answer_that_it_led_to() -> None:
    """Thoughts are part of the answer behind them; recaps are not said by anybody."""
    thoughts = {"content_type": "thoughts", "thoughts": [{"summary": "Plan", "content": "Hm."}]}
    made = one(
        node("u", "root", "user", "Hi"),
        node("t", "u", "assistant", thoughts),
        node("r", "t", "assistant", {"content_type": "reasoning_recap", "content": "8s"}),
        node("a", "r", "assistant", "Hello"),
    )
    assert path(made)[1].content == (Reasoning("Plan\n\nHm."), Text("Hello"))


def test_what_people_told_about_themselves_is_the_system_prompt() -> None:
    """Custom instructions, which the export repeats in each branch, are told once."""
    told = {"about_user_message": "I am Ann.", "about_model_message": "Be brief."}
    given = {"content_type": "user_editable_context", "user_profile": "…"}
    data = {"user_context_message_data": told, "is_visually_hidden_from_conversation": True}
    made = one(
        node("s", "root", "system", "", weight=0),
        node("i", "s", "user", given, metadata=data),
        node("u", "i", "user", "Hi"),
        node("a", "u", "assistant", "Hello"),
    )
    assert made.system == "I am Ann.\n\nBe brief."
    assert [m.text for m in path(made)] == ["Hi", "Hello"]
    assert made.repairs == ()


def test_marks_of_the_product_are_gone_from_the_text() -> None:
    """Footnotes become what they stand for, or nothing; no private characters stay."""
    cite = "\ue200cite\ue202turn0search1\ue201"
    text = f'By \ue200entity\ue202["person","Ada","x"]\ue201 {cite}, rest \ue200nav\ue201【3†a】.'
    reference = {"matched_text": cite, "alt": "([site](https://example.org))"}
    made = one(
        node("u", "root", "user", "Who?"),
        node("a", "u", "assistant", text, metadata={"content_references": [reference]}),
    )
    assert path(made)[1].text == "By Ada ([site](https://example.org)), rest ."


def test_a_stopped_answer_is_not_passed_off_as_whole() -> None:
    """Stopped by hand or cut at the limit: both are flagged."""
    cut = {"finish_details": {"type": "max_tokens"}}
    made = one(
        node("u", "root", "user", "Hi"),
        node("a", "u", "assistant", "Hel", status="finished_partial_completion"),
        node("u2", "a", "user", "Go on"),
        node("a2", "u2", "assistant", "lo", metadata=cut),
    )
    _, first, _, second = path(made)
    assert (first.stop, first.flags) == (StopReason.ABORTED, (Flag.PARTIAL,))
    assert (second.stop, second.flags) == (StopReason.MAX_TOKENS, (Flag.PARTIAL,))


def test_code_that_is_said_to_everybody_is_text() -> None:
    """It is fenced, whatever it holds."""
    code = {"content_type": "code", "language": "python", "text": "x = '```'"}
    made = one(node("u", "root", "user", "Code"), node("a", "u", "assistant", code))
    assert path(made)[1].text == "````python\nx = '```'\n````"


def test_the_archive_brings_its_pictures_and_files() -> None:
    """Pictures in the text and attached files are found by their ids."""
    pointer = {
        "content_type": "image_asset_pointer",
        "asset_pointer": "sediment://file_abc",
        "width": 3,
        "height": 2,
    }
    parts = {"content_type": "multimodal_text", "parts": [pointer, "What is it?"]}
    attachments = [
        {"id": "file_abc", "name": "a.png"},
        {"id": "file-Doc", "name": "d.pdf", "mime_type": "application/pdf"},
        {"id": "file-Gone", "name": "gone.txt"},
    ]
    conversation = export(
        node("u", "root", "user", parts, metadata={"attachments": attachments}),
        node("a", "u", "assistant", "A picture"),
    )
    files = {
        "conversations.json": json.dumps([conversation]).encode(),
        "file_abc-sanitized.png": PNG,
        "file-Doc-d.pdf": b"%PDF",
    }
    source = Source(packed(**files))
    assert chatgpt.sniff(source)
    (made,) = chatgpt.read(source)
    image, asked, document, gone = made.messages[0].content
    assert isinstance(image, Image)
    assert (image.name, image.media_type) == ("a.png", "image/png")
    assert (image.width, image.height) == (3, 2)
    assert (asked, gone) == (Text("What is it?"), Text("[file: gone.txt]"))
    assert sorted(made.blobs.values()) == sorted([PNG, b"%PDF"])
    assert getattr(document, "name", "") == "d.pdf"


def test_large_exports_come_in_several_files() -> None:
    """All numbered files of conversations are read, in their order."""
    files = {
        f"x/conversations-00{n}.json": json.dumps(
            [export(node("u", "root", "user", str(n)), node("a", "u", "assistant", "ok"))]
        ).encode()
        for n in (1, 0)
    }
    made = chatgpt.read(Source(packed(**files)))
    assert [m.messages[0].text for m in made] == ["0", "1"]


def test_an_archive_that_unpacks_without_end_is_refused() -> None:
    """Bytes are counted while they are unpacked; a picture that is too large stays out."""
    bomb = packed(
        **{"conversations.json": b" " * 30_000_000, "file-a.png": PNG + b"\0" * 2_000_000}
    )
    assert len(bomb) < 40_000
    archive = Export(bomb, max_bytes=1_000_000, max_file=1_000_000)
    with pytest.raises(InvalidInput, match="unpacks to more"):
        tuple(archive.documents())
    assert archive.file("file-a") is None
    assert Export(bomb).file("file-a") is not None


@pytest.mark.parametrize("cut", [10, 60, 0.5, 0.9])
def test_a_damaged_archive_is_refused(cut: float) -> None:
    """Wherever it was cut, the error is ours."""
    data = packed(**{"conversations.json": os.urandom(3_000)})
    end = int(cut * len(data)) if cut < 1 else int(cut)
    with pytest.raises(InvalidInput):
        tuple(chatgpt.read(Source(data[:end])))


def test_other_archives_are_not_taken_for_it() -> None:
    """An archive without conversations is none of ChatGPT's."""
    assert not chatgpt.sniff(Source(packed(**{"a.txt": b"x"})))
    assert not chatgpt.sniff(Source(b'{"mapping": {"a": 1}}'))


def test_circles_and_gaps_in_a_tree_do_no_harm() -> None:
    """A child that is its own ancestor, unknown children, a missing head: read what there is."""
    conversation = export(node("u", "root", "user", "Hi"), node("a", "u", "assistant", "Hello"))
    conversation["mapping"]["a"]["children"] = ["u", "nowhere", 7]
    conversation["current_node"] = "nowhere"
    conversation["mapping"]["odd"] = {"parent": "nowhere", "message": {"content": 7}}
    (made,) = read(conversation)
    assert {m.text for m in made.messages} == {"Hi", "Hello"}


def test_a_deep_conversation_is_read() -> None:
    """Depth is bounded by memory, not by the interpreter's stack."""
    nodes = [node("n0", "root", "user", "0")]
    for n in range(1, 3_000):
        role = "assistant" if n % 2 else "user"
        nodes.append(node(f"n{n}", f"n{n - 1}", role, str(n)))
    assert len(one(*nodes).messages) == 3_000


def test_the_recorded_export_is_read() -> None:
    """A sample with one edited question."""
    found = list((DATA / "coding_agents" / "sessions").glob("chatgpt-export__*"))
    if not found:
        pytest.skip("the shared data is not here")
    (made,) = chatgpt.read(Source(found[0].read_bytes()))
    assert [m.role for m in path(made)] == [Role.USER, Role.ASSISTANT] * 2
    assert len(made.messages) == 5

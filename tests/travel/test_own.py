"""Palaver's own file: there and back without a loss, and damage told by its line."""

import base64
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given

from palaver.domain.errors import InvalidInput
from palaver.domain.events import (
    ConversationCreated,
    HeadMoved,
    MessageAdded,
    Recorded,
    ToolResolved,
    TurnOpened,
    UnknownEvent,
)
from palaver.domain.ids import BlobId, CallId, ConversationId, MessageId, TurnId
from palaver.domain.messages import File, Image, Message, Role, Text, ToolCall, ToolResult
from palaver.domain.reducer import fold
from palaver.domain.state import ConversationState
from palaver.domain.values import SessionMetadata, UserPreferences
from palaver.travel import own
from palaver.travel.attachments import blob_id
from tests.domain.strategies import logs

HEADER = own.Header(conversation=ConversationId("conv_1"), title="Tea", created_at=1_001.0)


def written(records: Sequence[Recorded], blobs: dict[BlobId, bytes] | None = None) -> bytes:
    return b"".join(own.write(records, header=HEADER, blobs=(blobs or {}).get))


def numbered(*facts: object) -> list[Recorded]:
    return [Recorded(n, 1_000.0 + n, fact) for n, fact in enumerate(facts, 1)]  # type: ignore[arg-type]


def said(text: str, id: str, parent: str | None = None) -> MessageAdded:
    above = MessageId(parent) if parent else None
    return MessageAdded(Message(Role.USER, (Text(text),), MessageId(id), above))


@given(logs())
def test_there_and_back_is_the_same_conversation(records: list[Recorded]) -> None:
    """Every fact comes back as it was, so state and hash are the same."""
    header, read, blobs = own.read_records(written(records))
    assert (header, list(read), blobs) == (HEADER, records, {})
    empty = ConversationState(ConversationId("c"))
    assert fold(empty, read).content_hash == fold(empty, records).content_hash


@given(logs())
def test_what_is_imported_ends_at_the_head(records: list[Recorded]) -> None:
    """Following the parents from the head gives the path that was talked on."""
    state = fold(ConversationState(ConversationId("c")), records)
    made = own.read(written(records))
    by_id = {message.id: message for message in made.messages}
    path, at = [], made.head
    while at is not None:
        path.append(by_id[at])
        at = by_id[at].parent
    assert [m.content for m in reversed(path)] == [m.content for m in state.messages]
    assert len(by_id) == len(state.messages) + sum(len(t.messages) for t in state.aside)


def test_facts_of_a_newer_palaver_stay_byte_for_byte() -> None:
    """Spaces, order and doubled fields of an unknown fact survive, its own `seq` among them."""
    raw = b'{"type" : "moon.phase", "z":1.50,"a": {"seq":7}, "seq": 3, "a":2, "at":"noon"}'
    records = numbered(ConversationCreated(), UnknownEvent("moon.phase", 9, raw))
    once = written(records)
    _, read, _ = own.read_records(once)
    assert read[1].event == UnknownEvent("moon.phase", 9, raw)
    assert written(read) == once


def test_blobs_travel_with_what_refers_to_them() -> None:
    """Bytes of pictures, files and whole tool outputs come along; what nobody names does not."""
    picture, file, full, other = (bytes([n]) * 9 for n in range(4))
    call = ToolCall(CallId("c"), "t")
    result = ToolResult(CallId("c"), "t", (File("text/plain", blob_id(file)),), full=blob_id(full))
    turn = TurnId("t")
    question = Message(Role.USER, (Image("image/png", blob_id(picture)),), MessageId("m1"))
    records = numbered(
        ConversationCreated(),
        TurnOpened(turn),
        MessageAdded(question, turn),
        MessageAdded(Message(Role.ASSISTANT, (call,), MessageId("m2"), question.id), turn),
        ToolResolved(turn, result),
    )
    held = {blob_id(data): data for data in (picture, file, full, other)}
    _, _, blobs = own.read_records(written(records, held))
    assert blobs == {blob_id(data): data for data in (picture, file, full)}


def test_blobs_that_are_gone_are_told_and_do_no_harm() -> None:
    """An export without some bytes says so and can be read."""
    gone = blob_id(b"gone")
    file = Message(Role.USER, (File("text/plain", gone),), MessageId("m"))
    data = written(numbered(ConversationCreated(), MessageAdded(file)))
    assert b'{"blob":"%s","data":null}' % gone.encode() in data
    assert own.read(data).blobs == {}


def test_a_blob_that_only_an_unknown_fact_names_comes_along() -> None:
    """A newer Palaver's attachments are not lost."""
    blob = blob_id(b"new")
    fact = UnknownEvent("x", 1, b'{"type":"x","of":"%s"}' % blob.encode())
    data = written(numbered(ConversationCreated(), fact), {blob: b"new"})
    assert own.read_records(data)[2] == {blob: b"new"}


def test_branches_are_in_it() -> None:
    """What was set aside is imported too, behind the message where it left the path."""
    records = numbered(
        ConversationCreated(UserPreferences("offline", "Be brief."), SessionMetadata("Tea")),
        said("a", "m1"),
        said("b", "m2", "m1"),
        HeadMoved(MessageId("m1"), "edit"),
        said("c", "m3", "m1"),
    )
    made = own.read(written(records))
    assert [(m.id, m.parent) for m in made.messages] == [
        ("m1", None),
        ("m3", "m1"),
        ("m2", "m1"),
    ]
    assert (made.head, made.title, made.system, made.model) == ("m3", "Tea", "Be brief.", "offline")
    assert made.custom == {"conversation": "conv_1"}


def test_an_export_in_the_middle_of_a_turn_is_valid_history() -> None:
    """A call that had no result yet gets one that says so."""
    turn = TurnId("t")
    question = Message(Role.USER, (Text("?"),), MessageId("m1"))
    answer = Message(Role.ASSISTANT, (ToolCall(CallId("c"), "t"),), MessageId("m2"), question.id)
    facts = (TurnOpened(turn), MessageAdded(question, turn), MessageAdded(answer, turn))
    made = own.read(written(numbered(ConversationCreated(), *facts)))
    assert made.messages[-1].tool_results[0].failed
    assert made.head == made.messages[-1].id
    assert made.repairs


def test_files_of_the_first_release_are_read() -> None:
    """Facts without the first and the last line are enough."""
    lines = written(numbered(ConversationCreated(), said("a", "m1"))).splitlines(keepends=True)
    assert own.read(b"".join(lines[1:-1])).messages[0].text == "a"


def test_lines_that_another_program_wrote_anew_are_read() -> None:
    """Spaces between and another order of fields change nothing."""
    line = b'{"type": "conversation.created", "v": 1, "at": 5, "seq": 1}'
    assert own.read_records(line)[1] == (Recorded(1, 5.0, ConversationCreated()),)


DAMAGE: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "cut": lambda lines: [lines[0], lines[1][:-9], *lines[2:]],
    "missing": lambda lines: [lines[0], *lines[2:]],
    "doubled": lambda lines: [*lines[:2], lines[1], *lines[2:]],
    "foreign": lambda lines: [lines[0], b"null", *lines[1:]],
    "deep": lambda lines: [lines[0], b"[" * 100_000, *lines[1:]],
    "untyped": lambda lines: [lines[0], b'{"seq":1,"at":1.0,"v":1,"type":5}', *lines[2:]],
}


@pytest.mark.parametrize("change", DAMAGE)
def test_damage_names_its_line(change: str) -> None:
    """A cut, missing, doubled or foreign line is refused with its number."""
    lines = written(numbered(ConversationCreated(), said("a", "m1"))).splitlines()
    with pytest.raises(InvalidInput, match=r"line [23]"):
        own.read(b"\n".join(DAMAGE[change](lines)))


def test_a_file_that_was_cut_is_told_as_such() -> None:
    """Without its last line, or with fewer lines than that says, it is not taken for whole."""
    blob = blob_id(b"x")
    fact = MessageAdded(Message(Role.USER, (File("", blob),), MessageId("m1")))
    lines = written(numbered(ConversationCreated(), fact), {blob: b"x"}).splitlines()
    for cut in (lines[:-1], lines[:-2], [*lines[:-2], lines[-1]], [lines[0]], []):
        with pytest.raises(InvalidInput):
            own.read(b"\n".join(cut))


def test_bytes_that_are_not_what_the_blob_is_named_after_are_refused() -> None:
    """A blob is known by its SHA-256; nothing else gets in under its name."""
    blob = blob_id(b"x")
    fact = MessageAdded(Message(Role.USER, (File("", blob),), MessageId("m1")))
    data = written(numbered(ConversationCreated(), fact), {blob: b"x"})
    for wrong in (base64.b64encode(b"y"), b"%%%"):
        with pytest.raises(InvalidInput, match="line 4"):
            own.read(data.replace(base64.b64encode(b"x"), wrong))


def test_a_newer_file_says_what_to_do() -> None:
    """The version in the first line is checked."""
    with pytest.raises(InvalidInput, match="version 2"):
        own.read(b'{"palaver":2,"conversation":"c"}\n')


def test_facts_that_cannot_follow_each_other_are_refused() -> None:
    """A head that is nowhere is no conversation."""
    with pytest.raises(InvalidInput):
        own.read(written(numbered(ConversationCreated(), HeadMoved(MessageId("nowhere")))))

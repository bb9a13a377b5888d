"""The format of released logs is pinned: what an older Palaver wrote can be read for ever.

Files in `golden` are never edited. New events and new versions of one add a file beside them.
"""

from pathlib import Path

import pytest

from palaver import codec
from palaver.domain.events import Recorded, UnknownEvent
from palaver.domain.ids import ConversationId, TurnId
from palaver.domain.messages import Flag, Role
from palaver.domain.reducer import fold
from palaver.domain.state import ConversationState, Origin
from palaver.domain.values import SuspendReason

GOLDEN = sorted(Path(__file__).with_name("golden").glob("*.jsonl"))


def records(path: Path) -> list[Recorded]:
    return [codec.decode_recorded(line) for line in path.read_bytes().splitlines()]


def folded(name: str) -> ConversationState:
    path = Path(__file__).with_name("golden") / name
    return fold(ConversationState(ConversationId("conv_golden")), records(path))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: p.stem)
def test_golden_log_is_read(path: Path) -> None:
    """Every line decodes to a known fact and encodes to the same bytes again."""
    assert not any(isinstance(r.event, UnknownEvent) for r in records(path))
    # As no event has changed its shape yet. Those that will are upcast, so they are then written
    # differently.
    written = [codec.encode_recorded(r) for r in records(path)]
    assert written == path.read_bytes().splitlines()


def test_every_fact_is_pinned() -> None:
    """Each type of fact occurs in one of the logs."""
    kinds = {codec.kind(r.event) for path in GOLDEN for r in records(path)}
    assert kinds == set(codec.VERSIONS)


def test_first_golden_log_folds() -> None:
    """The facts still make the conversation that they made then."""
    state = folded("v1.jsonl")
    assert [m.role for m in state.messages] == [
        Role.USER, Role.ASSISTANT, Role.TOOL, Role.ASSISTANT,
    ]  # fmt: skip
    assert state.turn is None
    assert not state.read_only
    assert state.metadata.title == "Weather"
    assert state.usage.total == 1_500
    assert state.messages[2].tool_results[1].text == "refused"
    assert state.content_hash == "54334442c0376fa881e7d386de5fae3f"


def test_second_golden_log_folds() -> None:
    """Branches, pins, redaction and the origin of a fork are what they were."""
    state = folded("v2.jsonl")
    assert [m.id for m in state.messages] == ["msg_1"]
    assert sorted(m.id for tail in state.aside for m in tail.messages) == ["msg_2", "msg_3"]
    assert state.undone == ("msg_2",)
    assert state.pins == ("msg_2",)
    assert state.messages[0].flags == (Flag.REDACTED,)
    assert state.origin == Origin(ConversationId("conv_origin"), 12)
    assert state.content_hash == "43a4559928a3fc54a7c2c5245af9fa68"


def test_fourth_golden_log_folds() -> None:
    """What waited in the outbox, was edited, withdrawn and sent again is what it was."""
    state = folded("v4.jsonl")
    assert [(m.id, m.text) for m in state.messages] == [("msg_1", "Said 1.")]
    assert [(p.id, p.message.text, p.idempotency_key) for p in state.outbox] == [
        ("msg_2", "Said otherwise.", "key-2")
    ]
    assert state.resent_as(TurnId("turn_1")) == "turn_2"
    assert state.turn is not None
    assert state.turn.id == "turn_2"


def test_third_golden_log_folds() -> None:
    """Compactions, what was undone of them, and what they cost are what they were."""
    state = folded("v3.jsonl")
    assert [m.id for m in state.messages] == [f"msg_{n}" for n in range(1, 9)]
    assert [m.id for m in state.window] == [
        "msg_1", "cmp_1.1", "msg_4", "msg_5", "msg_6", "msg_7", "msg_8",
    ]  # fmt: skip
    assert state.compaction is not None
    assert state.compaction.loss.identifiers == ("ORD-7",)
    assert state.is_compaction_held
    assert state.ineffective == 0
    assert state.usage.total == 773
    assert state.content_hash == "ff31d10c84a687e6a07c101c5a88cdee"


def test_fifth_golden_log_folds() -> None:
    """A turn that waits for its client's tools is what it was, with all that was given."""
    state = folded("v5.jsonl")
    assert state.turn is not None
    assert [t.name for t in state.turn.tools] == ["read_file", "list_files"]
    assert not state.turn.own_tools
    assert (state.turn.held, state.turn.waiting) == (SuspendReason.CLIENT_TOOL_RESULT, ("c1",))
    assert [(r.text, r.by_client) for r in state.messages[-1].tool_results] == [("a b", True)]
    assert [t.name for t in state.outbox[0].tools] == ["list_files"]
    assert state.content_hash == "f1818808644560eba385062df6924adb"

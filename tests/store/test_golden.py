"""The format of released logs is pinned: what an older Palaver wrote can be read for ever.

`golden/v1.jsonl` is never edited. A new version of an event adds a new file beside it.
"""

from pathlib import Path

import pytest

from palaver import codec
from palaver.domain.ids import ConversationId
from palaver.domain.messages import Role
from palaver.domain.reducer import fold
from palaver.domain.state import ConversationState

GOLDEN = sorted(Path(__file__).with_name("golden").glob("*.jsonl"))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: p.stem)
def test_golden_log_is_read(path: Path) -> None:
    """Every line decodes to a known fact and encodes to the same bytes again."""
    lines = path.read_bytes().splitlines()
    records = [codec.decode_recorded(line) for line in lines]
    kinds = {codec.kind(r.event) for r in records}
    assert kinds == set(codec.VERSIONS)
    if path is GOLDEN[-1]:  # older ones are upcast, so they are written differently today
        assert [codec.encode_recorded(r) for r in records] == lines


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: p.stem)
def test_golden_log_folds(path: Path) -> None:
    """The facts still make the conversation that they made then."""
    records = [codec.decode_recorded(line) for line in path.read_bytes().splitlines()]
    state = fold(ConversationState(ConversationId("conv_golden")), records)
    assert [m.role for m in state.messages] == [
        Role.USER, Role.ASSISTANT, Role.TOOL, Role.ASSISTANT,
    ]  # fmt: skip
    assert state.turn is None
    assert not state.read_only
    assert state.metadata.title == "Weather"
    assert state.usage.total == 1_500
    assert state.messages[2].tool_results[1].text == "refused"
    assert state.content_hash == "54334442c0376fa881e7d386de5fae3f"

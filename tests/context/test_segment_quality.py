"""Topic boundaries on public data, beside none at all, and the measures that tell."""

import pytest

from bench.segmentation_data import DATA, held_out
from bench.segmentation_scores import nowhere, pk_and_windowdiff, score
from palaver.context.segment import segment

HERE = pytest.mark.skipif(not (DATA / "segmentation").is_dir(), reason="the data is not at hand")


def test_pk_and_windowdiff() -> None:
    """A perfect answer costs nothing; Pk sees a missed boundary, WindowDiff a doubled one too."""
    assert pk_and_windowdiff(10, [5], [5]) == (0.0, 0.0)
    assert pk_and_windowdiff(10, [5], [], k=2) == (2 / 9, 2 / 9)
    assert pk_and_windowdiff(10, [5], [5, 6], k=2) == (1 / 9, 2 / 9)


@HERE
@pytest.mark.parametrize(
    "name,ahead", [("TIAGE dev", 4.0), ("joined chats (given)", 20.0), ("joined mixed", 15.0)]
)
def test_topics_are_found(name: str, ahead: float) -> None:
    """Boundaries are nearer to the annotated ones than none at all, by points of Pk."""
    dialogues = held_out()[name]
    assert score(dialogues, segment).pk < score(dialogues, nowhere).pk - ahead

"""Cutting streamed Markdown."""

import io

import pytest
from hypothesis import given, strategies as st
from rich.console import Console

from palaver.cli.blocks import BlockSplitter
from palaver.cli.markdown import Block, block_starts
from palaver.cli.painter import Painter, Piece

SAMPLES = """
# head
text
more text
- a
  - b
- c
* d
1. x
2. y
```
```py
~~~
code = 1
    indented
| a | b |
|---|---|
| 1 | 2 |
> quote
---
***
===
<div>
</div>
[a]: http://b
漢字 é
"""
LINES = st.lists(
    st.sampled_from([*SAMPLES.split("\n"), "", "\t", "   ", "a\x0bb\x85c"]), max_size=25
)


def split(text: str, sizes: list[int]) -> list[str]:
    """The blocks of `text` that comes in pieces of these sizes, the rest included."""
    splitter = BlockSplitter(block_starts)
    blocks, at, i = list[str](), 0, 0
    while at < len(text):
        size = sizes[i % len(sizes)]
        blocks += splitter.feed(text[at : at + size])
        at, i = at + size, i + 1
    return [*blocks, splitter.finish()]


@given(LINES, st.lists(st.integers(1, 20), min_size=1, max_size=8))
def test_nothing_is_lost(lines: list[str], sizes: list[int]) -> None:
    """The blocks together are the text, however it was cut in pieces."""
    text = "\n".join(lines)
    assert "".join(split(text, sizes)) == text


@given(LINES, st.lists(st.integers(1, 20), min_size=1, max_size=8))
def test_the_pieces_do_not_matter(lines: list[str], sizes: list[int]) -> None:
    """The same text gives the same blocks, whether it comes in one piece or in many."""
    text = "\n".join(lines)
    assert [b for b in split(text, sizes) if b] == [b for b in split(text, [1]) if b]


@given(LINES)
def test_blocks_mean_what_the_whole_means(lines: list[str]) -> None:
    """Each block is one block of the whole text: cutting never changes what a line means."""
    text = "\n".join(lines) + "\n"
    starts = [line for line in block_starts(text) if line > 0]
    expected, begin = [], 0
    whole = text.split("\n")
    for start in [*starts, len(whole) - 1]:
        expected.append("".join(line + "\n" for line in whole[begin:start]))
        begin = start
    assert [b for b in split(text, [3]) if b] == [b for b in expected if b]


@pytest.mark.parametrize(
    "text",
    [
        "para\n\n- a\n- b\n\n  still b\n- c\n",
        "```py\nx = 1\n\ny = 2\n\n# not a head\n",
        "| a |\n|---|\n| 1 |\n| 2 |\n",
        "1. a\n\n2. b\n",
    ],
)
def test_what_can_grow_stays(text: str) -> None:
    """A list with blank lines, an open fence, a table: none is printed before it is finished."""
    splitter = BlockSplitter(block_starts)
    blocks = splitter.feed(text)
    assert splitter.tail == text.removeprefix("".join(blocks))
    assert len(blocks) == (1 if text.startswith("para") else 0)


def test_printed_in_blocks_looks_like_the_whole() -> None:
    """What is painted block by block is what the whole text gives."""
    parts = [
        "# A",
        "para one\nline",
        "- a\n- b",
        "```py\nx = 1\n```",
        "| a | b |\n|--|--|\n| 1 | 2 |",
    ]
    text = "\n\n".join([*parts, "end"])

    def painted(blocks: list[str]) -> str:
        out = io.StringIO()
        painter = Painter(Console(file=out, width=60, height=40, color_system=None))
        painter.paint([Piece(Block(b), gap=True) for b in blocks if b.strip()], ())
        return out.getvalue()

    whole = [line for line in painted([text]).split("\n") if line.strip()]
    pieces = [line for line in painted(split(text, [7])).split("\n") if line.strip()]
    assert pieces == whole

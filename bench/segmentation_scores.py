"""Pk, WindowDiff and F1, as the field computes them, and the baselines beside.

`k` is half the mean length of a reference segment, rounded, for each dialogue by itself and at
least 2 (with 1 the measures only count mistakes). Figures are means over dialogues.
"""

import random
from collections.abc import Callable, Sequence
from itertools import accumulate
from time import process_time
from typing import NamedTuple

from bench.segmentation_data import Dialogue, Said

Segmenter = Callable[[Said], Sequence[int]]


class Scores(NamedTuple):
    """In percent, except the last three. Lower is better for `pk` and `wd`."""

    pk: float
    wd: float
    f1: float
    found: float  # boundaries in a dialogue, as found
    there: float  # and in the reference
    cpu_us: float  # for an utterance


def score(dialogues: Sequence[Dialogue], segmenter: Segmenter) -> Scores:
    """The mean scores of `segmenter` on `dialogues`."""
    sums = [0.0] * 5
    began = process_time()
    answers = [sorted(set(segmenter(said)) - {0}) for said, _ in dialogues]
    spent = process_time() - began
    for (said, there), found in zip(dialogues, answers, strict=True):
        pk, wd = pk_and_windowdiff(len(said), there, found)
        for at, value in enumerate((pk, wd, f1(there, found), len(found), len(there))):
            sums[at] += value / len(dialogues)
    turns = sum(len(said) for said, _ in dialogues)
    return Scores(
        100 * sums[0], 100 * sums[1], 100 * sums[2], sums[3], sums[4], 1e6 * spent / turns
    )


def window(length: int, there: Sequence[int]) -> int:
    """Half the mean length of a reference segment, at least 2."""
    return max(2, round(length / (len(there) + 1) / 2))


def pk_and_windowdiff(
    length: int, there: Sequence[int], found: Sequence[int], k: int = 0
) -> tuple[float, float]:
    """The shares of windows of `k` turns in which one side has a boundary and the other has none,
    and in which their numbers differ. Equal to `nltk.metrics.segmentation` on strings that have a
    1 where a topic opens.
    """
    k = k or window(length, there)
    sums = [
        [0, *accumulate(at in cuts for at in range(length))] for cuts in (set(there), set(found))
    ]
    windows = range(length - k + 1)
    if not windows:
        return 0.0, 0.0
    counts = [tuple(one[at + k] - one[at] for one in sums) for at in windows]
    missed = sum((first > 0) != (second > 0) for first, second in counts)
    differing = sum(first != second for first, second in counts)
    return missed / len(windows), differing / len(windows)


def f1(there: Sequence[int], found: Sequence[int]) -> float:
    """Boundaries hit exactly."""
    if not there and not found:
        return 1.0
    return 2 * len(set(there) & set(found)) / (len(there) + len(found))


def nowhere(said: Said) -> list[int]:
    """No boundary at all."""
    return []


def at_random(rate: float) -> Segmenter:
    """As many as the reference has, anywhere."""
    chance = random.Random(0)
    return lambda said: [at for at in range(1, len(said)) if chance.random() < rate]


def evenly(rate: float) -> Segmenter:
    """As many as the reference has, at equal distances."""

    def segmenter(said: Said) -> list[int]:
        places = (round(number / rate) for number in range(1, len(said)))
        return [at for at in places if 0 < at < len(said)]

    return segmenter


def texttiling(stopwords: Sequence[str]) -> Segmenter | None:
    """NLTK's TextTiling (w = 10, k = 6, an utterance a paragraph); `None` without its packages."""
    try:
        from nltk.tokenize.texttiling import (  # type: ignore[import-untyped]
            TextTilingTokenizer,
        )

        tiler = TextTilingTokenizer(w=10, k=6, stopwords=list(stopwords))
        tiler.tokenize("\n\n".join(f"some words of text number {n}" for n in range(40)))
    except (ImportError, NameError, LookupError):
        return None

    def segmenter(said: Said) -> list[int]:
        flat = [" ".join(text.split()) or "." for _, text in said]
        try:
            tiles = tiler.tokenize("\n\n" + "\n\n".join(flat))
        except (ValueError, IndexError):  # too short for it
            return []
        cuts, at = [], 0
        for tile in tiles[:-1]:
            at += sum(bool(paragraph.strip()) for paragraph in tile.split("\n\n"))
            cuts.append(at)
        return cuts

    return segmenter

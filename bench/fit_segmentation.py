"""`python -m bench.fit_segmentation`: fits and writes `palaver/context/segment_weights.py`.

Every place of the training dialogues is a case: does a topic open here? Its numbers are those of
`segment_features`, what a boundary gains in the prediction of words when its neighbours are the
reference's, and the logarithm of what was said. A penalised logistic regression weighs them
(Newton's method, in plain Python; about two minutes). Kinds of dialogue count alike, TIAGE four
times, because it alone was annotated by people.

One number is not fitted: the search does not know the neighbouring boundaries as the fit does, so
`BIAS` is 0.3 more than fitted. It was chosen among eight settings on the training sets, TIAGE's dev
split and held-out joins, all of which hardly change between 0 and 0.6. The constants for talk in
`segment` were chosen on QMSum, and the bounds of its size on joins of sixty chats.
"""

import sys
from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import exp, lgamma, log, sqrt
from pathlib import Path

from bench.segmentation_data import Dialogue, training
from palaver.context.segment_features import (
    AHEAD,
    BEHIND,
    NAMES,
    Traits,
    Utterance,
    features,
    traits,
)

WEIGHTY, MOST_WORDS, MOST_SAID = 25, 500, 400  # as in `segment` and `segment_search`
PENALTY = 20.0  # of squared standardised weights
BIAS_MORE = 0.3
IMPORTANCE = {"TIAGE train": 4.0}

Rows = list[tuple[list[float], bool, float]]  # numbers, whether a topic opens, weight


def main() -> None:
    """Fits and writes the file."""
    rows = list(_cases())
    print(f"{len(rows):,} places, {sum(opens for _, opens, _ in rows):,} boundaries")
    weights, bias = _fit(rows)
    file = Path(sys.modules[Utterance.__module__].__file__ or "").parent / "segment_weights.py"
    head, _, _ = file.read_text(encoding="utf-8").partition("COHESION = ")
    lines = [f'    "{name}": {weight:.2f},' for name, weight in zip(NAMES, weights, strict=False)]
    file.write_text(
        f"{head}COHESION = {weights[-2]:.3f}\nBIAS = {bias + BIAS_MORE:.2f}\n"
        f"WORDS_SAID = {weights[-1]:.2f}\n\nWEIGHTS = {{\n" + "\n".join(lines) + "\n}\n",
        encoding="utf-8",
    )
    print(f"{file} written")


def _cases() -> Iterable[tuple[list[float], bool, float]]:
    for name, dialogues in training().items():
        rows = [row for dialogue in dialogues for row in _places(dialogue)]
        weight = IMPORTANCE.get(name, 1.0) / len(rows)
        for numbers, opens in rows:
            yield numbers, opens, weight


def _places(dialogue: Dialogue) -> Iterable[tuple[list[float], bool]]:
    read = [traits(Utterance(*one)) for one in dialogue.said]
    vocabulary = max(1, min(MOST_WORDS, len(frozenset().union(*(one.stems for one in read)))))
    said = min(MOST_SAID, sum(min(len(one.stems), WEIGHTY) for one in read))
    cuts = [0, *dialogue.boundaries, len(read)]
    gains = _gains([one.stems for one in read], cuts, vocabulary)
    for index in range(1, len(read)):
        found = _features(read, index)
        opens = index in dialogue.boundaries
        yield [*found, gains[index], log(max(2, said))], opens


def _features(read: Sequence[Traits], index: int) -> list[float]:
    return features(read[max(0, index - BEHIND) : index], read[index : index + AHEAD + 1], index)


def _gains(stems: Sequence[frozenset[str]], cuts: list[int], vocabulary: int) -> dict[int, float]:
    """What a boundary at each place gains, if the others are where the reference has them."""

    def predicted(start: int, end: int) -> list[float]:
        """The logarithm of the probability of the words up to each utterance."""
        counts: dict[str, int] = {}
        total, said, sums = 0.0, 0, [0.0]
        for words in stems[start:end]:
            if size := len(words):
                gained = lgamma(said + vocabulary) - lgamma(said + vocabulary + size)
                for word in words:
                    times = counts.get(word, 0)
                    gained += log(times + 1)
                    counts[word] = times + 1
                total += gained * min(1.0, WEIGHTY / size)
                said += size
            sums.append(total)
        return sums

    gains = {}
    for start, end in pairwise(cuts):
        whole = predicted(start, end)
        for at in range(start + 1, end):
            gains[at] = whole[at - start] + predicted(at, end)[-1] - whole[-1]
    for first, at, last in zip(cuts, cuts[1:], cuts[2:], strict=False):
        apart = predicted(first, at)[-1] + predicted(at, last)[-1]
        gains[at] = apart - predicted(first, last)[-1]
    return gains


def _fit(rows: Rows) -> tuple[list[float], float]:
    """Weights for the numbers as they are, and the bias."""
    total = sum(weight for _, _, weight in rows)
    scale = len(rows) / total
    width = len(rows[0][0])
    means = [sum(r[0][at] * r[2] for r in rows) / total for at in range(width)]
    spreads = [
        sqrt(sum((r[0][at] - means[at]) ** 2 * r[2] for r in rows) / total) + 1e-9
        for at in range(width)
    ]
    standard = [
        (
            [1.0, *((v - m) / s for v, m, s in zip(r[0], means, spreads, strict=True))],
            r[1],
            r[2] * scale,
        )
        for r in rows
    ]
    solved = [0.0] * (width + 1)
    for _ in range(12):
        step = _newton(standard, solved)
        solved = [old + more for old, more in zip(solved, step, strict=True)]
        if max(map(abs, step)) < 1e-4:
            break
    weights = [value / spread for value, spread in zip(solved[1:], spreads, strict=True)]
    return weights, solved[0] - sum(w * m for w, m in zip(weights, means, strict=True))


def _newton(rows: Rows, at: list[float]) -> list[float]:
    size = len(at)
    slope = [0.0, *(-PENALTY * value for value in at[1:])]
    curve = [[0.0] * size for _ in range(size)]
    for place in range(1, size):
        curve[place][place] = PENALTY
    for numbers, opens, weight in rows:
        chance = 1 / (1 + exp(-sum(a * b for a, b in zip(at, numbers, strict=True))))
        error = weight * (opens - chance)
        bend = weight * chance * (1 - chance)
        for row, value in enumerate(numbers):
            slope[row] += error * value
            bent, line = bend * value, curve[row]
            for column in range(row + 1):
                line[column] += bent * numbers[column]
    for row in range(size):
        for column in range(row):
            curve[column][row] = curve[row][column]
    return _solve(curve, slope)


def _solve(matrix: list[list[float]], right: list[float]) -> list[float]:
    """By elimination; the matrix is symmetric and positive."""
    size = len(right)
    rows = [[*line, value] for line, value in zip(matrix, right, strict=True)]
    for at in range(size):
        pivot = max(range(at, size), key=lambda row: abs(rows[row][at]))
        rows[at], rows[pivot] = rows[pivot], rows[at]
        for row in range(at + 1, size):
            factor = rows[row][at] / rows[at][at]
            if factor:
                rows[row] = [a - factor * b for a, b in zip(rows[row], rows[at], strict=True)]
    solved = [0.0] * size
    for at in reversed(range(size)):
        known = sum(rows[at][column] * solved[column] for column in range(at + 1, size))
        solved[at] = (rows[at][size] - known) / rows[at][at]
    return solved


if __name__ == "__main__":
    main()

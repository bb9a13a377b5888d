"""Where topics are found: quality on public data beside baselines, and CPU time."""

from typing import Any

from bench.measure.context import Context
from bench.report import Result, Table, number
from bench.segmentation_data import DATA, held_out
from bench.segmentation_scores import (
    Scores,
    Segmenter,
    at_random,
    evenly,
    nowhere,
    score,
    texttiling,
)


def measure(context: Context) -> Result:
    """Nothing where the data is not at hand: it is no part of the repository."""
    if not (DATA / "segmentation").is_dir():
        context.log.append(f"segmentation: no data in {DATA.name}; PALAVER_TEST_DATA names a place")
        return Result("segmentation", [], {})
    from palaver.context.segment import segment
    from palaver.context.words_frequent import FREQUENT

    tiling = texttiling(sorted(FREQUENT))
    if tiling is None:
        context.log.append("segmentation: TextTiling left out; it needs nltk and numpy")
    tables, figures = [], {}
    for name, everything in held_out().items():
        dialogues = everything[:10] if context.quick else everything
        rate = sum(len(cuts) for _, cuts in dialogues) / sum(len(said) for said, _ in dialogues)
        contestants: dict[str, Segmenter | None] = {
            "no boundary": nowhere,
            "random, right number": at_random(rate),
            "even, right number": evenly(rate),
            "TextTiling (nltk)": tiling,
            "palaver, as it comes": _streamed,
            "palaver": segment,
        }
        scores = {who: score(dialogues, it) for who, it in contestants.items() if it is not None}
        tables.append(_table(f"Topics: {name}, {len(dialogues)} dialogues", scores))
        figures[name] = {who: one._asdict() for who, one in scores.items()}
    return Result("segmentation", tables, figures)


def _streamed(said: list[tuple[str, str]]) -> list[int]:
    from palaver.context.segment import Segmenter as Stream

    stream = Stream()
    for utterance in said:
        stream.add(utterance)
    return stream.boundaries()


def _table(title: str, scores: dict[str, Scores]) -> Table:
    table = Table(title, ("Pk", "WindowDiff", "F1", "found", "reference", "CPU µs/utterance"))
    for who, one in scores.items():
        shown: list[Any] = [f"{one.pk:.1f}", f"{one.wd:.1f}", f"{one.f1:.1f}"]
        table.rows.append((who, *shown, f"{one.found:.1f}", f"{one.there:.1f}", number(one.cpu_us)))
    table.notes = ["percent; Pk and WindowDiff: lower is better; means over dialogues"]
    return table

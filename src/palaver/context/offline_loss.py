"""What a compaction leaves to the archive, so that nobody has to find out later."""

from collections.abc import Iterable, Sequence

from palaver.context.draft import Task
from palaver.context.extractive_lines import Line
from palaver.context.extractive_material import Material
from palaver.context.identifiers import is_identifier
from palaver.context.offline_window import Assembly, Window
from palaver.domain.compaction import LossRecord, Written

_NAMED = 20
"""Identifiers that a loss record names; the rest are counted."""


def loss(
    task: Task,
    before: Window,
    made: Assembly,
    material: Material,
    kept: Iterable[int],
    quoted: Sequence[tuple[Line, Sequence[int]]],
    *,
    cleared: int = 0,
) -> LossRecord:
    """The record of `made`, with what earlier compactions lost. `kept`: units that stay; `quoted`:
    every line that could be quoted, with the places of the pieces that are."""
    covered: set[int] = set()
    for unit in kept:
        for line in material.lines[unit]:
            covered.update(feature for piece in line.pieces for feature in piece.features)
    dropped = 0
    for line, places in quoted:
        chosen = set(places)
        for at, piece in enumerate(line.pieces):
            if at in chosen:
                covered.update(piece.features)
            else:
                dropped += piece.is_sentence
    missing = [
        (-material.weight(feature), mention.text)
        for feature, mention in material.features.mentions.items()
        if feature not in covered and is_identifier(mention.text)
    ]
    earlier = LossRecord() if task.previous is None else task.previous.loss
    names = dict.fromkeys((*(text for _, text in sorted(missing)), *earlier.identifiers))
    return LossRecord(
        messages=_written(made),
        tokens=earlier.tokens + before.tokens - made.tokens,
        results_cleared=earlier.results_cleared + cleared,
        sentences_dropped=earlier.sentences_dropped + dropped,
        identifiers=tuple(names)[:_NAMED],
        identifiers_lost=earlier.identifiers_lost + len(missing),
    )


def _written(made: Assembly) -> int:
    return sum(
        span.stop - span.start
        for item in made.items
        if isinstance(item, Written)
        for span in item.covers
    )

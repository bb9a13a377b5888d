"""Compaction without a model: deterministic, at once, and what is left when nothing else works.

The gentlest tier that reaches the target is used. First results of tools are cleared (`stubs`).
When that is not enough, what is old is quoted: the system's, the first and the latest message of
the user and pinned ones stay as they are, then the user's other messages, then the newest units as
far as there is room; of the rest the pieces that say most for their tokens stand as lines between
(`extractive`). A newest result that is too large by itself is cut in its middle (`clip`).

Nothing is made up, so nothing can be wrong; everything quoted names its message (`handles`).
"""

import math
from collections.abc import Sequence
from enum import IntEnum

import msgspec

from palaver.context.clip import clip_results
from palaver.context.draft import Draft, Task
from palaver.context.extractive import render, select
from palaver.context.extractive_lines import Line
from palaver.context.extractive_material import PREFACE, Material
from palaver.context.groups import GroupKind
from palaver.context.offline_window import (
    Assembly,
    Entry,
    Unit,
    Window,
    drafted,
    required,
    window,
)
from palaver.context.stubs import cleared, longest_within
from palaver.domain.compaction import LossRecord, Span, Tier
from palaver.domain.errors import ContextWindowExceeded
from palaver.domain.messages import Flag, Message, Role, StopReason, Text

_TAIL_SHARE = 0.25
"""Of the room: newest units that stay whole."""
_LAST_SHARE = 0.5
"""Of the room: the newest unit alone."""
_SHORTEST_EXTRACT = 150
"""Tokens; what is less waits for the next gap, because each extract has its own first line."""
_SUMMARY_SHARE = 0.4
"""Of the room: what an earlier compaction wrote in other words stays as it is."""


class _Fate(IntEnum):
    QUOTED = 0
    KEPT = 1
    CLIPPED = 2


def compact(task: Task) -> Draft:
    """The window within `task.target`. A window that fits already is returned as it is.

    Equal tasks give equal drafts, and the result of a draft is not changed by the same target
    again. Raises ContextWindowExceeded when the parts that must stay do not fit; its hint names
    the largest.
    """
    before = window(task)
    if before.tokens <= task.target:
        return drafted(task, before, _unchanged(before), (), LossRecord())
    draft = cleared(task, before)
    if draft is not None and draft.tokens_after <= task.target:
        return draft
    return _Extraction(task, before).draft()


def _unchanged(before: Window) -> Assembly:
    made = Assembly()
    for unit in before.units:
        for entry in unit.entries:
            made.keep(entry)
    return made


class _Extraction:
    def __init__(self, task: Task, before: Window) -> None:
        self._task, self._before = task, before
        self._units = before.units
        self._preface = task.count(_extract([PREFACE]))
        self._fates = [_Fate.QUOTED] * len(self._units)
        self._clipped: dict[int, tuple[Entry, ...]] = {}
        self._required = required(self._units, task)
        for number in self._required:
            self._fates[number] = _Fate.KEPT
        self._room = task.target - self._preface - self._spent()

    def _spent(self) -> int:
        return sum(
            unit.tokens
            for unit, fate in zip(self._units, self._fates, strict=True)
            if fate is _Fate.KEPT
        )

    def draft(self) -> Draft:
        if self._room < 0:
            raise self._irreducible()
        material = Material(self._units)
        room = self._keep_users(self._room, material)
        room = self._keep_summaries(room)
        self._keep_newest(room)
        return self._quoted(material)

    def _keep_users(self, room: float, material: Material) -> float:
        """Messages of the user stay word for word as far as there is room for them."""
        ratio = self._task.target / self._before.tokens
        spend = room * min(0.85, max(0.45, ratio + 0.25))
        left = spend
        numbers = [
            n
            for n, unit in enumerate(self._units)
            if unit.kind is GroupKind.USER and not unit.is_extract and not self._fates[n]
        ]
        for number in sorted(numbers, key=lambda n: (self._worth(n, material), n)):
            tokens = self._units[number].tokens
            if tokens <= left:
                self._fates[number] = _Fate.KEPT
                left -= tokens
        return room - (spend - left)

    def _worth(self, number: int, material: Material) -> float:
        unit = self._units[number]
        return -10.0 / math.pow(max(1, unit.tokens), 0.7)

    def _keep_summaries(self, room: float) -> float:
        left = room * _SUMMARY_SHARE
        for number, unit in enumerate(self._units):
            is_foreign = unit.is_extract and not unit.first.message.text.startswith(PREFACE)
            if is_foreign and unit.kind is GroupKind.USER and unit.tokens <= left:
                self._fates[number] = _Fate.KEPT
                left -= unit.tokens
                room -= unit.tokens
        return room

    def _keep_newest(self, room: float) -> None:
        left = room * _TAIL_SHARE
        for number in range(len(self._units) - 1, -1, -1):
            if self._fates[number]:
                continue
            unit = self._units[number]
            if number == len(self._units) - 1 and unit.tokens > left:
                self._keep_last(number, unit, room * _LAST_SHARE)
                return
            if unit.tokens > left or unit.is_extract:
                return
            self._fates[number] = _Fate.KEPT
            left -= unit.tokens

    def _keep_last(self, number: int, unit: Unit, room: float) -> None:
        if unit.tokens <= room:
            self._fates[number] = _Fate.KEPT
            return
        results = [entry for entry in unit.entries if entry.message.tool_results]
        if len(results) != 1 or results[0].item is not None:
            return
        entry = results[0]
        budget = int(room) - (unit.tokens - entry.tokens)
        clipped = clip_results(entry.message, entry.position, budget, self._task.count)
        if clipped is None:
            return
        self._fates[number] = _Fate.CLIPPED
        tokens = self._task.count(clipped)
        self._clipped[number] = tuple(
            msgspec.structs.replace(each, message=clipped, tokens=tokens) if each is entry else each
            for each in unit.entries
        )

    def _quoted(self, material: Material) -> Draft:
        lines: list[Line] = []
        owners: list[int] = []
        for number, fate in enumerate(self._fates):
            if fate is not _Fate.QUOTED:
                material.cover(number)
                continue
            for line in material.lines[number]:
                lines.append(line)
                owners.append(number)
        if _Fate.QUOTED not in self._fates and not self._clipped:
            raise self._irreducible()
        room = self._task.target - self._spent() - self._preface
        taken = select(lines, material.weights, room * 1.4)

        def build(length: int) -> Assembly:
            places: dict[int, list[int]] = {}
            for number, at in taken[:length]:
                places.setdefault(number, []).append(at)
            by_unit: dict[int, list[tuple[str, tuple[int, ...]]]] = {}
            for number in sorted(places):
                text = render(lines[number], places[number])
                by_unit.setdefault(owners[number], []).append((text, lines[number].sources))
            return _Layout(self._task, self._preface).made(
                self._units, self._fates, self._clipped, by_unit
            )

        made = longest_within(build, len(taken), self._task.target)
        if made is None:
            raise self._irreducible()
        tiers = (Tier.EXTRACT, Tier.CLIP) if self._clipped else (Tier.EXTRACT,)
        return drafted(self._task, self._before, made, tiers, self._loss(made))

    def _loss(self, made: Assembly) -> LossRecord:
        dropped = sum(1 for fate in self._fates if fate is not _Fate.KEPT)
        return LossRecord(messages=dropped, tokens=self._before.tokens - made.tokens)

    def _irreducible(self) -> ContextWindowExceeded:
        largest = max(self._required, key=lambda n: self._units[n].tokens, default=None)
        needed = self._spent() + self._preface
        hint = ""
        if largest is not None:
            tokens = self._units[largest].tokens
            hint = f"{self._required[largest].capitalize()} takes {tokens:,} tokens and must stay."
        return ContextWindowExceeded(tokens=needed, window=self._task.target, hint=hint)


class _Layout:
    """Puts what is kept and what is quoted in order."""

    def __init__(self, task: Task, preface: int) -> None:
        self._task, self._preface = task, preface
        self._made = Assembly()
        self._lines: list[tuple[str, tuple[int, ...]]] = []
        self._spans: list[Span] = []
        self._size = 0
        self._last: Message | None = None
        self._wrote = False

    def made(
        self,
        units: Sequence[Unit],
        fates: Sequence[_Fate],
        clipped: dict[int, tuple[Entry, ...]],
        quoted: dict[int, list[tuple[str, tuple[int, ...]]]],
    ) -> Assembly:
        last = max((n for n, fate in enumerate(fates) if fate is not _Fate.QUOTED), default=-1)
        for number, unit in enumerate(units):
            if fates[number] is _Fate.QUOTED:
                for entry in unit.entries:
                    self._spans += entry.covers
                for text, sources in quoted.get(number, ()):
                    self._lines.append((text, sources))
                    self._size += len(text) // 4
                continue
            self._gap(unit, is_last=number == last)
            entries = clipped.get(number, unit.entries)
            for entry, original in zip(entries, unit.entries, strict=True):
                if entry is original:
                    self._made.keep(entry)
                else:
                    self._made.write(
                        entry.message, entry.covers, entry.tokens, ((entry.position,),)
                    )
                self._last = entry.message
        if self._lines or (self._spans and not self._wrote):
            self._flush()
        elif self._spans:
            self._made.cover_too(self._spans, PREFACE)
        return self._made

    def _gap(self, unit: Unit, *, is_last: bool) -> None:
        """Write what waits if it must stand before `unit`, or is long enough."""
        if not self._spans:
            return
        last = self._last
        is_answer = unit.first.message.role is Role.ASSISTANT
        alone = last is None or last.role is Role.SYSTEM or _has_ended(last)
        due = bool(self._lines) and (is_answer or is_last or self._size >= _SHORTEST_EXTRACT)
        if due or (is_answer and alone) or (is_last and not self._wrote):
            self._flush()

    def _flush(self) -> None:
        texts = [PREFACE, *(text for text, _ in self._lines)]
        sources = ((), *(of for _, of in self._lines))
        message = _extract(texts)
        self._made.write(message, self._spans, self._task.count(message), sources)
        self._lines, self._spans, self._size = [], [], 0
        self._wrote = True
        self._last = message


def _has_ended(message: Message) -> bool:
    return message.role is Role.ASSISTANT and message.stop is not StopReason.PAUSE


def _extract(lines: Sequence[str]) -> Message:
    return Message(Role.USER, (Text("\n".join(lines)),), flags=(Flag.SYNTHETIC,))

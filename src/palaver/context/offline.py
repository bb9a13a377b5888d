"""Compaction without a model: deterministic, at once, and what is left when nothing else works.

The gentlest tier that reaches the target is used. First results of tools are cleared (`stubs`).
When that is not enough, what is old is quoted: the system's, the first and the latest message of
the user and pinned ones stay as they are, then the user's other messages, then the newest units as
far as there is room; of the rest the pieces that say most for their tokens stand as lines between
(`extractive`). A newest result that is too large by itself is cut in its middle (`clip`).

Nothing is made up, so nothing can be wrong; everything quoted names its message (`handles`).
"""

from collections.abc import Sequence
from enum import IntEnum

import msgspec

from palaver.context.clip import clip_results
from palaver.context.draft import Draft, Task
from palaver.context.extractive import WEIGHTS, Weights, render, select
from palaver.context.extractive_lines import Line, shortened
from palaver.context.extractive_material import PREFACE, Material, users_share
from palaver.context.groups import GroupKind
from palaver.context.offline_loss import loss
from palaver.context.offline_window import (
    Assembly,
    Entry,
    Unit,
    Window,
    drafted,
    required,
    window,
)
from palaver.context.stubs import by_line, cleared, longest_within
from palaver.domain.compaction import LossRecord, Span, Tier
from palaver.domain.errors import ContextWindowExceeded
from palaver.domain.messages import Flag, Message, Role, StopReason, Text

_SHORT = 0.4
"""Of what is quoted; where there is room for less, sentences are in telegraphic style."""
_ROOM = 0.35
"""Of what is cleared, that stubs must have room for: less would lose more than quoting does."""
_TAIL_SHARE, _TAIL_LEAST, _TAIL_MOST = 1.2, 0.1, 0.6
"""Of the room: newest units that are kept whole, by the share of the tokens that may stay and the
share that is work with tools. Work goes on where it was; talk is remembered by what it said."""
_LAST_SHARE = 0.3
"""Of the room: the newest unit alone."""
_LEAST_CLIPPED = 0.3
"""Of a result; when less would be left of it, quoting its identifiers says more."""
_USERS, _USERS_SLOPE, _USERS_LESS, _USERS_MOST = 0.4, 2.0, 0.2, 0.97
"""Of the room, for messages of the user if all fit: at least; that many times the share of the
tokens that may stay, less this; and at most. Where more than half may stay, nobody's words have to
make way for a quotation of somebody else's."""
_SOME = 0.5
"""Of the room, for those that say most, if not all fit; the less, the more of all is the user's:
who speaks in most of a conversation is no single person who asks for something."""
_BONUS = 6.0
"""What a message of the user is worth beside its words, so that short ones are not forgotten."""
_AMPLE = 1.25
"""Of the room: pieces are chosen for more than that, because what they cost is an estimate."""
_SHORTEST_EXTRACT = 150
"""Tokens; what is less waits for the next gap, because each extract has its own first line."""
_SUMMARY_SHARE = 0.4
"""Of the room: what an earlier compaction wrote in other words stays as it is."""


class _Fate(IntEnum):
    QUOTED = 0
    KEPT = 1
    CLIPPED = 2


def compact(task: Task, *, weights: Weights = WEIGHTS) -> Draft:
    """The window within `task.target`. A window that fits already is returned as it is.

    Equal tasks give equal drafts, and the result of a draft is not changed by the same target
    again. `weights` say what identifiers are worth. Raises ContextWindowExceeded when the parts
    that must stay do not fit; its hint names the largest.
    """
    before = window(task)
    if before.tokens <= task.target:
        earlier = LossRecord() if task.previous is None else task.previous.loss
        return drafted(task, before, _unchanged(before), (), earlier)
    material = Material(before.units, weights=weights, asked=task.instructions)
    draft = cleared(task, before, material=material, room=_ROOM)
    if draft is not None and draft.tokens_after <= task.target:
        return draft
    return _Extraction(task, before, material).draft()


def _unchanged(before: Window) -> Assembly:
    made = Assembly()
    for unit in before.units:
        for entry in unit.entries:
            made.keep(entry)
    return made


class _Extraction:
    def __init__(self, task: Task, before: Window, material: Material) -> None:
        self._task, self._before, self._material = task, before, material
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
        room = self._keep_summaries(self._keep_users(self._room))
        self._keep_newest(room)
        return self._quoted()

    def _keep_users(self, room: float) -> float:
        """Messages of the user stay word for word: all where they fit, else those that say most."""
        ratio = self._task.target / self._before.tokens
        wanted = _USERS_SLOPE * ratio - _USERS_LESS
        spend = room * min(_USERS_MOST, max(_USERS, wanted))
        others = [
            n
            for n, unit in enumerate(self._units)
            if unit.kind is GroupKind.USER and not unit.is_extract and not self._fates[n]
        ]
        needed = sum(self._units[n].tokens for n in others)
        chosen = (
            others
            if needed <= spend
            else self._telling(others, room * _SOME * (1 - users_share(self._units)) ** 3)
        )
        for number in chosen:
            self._fates[number] = _Fate.KEPT
        return room - sum(self._units[n].tokens for n in chosen)

    def _telling(self, numbers: Sequence[int], room: float) -> list[int]:
        """Those of the units that say most within `room` tokens, whole."""
        material = self._material
        kept = [n for n, fate in enumerate(self._fates) if fate]
        whole = [material.whole(n, self._units[n].tokens, bonus=_BONUS) for n in numbers]
        taken = select(whole, material.features, material.weights(kept), room)
        return sorted(numbers[line] for line, _ in taken)

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
        used = sum(unit.tokens for unit in self._units if unit.kind is GroupKind.TOOLS)
        share = self._task.target / self._before.tokens * used / self._before.tokens
        left = room * min(_TAIL_MOST, max(_TAIL_LEAST, share * _TAIL_SHARE))
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
        if budget < _LEAST_CLIPPED * entry.tokens:
            return
        clipped = clip_results(entry.message, entry.position, budget, self._task.count)
        if clipped is None:
            return
        self._fates[number] = _Fate.CLIPPED
        tokens = self._task.count(clipped)
        self._clipped[number] = tuple(
            msgspec.structs.replace(each, message=clipped, tokens=tokens) if each is entry else each
            for each in unit.entries
        )

    def _quoted(self) -> Draft:
        lines: list[Line] = []
        owners: list[int] = []
        for number, fate in enumerate(self._fates):
            if fate is _Fate.QUOTED:
                lines += self._material.lines[number]
                owners += [number] * len(self._material.lines[number])
        if _Fate.QUOTED not in self._fates and not self._clipped:
            raise self._irreducible()
        room = self._task.target - self._spent() - self._preface
        asked = sum(
            unit.tokens
            for unit, fate in zip(self._units, self._fates, strict=True)
            if fate is _Fate.QUOTED
        )
        if room <= _SHORT * asked:
            lines = [shortened(line) for line in lines]
        kept = [n for n, fate in enumerate(self._fates) if fate is not _Fate.QUOTED]
        taken = select(lines, self._material.features, self._material.weights(kept), room * _AMPLE)

        rendered: dict[tuple[int, int], str] = {}

        def build(length: int) -> Assembly:
            places = by_line(taken[:length])
            by_unit: dict[int, list[tuple[str, tuple[int, ...]]]] = {}
            for number in sorted(places):
                # Of a line always the same pieces come first, so their number names them.
                known = (number, len(places[number]))
                text = rendered.get(known) or render(lines[number], places[number])
                rendered[known] = text
                by_unit.setdefault(owners[number], []).append((text, lines[number].sources))
            return _Layout(self._task, self._preface).made(
                self._units, self._fates, self._clipped, by_unit
            )

        found = longest_within(build, len(taken), self._task.target)
        if found is None:
            raise self._irreducible()
        made, length = found
        tiers = (Tier.EXTRACT, Tier.CLIP) if self._clipped else (Tier.EXTRACT,)
        places = by_line(taken[:length])
        quoted = [(line, places.get(n, ())) for n, line in enumerate(lines)]
        whole = [n for n in kept if n not in self._clipped]
        record = loss(self._task, self._before, made, self._material, whole, quoted)
        return drafted(self._task, self._before, made, tiers, record)

    def _irreducible(self) -> ContextWindowExceeded:
        largest = max(self._required, key=lambda n: self._units[n].tokens, default=None)
        part = "what stands for the rest" if largest is None else self._required[largest]
        tokens = self._preface if largest is None else self._units[largest].tokens
        return ContextWindowExceeded(
            tokens=max(self._spent() + self._preface, self._task.target + 1),
            window=self._task.target,
            hint=f"{part[0].upper()}{part[1:]} takes {tokens:,} tokens and has to stay.",
            part=part,
        )


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
        more_follows = any(number > last for number in quoted)
        for number, unit in enumerate(units):
            if fates[number] is _Fate.QUOTED:
                for entry in unit.entries:
                    self._spans += entry.covers
                for text, sources in quoted.get(number, ()):
                    self._lines.append((text, sources))
                    self._size += len(text) // 4
                continue
            self._gap(unit, is_last=number == last and not more_follows)
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

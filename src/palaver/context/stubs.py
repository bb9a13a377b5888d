"""Clearing results of tools: the gentlest tier, which parts nothing and loses least.

A result that a later call repeated, or that a later write made wrong, is of no use; an old large
one is seldom read again. The call stays where it is, and its result becomes a stub: what it said in
identifiers and failures, as far as there is room, and the handle of the original.
"""

import re
from collections.abc import Callable, Collection, Sequence

import msgspec

from palaver.context.draft import Draft, Task
from palaver.context.extractive import render, select
from palaver.context.extractive_lines import Line
from palaver.context.extractive_material import CLEARED, Material
from palaver.context.groups import GroupKind
from palaver.context.handles import handle
from palaver.context.identifiers import decoded, scalars
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
from palaver.domain.compaction import LossRecord, Tier
from palaver.domain.messages import Flag, Message, Text, ToolCall, ToolResult

LEAST_GAIN = 0.1
"""Of the target. A smaller one does not pay for breaking the provider's cache."""
_CLOSE, _AIM = 0.994, 0.998
_LARGE = 60
"""Tokens; clearing a smaller result gains nothing."""
_PROTECTED = 0.35
"""Of the target: the newest units that are left alone."""
_WRITES = re.compile(
    r"(?:^|_|(?<=[a-z])(?=[A-Z]))(?:write|edit|update|create|delete|remove|replace|patch|insert"
    r"|append|save|set|put|move|rename)(?:_|$|[A-Z])",
    re.IGNORECASE,
)


def clear(task: Task, *, exempt: Collection[str] = ()) -> Draft | None:
    """Superseded and old large results as stubs; None when that gains less than a tenth of the
    target. Results of tools named in `exempt` stay. The draft may still be above the target.
    """
    before = window(task)
    return cleared(task, before, Material(before.units, asked=task.instructions), exempt=exempt)


def cleared(
    task: Task,
    before: Window,
    material: Material,
    *,
    exempt: Collection[str] = (),
    room: float | None = None,
) -> Draft | None:
    """As `clear`, for a window that was read already.

    `room`: the share of what old results held that stubs must have room for; None asks nothing.
    """
    stale = superseded(before.units)
    chosen = _candidates(task, before, stale, exempt)
    if not chosen:
        return None
    bare = _assembled(task, before, chosen, {})
    if room is not None:
        held = sum(_results(before.units[n]) for n in chosen if n not in stale)
        if task.target - bare.tokens < room * held:
            return None
    made, record = _stubbed(task, before, chosen, stale, material, bare)
    gain = before.tokens - made.tokens
    if gain < LEAST_GAIN * task.target or gain <= 0:
        return None
    return drafted(task, before, made, (Tier.CLEAR,), record)


def superseded(units: Sequence[Unit]) -> dict[int, None]:
    """The units all of whose results are out of date: the same was asked again later, or the file
    that was read was written later. A call that failed makes nothing out of date."""
    asked: dict[tuple[str, str], None] = {}
    wrote: dict[str, None] = {}
    found: dict[int, None] = {}
    for number in range(len(units) - 1, -1, -1):
        unit = units[number]
        if unit.kind is not GroupKind.TOOLS or unit.is_open:
            continue
        calls = unit.first.message.tool_calls
        if calls and all(_is_stale(call, asked, wrote) for call in calls):
            found[number] = None
        failed = {r.call_id for e in unit.entries for r in e.message.tool_results if r.failed}
        for call in calls:
            if call.id not in failed:
                asked[(call.name, call.arguments.strip())] = None
                if _WRITES.search(call.name):
                    wrote.update(dict.fromkeys(_paths(call)))
    return found


def _is_stale(call: ToolCall, asked: dict[tuple[str, str], None], wrote: dict[str, None]) -> bool:
    if (call.name, call.arguments.strip()) in asked:
        return True
    if not wrote or _WRITES.search(call.name):
        return False
    paths = _paths(call)
    return bool(paths) and all(path in wrote for path in paths)


def _paths(call: ToolCall) -> list[str]:
    value = decoded(call.arguments)
    if value is None:
        return []
    texts = [member for _, member in scalars(value) if isinstance(member, str)]
    return [text for text in texts if "/" in text and " " not in text and "\n" not in text]


def _candidates(
    task: Task, before: Window, stale: dict[int, None], exempt: Collection[str]
) -> list[int]:
    """Units whose results are cleared, in their order: superseded ones, then the oldest, as many
    as it takes."""
    untouched = required(before.units, task)
    guarded = _newest(before.units, task.target * _PROTECTED)
    found: list[int] = []
    left = before.tokens
    possible = [
        number
        for number, unit in enumerate(before.units)
        if unit.kind is GroupKind.TOOLS
        and number not in untouched
        and number < guarded
        and not any(call.name in exempt for call in unit.first.message.tool_calls)
        and _gain(unit) > 0
    ]
    for number in [n for n in possible if n in stale]:
        found.append(number)
        left -= _gain(before.units[number])
    for number in [n for n in possible if n not in stale]:
        if left <= task.target:
            break
        unit = before.units[number]
        if _results(unit) >= _LARGE:
            found.append(number)
            left -= _gain(unit) * 2 // 3
    return sorted(found)


def _newest(units: Sequence[Unit], room: float) -> int:
    """The number of the first unit that is left alone; the last one always is."""
    number = len(units) - 1
    spent = units[number].tokens if units else 0
    while number > 0 and spent + units[number - 1].tokens <= room:
        number -= 1
        spent += units[number].tokens
    return number


def _results(unit: Unit) -> int:
    return sum(e.tokens for e in unit.entries if e.message.tool_results and e.item is None)


def _gain(unit: Unit) -> int:
    return _results(unit) - 40


def _stubbed(
    task: Task,
    before: Window,
    chosen: Sequence[int],
    stale: dict[int, None],
    material: Material,
    bare: Assembly,
) -> tuple[Assembly, LossRecord]:
    fresh = [number for number in chosen if number not in stale]
    kept = [number for number in range(len(before.units)) if number not in set(chosen)]
    lines = [_answer(line) for n in fresh for line in material.lines[n] if line.call]
    weights = material.weights([n for n in range(len(before.units)) if n not in set(fresh)])
    taken = select(lines, material.features, weights, (task.target - bare.tokens) * 1.25)

    def build(length: int) -> Assembly:
        places = by_line(taken[:length]).items()
        texts = {key: render(lines[n], of) for n, of in places if (key := lines[n].call)}
        return _assembled(task, before, chosen, texts)

    made, length = longest_within(build, len(taken), task.target) or (bare, 0)
    places = by_line(taken[:length])
    quoted = [(line, places.get(n, ())) for n, line in enumerate(lines)]
    record = loss(task, before, made, material, kept, quoted, cleared=len(chosen))
    return made, record


def _answer(line: Line) -> Line:
    """What the line says of the result alone: the call stays beside it."""
    pieces = [piece for piece in line.pieces if not piece.is_argument]
    return msgspec.structs.replace(line, head="", cost=0.0, pieces=pieces)


def _assembled(
    task: Task, before: Window, chosen: Sequence[int], texts: dict[tuple[int, str], str]
) -> Assembly:
    made = Assembly()
    clearing = set(chosen)
    for number, unit in enumerate(before.units):
        for entry in unit.entries:
            if number in clearing and entry.message.tool_results and entry.item is None:
                stub = _stub(entry, texts)
                sources = tuple((entry.position,) for _ in stub.tool_results)
                made.write(stub, entry.covers, task.count(stub), sources)
            else:
                made.keep(entry)
    return made


def _stub(entry: Entry, texts: dict[tuple[int, str], str]) -> Message:
    content = tuple(
        ToolResult(
            block.call_id,
            block.name,
            (Text(_stub_text(block, entry, texts)),),
            failed=block.failed,
            unknown=block.unknown,
        )
        for block in entry.message.tool_results
    )
    flags = tuple(dict.fromkeys((*entry.message.flags, Flag.SYNTHETIC)))
    return msgspec.structs.replace(entry.message, content=content, flags=flags)


def _stub_text(result: ToolResult, entry: Entry, texts: dict[tuple[int, str], str]) -> str:
    said = texts.get((entry.position, result.call_id), "")
    status = "failed" if result.failed else "done"
    first = CLEARED.replace("m<n>", handle(entry.position))
    return f"{first} {status}\n{said}" if said else f"{first} {status}"


def longest_within(
    build: Callable[[int], Assembly], length: int, target: int
) -> tuple[Assembly, int] | None:
    """What `build` makes of the most pieces that stay within `target`, nearly as many as fit, with
    their number; None when not even none do."""
    low, high = 0, length
    best: tuple[Assembly, int] | None = None
    guess, floor, ceiling = high, 0.0, 0.0
    while low <= high:
        made = build(guess)
        if made.tokens <= target:
            best, low, floor = (made, guess), guess + 1, float(made.tokens)
            if made.tokens >= target * _CLOSE:
                break
        else:
            high, ceiling = guess - 1, float(made.tokens)
        span = ceiling - floor
        # Tokens grow almost evenly with the pieces; halving keeps the number of steps bounded.
        share = (target * _AIM - floor) / span if span > 0 and best is not None else 0.5
        guess = low + int((high - low) * min(0.9, max(0.1, share)))
    return best


def by_line(taken: Sequence[tuple[int, int]]) -> dict[int, list[int]]:
    """The places of pieces by the number of their line."""
    places: dict[int, list[int]] = {}
    for number, at in taken:
        places.setdefault(number, []).append(at)
    return places

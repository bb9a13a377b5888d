"""What compaction without a model keeps, beside other ways, and what it costs."""

import time
from collections.abc import Sequence
from statistics import mean
from typing import Any

from bench.measure.context import Context
from bench.quality import data, rivals, scores
from bench.report import Result, Table, number
from palaver.context import offline
from palaver.context.draft import Task
from palaver.context.validate import window_of
from palaver.domain.messages import Message, Role

RATIOS = (0.6, 0.4, 0.2)
_PARTS = ("answer", "content", "turns")
SIZES = (10_000, 30_000, 50_000)


def measure(context: Context) -> Result:
    """Tables by data set and share of the tokens that may stay."""
    if not data.DATA.exists():
        context.log.append("compaction left out: no conversations beside the checkout")
        return Result("compaction", [], {})
    figures: dict[str, Any] = {}
    tables = [
        *(_arguments(name, cases, figures) for name, cases in _sets(context.quick).items()),
        _evidence(context.quick, figures),
        _beside_a_model(figures),
        _cost(figures),
    ]
    return Result("compaction", tables, figures)


def _sets(quick: bool) -> dict[str, list[data.Case]]:
    airline = data.dialogues("tau_airline")
    even = [d for d in airline if int(d[0].split("-")[2]) % 2 == 0]
    odd = [d for d in airline if int(d[0].split("-")[2]) % 2]
    other = data.dialogues("tau2")
    found = {
        "airline, even tasks (tuned on)": [c for d in even for c in data.cut(*d)],
        "airline, odd tasks (held out)": [c for d in odd for c in data.cut(*d)],
        "tau2, even dialogues (tuned on)": [c for d in other[::2] for c in data.cut(*d)],
        "tau2, odd dialogues (held out)": [c for d in other[1::2] for c in data.cut(*d)],
        "ten airline dialogues interleaved": list(data.interleaved()),
    }
    if quick:
        return {name: cases[::5] for name, cases in found.items()}
    session = data.pi_session()
    found["coding session (pi)"] = list(data.cut("pi", "", session, (0.2, 0.4, 0.6, 0.8, 0.9)))
    return found


def _arguments(name: str, cases: Sequence[data.Case], figures: dict[str, Any]) -> Table:
    columns = tuple(
        f"{ratio:.0%}: {what}" for ratio in RATIOS for what in ("args / all / user", "valid")
    )
    table = Table(f"Arguments of later calls: {name}", columns)
    found: dict[str, list[scores.Score]] = {}
    for way, make in rivals.WAYS.items():
        if way.startswith("TextRank") and max(len(c.prefix) for c in cases) > 300:
            continue  # its cost is the square of the number of sentences
        found[way] = [scores.scored(make, cases, ratio) for ratio in RATIOS]
        cells = [
            cell
            for s in found[way]
            for cell in (_three(s.arguments, s.every, s.said), f"{100 * s.valid:.0f}")
        ]
        table.rows.append((way, *cells))
    figures[name] = {
        way: dict(zip(map(str, RATIOS), some, strict=True)) for way, some in found.items()
    }
    table.notes = [
        f"{len(cases)} cuts, {mean(len(c.needed) for c in cases):.1f} arguments each",
        f"{mean(sum(map(data.count, c.prefix)) for c in cases):,.0f} tokens on average",
        "args: arguments kept; all: cuts where none is lost; user: messages word for word; in %",
        "arguments without space alone: " + _singles(found),
        "of the gap between trim_messages(last) and the oracle closed: " + _closed(found),
    ]
    return table


def _singles(found: dict[str, list[scores.Score]]) -> str:
    return "; ".join(
        f"{way} {_three(*(score.single for score in found[way]))}"
        for way in ("trim_messages(last)", "Palaver without the ledger", "Palaver")
    )


def _closed(found: dict[str, list[scores.Score]]) -> str:
    parts = []
    for at, ratio in enumerate(RATIOS):
        low, high, mine = (
            found[way][at].arguments
            for way in ("trim_messages(last)", "oracle that knows the future", "Palaver")
        )
        parts.append(f"{(mine - low) / (high - low):.0%} at {ratio:.0%}" if high > low else "–")
    return ", ".join(parts)


def _three(*shares: float) -> str:
    return " / ".join(f"{100 * share:.1f}" for share in shares)


def _evidence(quick: bool, figures: dict[str, Any]) -> Table:
    table = Table("Evidence of QMSum's queries", ("40%: answer / content / turns", "20%"))
    meetings = data.meetings()[:: 5 if quick else 1]
    rows: dict[str, list[tuple[float, float, float]]] = {}
    for ratio in (0.4, 0.2):
        found: dict[str, list[scores.Evidence]] = {}
        for meeting in meetings:
            users = scores.as_users(meeting)
            sides, turns = scores.as_two_sides(meeting)
            retained = {
                "random sentences": scores.picked(meeting, ratio, rivals.shuffled),
                "TextRank": scores.picked(meeting, ratio, rivals.textrank),
                "Palaver, each turn the user's": scores.compacted(
                    meeting, ratio, users, [[at] for at in range(len(users))]
                ),
                "Palaver, first speaker is the user": scores.compacted(
                    meeting, ratio, sides, turns
                ),
            }
            for way, left in retained.items():
                found.setdefault(way, []).extend(scores.evidence(left, meeting))
        for way, some in found.items():
            means = tuple(mean(getattr(e, part) for e in some) for part in _PARTS)
            rows.setdefault(way, []).append(means)
    table.rows = [(way, *(_three(*means) for means in some)) for way, some in rows.items()]
    table.notes = [
        "answer: words of the answer that the evidence has and that are left in its turns",
        "content: all words of the evidence by rarity; turns: the same for each turn by itself; %",
    ]
    figures["qmsum"] = rows
    return table


def _beside_a_model(figures: dict[str, Any]) -> Table:
    """A session that a model summarised: what is left of the same session at the same size."""
    from bench.quality import summarised

    return summarised.table(figures)


def _cost(figures: dict[str, Any]) -> Table:
    table = Table("CPU of one compaction, ms", tuple(f"{size // 1000}k tokens" for size in SIZES))
    session = data.pi_session()
    rows: dict[str, list[float]] = {}
    for size in SIZES:
        prefix = _first(session, size)
        for ratio in (0.6, 0.2):
            task = Task(messages=prefix, target=int(size * ratio), count=data.count)
            rows.setdefault(f"to {ratio:.0%}", []).append(_cpu_ms(task))
    table.rows = [(name, *(number(ms) for ms in some)) for name, some in rows.items()]
    table.notes = ["best of 7, the coding session; counting tokens included"]
    figures["cpu_ms"] = rows
    return table


def _first(session: Sequence[Message], size: int) -> list[Message]:
    spent = 0
    for at, message in enumerate(session):
        spent += data.count(message)
        if spent >= size and message.role is not Role.ASSISTANT:
            return list(session[: at + 1])
    return list(session)


def _cpu_ms(task: Task) -> float:
    best = float("inf")
    for _ in range(7):
        began = time.process_time()
        draft = offline.compact(task)
        best = min(best, time.process_time() - began)
        assert window_of(task, draft)
    return best * 1_000

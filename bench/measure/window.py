"""A rolling window of `palaver.context`: what an append costs, and what a compaction costs."""

import json
import time
from statistics import median
from typing import Any

from bench.measure.context import Context
from bench.report import Result, Table, number
from palaver.context import Window

SIZES = (10_000, 30_000, 50_000)
TURNS = 60


def measure(context: Context) -> Result:
    """CPU of appends at several sizes, taken in turns, and of compactions early and late."""
    rounds = 3 if context.quick else 9
    figures: dict[str, Any] = {}
    table = Table("A rolling window", ("CPU µs an append", "beside the first"))
    windows = {size: _filled(size) for size in SIZES}
    samples: dict[int, list[float]] = {size: [] for size in SIZES}
    for turn in range(rounds):
        for size in SIZES:
            window, at = windows[size]
            samples[size].append(_append(window, at + turn * TURNS))
    for size in SIZES:
        ratios = [a / b for a, b in zip(samples[size], samples[SIZES[0]], strict=True)]
        mine, ratio = median(samples[size]) * 1e6, median(ratios)
        table.rows.append((f"{size:,} tokens in it", number(mine), f"{ratio:.2f} ×"))
        figures[f"append_{size}_us"], figures[f"append_{size}_ratio"] = mine, ratio
    for name, made in _compactions(4 if context.quick else 12).items():
        table.rows.append((name, number(made * 1e6), "–"))
        figures[name] = made
    table.notes = [
        f"medians of {rounds} rounds of {2 * TURNS} messages, calls and results; no compaction",
        "compactions: of the append in which they happen, budget 50,000 tokens, 85 → 60 %",
    ]
    return Result("window", [table], figures)


def _turn(number: int) -> tuple[dict[str, Any], dict[str, Any]]:
    function = {"name": "get_order", "arguments": json.dumps({"id": f"ORDER{number}"})}
    call = {"id": f"c{number}", "type": "function", "function": function}
    told = {"order": f"ORDER{number}", "note": f"parcel {number % 89} of the spring sale " * 12}
    return (
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": f"c{number}", "content": json.dumps(told)},
    )


def _filled(tokens: int) -> tuple[Window[dict[str, Any]], int]:
    """A window that never compacts, with `tokens` in it, and the number of its next turn."""
    window: Window[dict[str, Any]] = Window(10_000_000)
    window.append({"role": "user", "content": "Sort all orders, please."})
    at = 0
    while window.tokens < tokens:
        for message in _turn(at):
            window.append(message)
        at += 1
    return window, at


def _append(window: Window[dict[str, Any]], at: int) -> float:
    messages = [message for number in range(at, at + TURNS) for message in _turn(number)]
    began = time.process_time()
    for message in messages:
        window.append(message)
    return (time.process_time() - began) / len(messages)


def _compactions(times: int) -> dict[str, float]:
    """CPU seconds of the first compactions of a conversation and of the last ones."""
    window: Window[dict[str, Any]] = Window(50_000)
    window.append({"role": "user", "content": "Sort all orders, please."})
    spent: list[float] = []
    at = 0
    while len(spent) < times:
        for message in _turn(at):
            compactions, began = window.compactions, time.process_time()
            window.append(message)
            if window.compactions > compactions:
                spent.append(time.process_time() - began)
        at += 1
    half = times // 2
    return {
        f"compactions 1 to {half}": median(spent[:half]),
        f"compactions {half + 1} to {times}": median(spent[half:]),
    }

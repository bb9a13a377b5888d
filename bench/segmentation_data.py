"""Dialogues with known topic boundaries: annotated ones, and chats joined end to end.

What the weights of `palaver.context.segment_weights` are fitted on (`training`) and what they are
judged by (`held_out`) share no dialogue. The joins of both are drawn with fixed seeds.
"""

import gzip
import json
import os
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

_BESIDE = Path(__file__).parents[1].parent / "shared" / "data"
DATA = Path(os.environ.get("PALAVER_TEST_DATA", _BESIDE))

Said = list[tuple[str, str]]


class Dialogue(NamedTuple):
    """Utterances as `(speaker, text)`, and the indices that open a topic, without 0."""

    said: Said
    boundaries: list[int]


def training() -> dict[str, list[Dialogue]]:
    """What the weights are fitted on: TIAGE's training split, and joins of first halves."""
    unused, airline, coffee, trees, machines = (_half(pool, 0) for pool in _pools())
    joins = {
        "joined chats": _joined([unused], 60, 11),
        "joined services": _joined([airline, coffee], 50, 12),
        "joined mixed": _joined([unused, airline, coffee], 50, 13),
        "joined trees": _joined([trees], 40, 15),
    }
    return {
        "TIAGE train": _tiage("train"),
        **joins,
        **{f"{name}, no speakers": anonymous(joined) for name, joined in joins.items()},
        "joined with tools": _joined([machines], 20, 14, (2, 4)),
    }


def held_out() -> dict[str, list[Dialogue]]:
    """What no weight was fitted on."""
    unused, airline, coffee, trees, machines = (_half(pool, 1) for pool in _pools())
    telecom = _service("tau2")
    everything = [unused, airline, coffee, trees, telecom]
    return {
        "TIAGE dev": _tiage("dev"),
        "joined chats (given)": _given(),
        "the same, no speakers": anonymous(_given()),
        "joined trees": _joined([trees], 40, 1),
        "joined coffee orders": _joined([coffee], 40, 2),
        "joined services": _joined([airline, telecom, coffee], 40, 3),
        "joined with tools": _joined([machines, _service("tau2", tools=True)], 20, 4, (2, 4)),
        "joined mixed": _joined(everything, 40, 5),
        "30 joined, mixed": _joined(everything, 6, 6, (30, 30)),
        "QMSum": _meetings(),
    }


def anonymous(dialogues: Sequence[Dialogue]) -> list[Dialogue]:
    """The same without speakers: plain texts are what many callers have."""
    return [Dialogue([("", text) for _, text in said], cuts) for said, cuts in dialogues]


def _joined(
    pools: Sequence[Sequence[Said]], number: int, seed: int, lengths: tuple[int, int] = (3, 6)
) -> list[Dialogue]:
    chance = random.Random(seed)
    found = []
    for _ in range(number):
        said: Said = []
        cuts = []
        for _ in range(chance.randint(*lengths)):
            if said:
                cuts.append(len(said))
            said = said + chance.choice(chance.choice(pools))
        found.append(Dialogue(said, cuts))
    return found


def _half(pool: list[Said], which: int) -> list[Said]:
    middle = len(pool) // 2
    return pool[:middle] if which == 0 else pool[middle:]


def _pools() -> tuple[list[Said], ...]:
    """Chats that are in no given join, airline dialogues, coffee orders, trees, with tools."""
    given = {n for record in _records("segmentation/chat_joined") for n in record["source"]["ids"]}
    unused = [
        _messages(record, lambda _: True)
        for record in _records("chats/mtbench101")
        if record["task"] != "TS" and int(record["id"].split("-")[1]) not in given
    ]
    coffee = [
        [(one["speaker"], one["text"]) for one in record["utterances"] if one["text"]]
        for record in _records("chats/taskmaster4")
    ]
    trees = [list(_branch(record["prompt"])) for record in _records("chats/oasst_trees")]
    return unused, _service("tau_airline"), coffee, trees, _service("tau_airline", tools=True)


def _service(name: str, *, tools: bool = False) -> list[Said]:
    roles = {"user", "assistant", "tool"} if tools else {"user", "assistant"}
    records = _records(f"service_dialogues/{name}")
    return [_messages(record, lambda message: message["role"] in roles) for record in records]


def _messages(record: dict[str, Any], wanted: Callable[[dict[str, Any]], bool]) -> Said:
    return [
        (message["role"], text)
        for message in record["messages"]
        if wanted(message) and (text := _unmarked(message["content"] or ""))
    ]


def _unmarked(text: str) -> str:
    """Without the marks by which simulated users end a dialogue: they would give joins away."""
    for mark in ("###STOP###", "###TRANSFER###", "###OUT-OF-SCOPE###"):
        text = text.replace(mark, "")
    return text.strip()


def _branch(node: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The branch of the first replies."""
    while True:
        yield ("user" if node["role"] == "prompter" else "assistant"), node["text"]
        if not node["replies"]:
            return
        node = node["replies"][0]


def _tiage(split: str) -> list[Dialogue]:
    return [
        Dialogue([("", text) for text in record["utterances"]], record["boundaries"])
        for record in _records("segmentation/tiage")
        if record["source"]["split"] == split
    ]


def _given() -> list[Dialogue]:
    return [
        Dialogue(
            [(one["role"], one["content"]) for one in record["messages"]], record["boundaries"]
        )
        for record in _records("segmentation/chat_joined")
    ]


def _meetings() -> list[Dialogue]:
    """QMSum: a topic opens where one of its spans begins."""
    found = []
    for record in _records("segmentation/qmsum"):
        said = [(one["speaker"], one["content"]) for one in record["meeting_transcripts"]]
        spans = [span for topic in record["topic_list"] for span in topic["relevant_text_span"]]
        found.append(Dialogue(said, sorted({int(span[0]) for span in spans} - {0})))
    return found


def _records(name: str) -> list[dict[str, Any]]:
    with gzip.open(DATA / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]

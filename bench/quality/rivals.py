"""Other ways to make a conversation shorter, and an oracle that knows what will be needed.

All get messages and a number of tokens and give messages; they are not asked to give valid history,
that is part of what is measured.
"""

import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from bench.quality.data import Case, count
from palaver.context import offline
from palaver.context.draft import Task
from palaver.context.extractive import Weights
from palaver.context.groups import Group, groups
from palaver.context.tokens import text_tokens
from palaver.context.validate import window_of
from palaver.context.words import sentences, words
from palaver.context.words_frequent import FREQUENT
from palaver.domain.errors import ContextWindowExceeded
from palaver.domain.messages import Message, Role, ToolResult

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

Way: TypeAlias = Callable[[Case, int], list[Message]]

FLAT = Weights(
    base=8.0, **{n: 1.0 for n in Weights.__struct_fields__ if n not in ("base", "power")}
)
"""Every identifier weighs what a rare word does: the ledger is left out."""


def palaver(case: Case, target: int) -> list[Message]:
    """The offline tier as it is."""
    return _offline(case, target, None)


def palaver_without_ledger(case: Case, target: int) -> list[Message]:
    """The same without knowing which identifiers matter."""
    return _offline(case, target, FLAT)


def _offline(case: Case, target: int, weights: Weights | None) -> list[Message]:
    task = Task(messages=case.prefix, target=target, count=count)
    try:
        draft = offline.compact(task, weights=weights) if weights else offline.compact(task)
    except ContextWindowExceeded:
        return []
    return window_of(task, draft)


def trim_last(case: Case, target: int) -> list[Message]:
    """LangChain's trim_messages: the newest ones, wherever they begin."""
    return _trimmed(case, target, start_on=None)


def trim_last_from_human(case: Case, target: int) -> list[Message]:
    """The same, beginning with a message of the user."""
    return _trimmed(case, target, start_on="human")


def _trimmed(case: Case, target: int, *, start_on: str | None) -> list[Message]:
    from langchain_core.messages import trim_messages

    known: dict[str | None, tuple[int, ToolResult | None, float]] = {}
    translated: list[BaseMessage] = []
    for at, message in enumerate(case.prefix):
        answers: tuple[ToolResult | None, ...] = message.tool_results or (None,)
        for number, result in enumerate(answers):
            name = f"{at}.{number}"
            known[name] = (at, result, count(message) / len(answers))
            translated.append(_translated(message, result, name))
    left = trim_messages(
        translated,
        max_tokens=target,
        token_counter=lambda some: math.ceil(sum(known[m.id][2] for m in some)),
        strategy="last",
        start_on=start_on,
    )
    results: dict[int, list[ToolResult]] = {}
    order: dict[int, None] = {}
    for kept in left:
        at, result, _ = known[kept.id]
        order[at] = None
        if result is not None:
            results.setdefault(at, []).append(result)
    return [
        msgspec.structs.replace(case.prefix[at], content=tuple(results[at]))
        if at in results
        else case.prefix[at]
        for at in order
    ]


def _translated(message: Message, result: ToolResult | None, name: str) -> "BaseMessage":
    from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

    if result is not None:
        return ToolMessage(result.text, tool_call_id=result.call_id, id=name)
    if message.role is Role.ASSISTANT:
        calls = [{"name": c.name, "args": {}, "id": c.id} for c in message.tool_calls]
        return AIMessage(message.text, tool_calls=calls, id=name)
    return HumanMessage(message.text, id=name)


def first_and_last(case: Case, target: int) -> list[Message]:
    """The first group of the user, and the newest groups that fit."""
    whole = groups(case.prefix)
    kept = {0}
    left = target - _tokens(case, whole[0])
    for number in range(len(whole) - 1, 0, -1):
        left -= _tokens(case, whole[number])
        if left < 0:
            break
        kept.add(number)
    return [
        m
        for n, group in enumerate(whole)
        if n in kept
        for m in case.prefix[group.start : group.stop]
    ]


def _tokens(case: Case, group: Group) -> int:
    return sum(count(m) for m in case.prefix[group.start : group.stop])


def ranked_sentences(case: Case, target: int) -> list[Message]:
    """TextRank over all sentences, and the newest group."""
    from bench.quality.data import text_of

    whole = groups(case.prefix)
    last = case.prefix[whole[-1].start :]
    left = target - sum(map(count, last)) - 4
    texts = [text_of([m]) for m in case.prefix[: whole[-1].start]]
    units = [text[a:b] for text in texts for a, b in sentences(text[: len(text) // 2])]
    kept: list[int] = []
    for at in textrank(units):
        left -= text_tokens(units[at]) + 1
        if left < 0:
            break
        kept.append(at)
    said = "\n".join(units[at] for at in sorted(kept))
    return [Message.user(said or "."), *last] if left > -1_000_000 else last


def textrank(units: Sequence[str]) -> list[int]:
    """Mihalcea and Tarau 2004: the units by their centrality, the most central first."""
    return list(_ranked(tuple(units)))


@cache
def _ranked(units: tuple[str, ...]) -> list[int]:
    held = [content_words(unit) for unit in units]
    places: dict[str, list[int]] = {}
    for at, some in enumerate(held):
        for word in some:
            places.setdefault(word, []).append(at)
    shared: list[Counter[int]] = [Counter() for _ in units]
    for holders in places.values():
        for one in holders:
            shared[one].update(other for other in holders if other != one)
    edges = [
        {
            other: n / (math.log(len(held[at]) + 1) + math.log(len(held[other]) + 1))
            for other, n in near.items()
        }
        for at, near in enumerate(shared)
    ]
    rank = [1.0] * len(units)
    for _ in range(20):
        new = [0.15] * len(units)
        for at, near in enumerate(edges):
            share = 0.85 * rank[at] / (sum(near.values()) or 1.0)
            for other, weight in near.items():
                new[other] += share * weight
        rank = new
    return sorted(range(len(units)), key=lambda at: (-rank[at], at))


def shuffled(units: Sequence[str]) -> list[int]:
    """The units in random order, the same each time."""
    order = list(range(len(units)))
    random.Random(1).shuffle(order)
    return order


_WORDS: dict[str, frozenset[str]] = {}


def content_words(text: str) -> frozenset[str]:
    """The words of a text that say something."""
    known = _WORDS.get(text)
    if known is None:
        found = frozenset(w for w in words(text) if len(w) > 1 and w not in FREQUENT)
        known = _WORDS[text] = found
    return known


def oracle(case: Case, target: int) -> list[Message]:
    """First and latest message of the user, and exactly the arguments that will be needed, the
    shortest first: what no way of choosing can exceed within this form."""
    spoken = [m for m in case.prefix if m.role is Role.USER]
    kept = spoken[:1] if len(spoken) == 1 else [*spoken[:1], *spoken[-1:]]
    left = target - sum(map(count, kept)) - 4
    named: list[str] = []
    for value in sorted(case.needed, key=lambda v: (len(v), v)):
        left -= text_tokens(value) + 1
        if left < 0:
            break
        named.append(value)
    return [*kept, Message.user("\n".join(named) or ".")]


WAYS: dict[str, Way] = {
    "trim_messages(last, start_on=human)": trim_last_from_human,
    "trim_messages(last)": trim_last,
    "keep first and last groups": first_and_last,
    "TextRank + last group": ranked_sentences,
    "Palaver without the ledger": palaver_without_ledger,
    "Palaver": palaver,
    "oracle that knows the future": oracle,
}

"""Compaction without a model: what holds for any history, any target and any way to count."""

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings, strategies as st

from palaver.context import offline, stubs
from palaver.context.draft import Draft, Task
from palaver.context.validate import problems, window_of
from palaver.domain.compaction import Compaction, Kept, Written, check
from palaver.domain.errors import ContextWindowExceeded
from palaver.domain.history import History
from palaver.domain.ids import CompactionId, MessageId
from palaver.domain.messages import Message, Reasoning, Role
from palaver.testing import valid_history
from tests.context.histories import COUNTS, by_estimate, history

SHARDS = 40
seeds = st.integers(0, 2**40)


def compaction_of(task: Task, draft: Draft) -> Compaction:
    return Compaction(
        id=CompactionId("c"),
        covers=draft.covers,
        upto=task.messages[draft.covers - 1].id,
        items=draft.items,
        strategy=draft.strategy,
    )


def compacted(task: Task) -> Draft | ContextWindowExceeded:
    """What becomes of the task; an error is a value here."""
    try:
        return offline.compact(task)
    except ContextWindowExceeded as error:
        return error


def random_task(chance: random.Random, messages: Sequence[Message]) -> Task:
    count = chance.choice(COUNTS)
    full = sum(map(count, messages))
    share = chance.choice((0.02, 0.1, 0.2, 0.4, 0.6, 0.9, chance.random()))
    ids = [message.id for message in messages]
    pins = frozenset(chance.sample(ids, 1)) if chance.random() < 0.2 else frozenset[MessageId]()
    return Task(messages=messages, target=int(full * share), count=count, pins=pins)


def assert_sound(task: Task, draft: Draft) -> None:
    assert problems(task, draft) == ()
    check(History(task.messages), compaction_of(task, draft))
    made, messages = window_of(task, draft), task.messages
    open_end = bool(messages[-1].tool_calls)
    assert valid_history(made[:-1] if open_end else made) == []
    assert open_end is bool(made[-1].tool_calls)
    originals = {id(message): at for at, message in enumerate(messages)}
    order = [originals[id(message)] for message in made if id(message) in originals]
    assert order == sorted(set(order))
    assert sum(map(task.count, made)) == draft.tokens_after <= task.target
    kept = set(order)
    users = [at for at, message in enumerate(messages) if message.role is Role.USER]
    for at in {*users[:1], *users[-1:]}:
        assert at in kept
    for at, message in enumerate(messages):
        assert at in kept or (message.role is not Role.SYSTEM and message.id not in task.pins)
    written = [item.message for item in draft.items if isinstance(item, Written)]
    assert all(message.role is not Role.SYSTEM for message in written)
    assert not any(isinstance(b, Reasoning) for message in written for b in message.content)


def assert_compacts(seed: int) -> None:
    """The invariants, for a history, a cut, a target, a counter; then again when it went on."""
    chance = random.Random(seed)
    messages = history(seed)
    task = random_task(chance, messages)
    draft = compacted(task)
    if isinstance(draft, ContextWindowExceeded):
        assert draft.tokens > task.target
        assert draft.part
        return
    assert_sound(task, draft)
    assert offline.compact(task) == draft
    again = Task(
        messages=messages,
        target=task.target,
        count=task.count,
        pins=task.pins,
        previous=compaction_of(task, draft),
    )
    assert offline.compact(again).items == draft.items
    if draft.tiers and not messages[-1].tool_calls:
        go_on(chance, again)


def go_on(chance: random.Random, task: Task) -> None:
    """More is said behind a compaction, and the window is made smaller once more."""
    base = len(task.messages)
    more = [m for m in history(chance.getrandbits(30)) if m.role is not Role.SYSTEM]
    while task.messages[-1].role is Role.ASSISTANT and more and more[0].role is not Role.USER:
        more = more[1:]
    named = [
        Message(m.role, m.content, MessageId(f"more{base + at}"), stop=m.stop)
        for at, m in enumerate(more)
    ]
    messages = [*task.messages, *named]
    target = int(task.target * chance.choice((0.3, 0.6, 1.0)))
    later = Task(
        messages=messages,
        target=target,
        count=task.count,
        pins=task.pins,
        previous=task.previous,
    )
    draft = compacted(later)
    if isinstance(draft, ContextWindowExceeded):
        return
    assert problems(later, draft) == ()
    check(History(messages), compaction_of(later, draft))


@pytest.mark.parametrize("shard", range(4))
@settings(max_examples=400, deadline=None)
@given(seed=seeds)
def test_any_history_any_target_any_counter(shard: int, seed: int) -> None:
    """The window is valid, within its target, ordered, deterministic, and settles."""
    assert_compacts(seed * 4 + shard)


@pytest.mark.long
@pytest.mark.parametrize("shard", range(SHARDS))
@settings(max_examples=5_000, deadline=None)
@given(seed=seeds)
def test_many_more_histories(shard: int, seed: int) -> None:
    """The same, 200,000 times, in shards that end within the time that a test has."""
    assert_compacts(seed * SHARDS + shard)


@settings(max_examples=400, deadline=None)
@given(seeds)
def test_clearing_parts_no_call_from_its_result(seed: int) -> None:
    """Tier 1 alone: valid, smaller by a tenth of the target, no message lost."""
    chance = random.Random(seed)
    task = random_task(chance, history(seed))
    draft = stubs.clear(task)
    if draft is None:
        return
    assert draft.tokens_before - draft.tokens_after >= stubs.LEAST_GAIN * task.target
    roomy = Task(
        messages=task.messages, target=draft.tokens_after, count=task.count, pins=task.pins
    )
    assert problems(roomy, draft) == ()
    assert len(window_of(task, draft)) == len(task.messages)


def test_a_window_that_fits_stays_as_it_is() -> None:
    """Nothing to do is done: every message is kept, no tier is named."""
    messages = [Message.user("Hello", id="a"), Message.assistant("Hi.", id="b")]
    draft = offline.compact(Task(messages=messages, target=1_000, count=COUNTS[0]))
    assert draft.items == (Kept(0, 2),)
    assert draft.tiers == ()


def test_at_six_tenths_every_word_of_the_user_stays() -> None:
    """Where a person said most of it, and more than half may stay, none of that is quoted."""
    messages: list[Message] = []
    for number in range(12):
        said = f"Order {number}: " + "I would rather have the green lamp by Friday, please. " * 4
        messages.append(Message.user(said, id=f"u{number}"))
        messages.append(Message.assistant("The green lamp is on its way to you. " * 5))
    full = sum(map(by_estimate, messages))
    spoken = sum(by_estimate(m) for m in messages if m.role is Role.USER)
    assert spoken > 0.5 * full
    draft = offline.compact(Task(messages=messages, target=int(0.6 * full), count=by_estimate))
    window = window_of(Task(messages=messages, target=0, count=by_estimate), draft)
    assert [m for m in messages if m.role is Role.USER] == [m for m in window if m in messages[::2]]

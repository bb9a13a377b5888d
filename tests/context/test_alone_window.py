"""`palaver.context.Window`: a conversation that goes on for ever within a budget."""

import json
import random
import sys
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from palaver.context import Window, compact, count
from palaver.context.extractive_material import PREFACE
from palaver.domain.errors import ContextWindowExceeded, InvalidInput, NotFound
from tests.context.foreign import Fields, broken, dictionaries, faults
from tests.context.histories import history

USER: Fields = {"role": "user", "content": "Sort all orders, please; never touch ORDER7."}


def call(number: int) -> Fields:
    function = {"name": "get_order", "arguments": json.dumps({"id": f"ORDER{number}"})}
    made = {"id": f"c{number}", "type": "function", "function": function}
    return {"role": "assistant", "content": None, "tool_calls": [made]}


def result(number: int) -> Fields:
    text = json.dumps({"order": f"ORDER{number}", "note": f"parcel {number} " * 30})
    return {"role": "tool", "tool_call_id": f"c{number}", "content": text}


def filled(window: Window[Fields], turns: int) -> list[Fields]:
    """`turns` calls with their results; returns all that was appended."""
    given = [USER]
    for number in range(turns):
        given += [call(number), result(number)]
    for message in given:
        window.append(message)
    return given


def test_it_stays_within_its_budget_and_loses_nothing() -> None:
    """The window is valid and small; everything that was appended is still there."""
    window: Window[Fields] = Window(2_000)
    given = filled(window, 100)
    assert window.compactions > 3
    made = window.messages()
    assert faults(made) == []
    assert count(made) <= 2_000
    assert made[0] is USER
    assert made[-1] is given[-1]
    originals = window.originals()
    assert len(originals) == len(given)
    assert all(a is b for a, b in zip(originals, given, strict=True))


def test_between_compactions_it_grows_at_its_end_only() -> None:
    """The objects before are the same, so is every byte of them."""
    window: Window[Fields] = Window(2_000)
    before: list[Fields] = []
    compactions = 0
    for number in range(80):
        for message in (*([USER] if not number else []), call(number), result(number)):
            window.append(message)
            made = window.messages()
            if window.compactions == compactions:
                assert all(a is b for a, b in zip(before, made, strict=False))
                assert len(made) == len(before) + 1
            compactions, before = window.compactions, made


def test_a_compaction_goes_down_to_its_target() -> None:
    """Above the trigger, and not before; then at most the target."""
    window: Window[Fields] = Window(4_000, trigger=0.9, target=0.5)
    window.append(USER)
    highest, lowest = 0, 4_000
    for number in range(120):
        window.append(call(number))
        before, compactions = window.tokens, window.compactions
        window.append(result(number))
        if window.compactions > compactions:
            highest, lowest = max(highest, before), min(lowest, window.tokens)
            assert window.tokens <= 2_000
    assert highest + count([result(0)]) > 3_600
    assert lowest > 1_000


def test_between_a_call_and_its_results_the_end_is_as_given() -> None:
    """Nothing is made up while calls wait; then they are answered behind their message."""
    window: Window[Fields] = Window(2_000)
    both = {**call(1), "tool_calls": [*call(1)["tool_calls"], *call(2)["tool_calls"]]}
    for message in (USER, both, result(2)):
        window.append(message)
    assert window.messages() == [USER, both, result(2)]
    window.append(result(1))
    assert window.messages() == [USER, both, result(2), result(1)]
    assert faults(window.messages()) == []


def test_a_late_result_finds_its_call() -> None:
    """Something was said in between: the missing result is made up, then replaced by the real."""
    window: Window[Fields] = Window(2_000)
    for message in (USER, call(1), USER):
        window.append(message)
    assert faults(window.messages()) == []
    assert "No result" in window.messages()[2]["content"]
    tokens = window.tokens
    window.append(result(1))
    assert window.messages() == [USER, call(1), result(1), USER]
    assert window.tokens == count(window.messages()) > tokens


def test_a_result_that_is_too_late_is_shown_all_the_same() -> None:
    """Its call is behind a compaction, whose prefix must not change."""
    window: Window[Fields] = Window(2_000)
    for message in (USER, call(500), USER):
        window.append(message)
    for number in range(60):
        window.append(call(number))
        window.append(result(number))
    window.append(result(500))
    made = window.messages()
    assert made[-1]["role"] == "user"
    assert "ORDER500" in made[-1]["content"]
    assert faults(made) == []


def test_originals_come_back_by_handle_and_by_word() -> None:
    """What an extract names can be asked for; what is not there is an error."""
    window: Window[Fields] = Window(2_000)
    filled(window, 60)
    assert any(str(m["content"]).startswith(PREFACE) for m in window.messages())
    assert window.recall("m1") == (USER,)
    assert window.recall("m3") == (result(0),)
    found = window.search("ORDER17")
    assert found[0].handle in ("m36", "m37")
    assert "ORDER17" in found[0].excerpt
    assert window.recall(found[0].handle) == found[0].messages
    assert window.search("nobody said this") == []
    for name in ("m0", "m999", "x", ""):
        with pytest.raises(NotFound):
            window.recall(name)


def test_what_cannot_shrink_is_said_when_it_is_asked_for() -> None:
    """Appending never fails for size; the error names the part; a smaller message mends it."""
    window: Window[Fields] = Window(300)
    window.append({"role": "user", "content": "Begin."})
    window.append({"role": "assistant", "content": "Yes."})
    window.append({"role": "user", "content": "word " * 1_000})
    with pytest.raises(ContextWindowExceeded) as caught:
        window.messages()
    assert "user" in caught.value.part
    window.append({"role": "assistant", "content": "Too long."})
    window.append({"role": "user", "content": "Then briefly."})
    assert count(window.messages()) <= 300


@pytest.mark.parametrize("shares", [(0.5, 0.6), (1.2, 0.6), (0.8, 0.0)])
def test_shares_that_make_no_sense_are_refused(shares: tuple[float, float]) -> None:
    """0 < target <= trigger <= 1."""
    with pytest.raises(InvalidInput):
        Window(1_000, trigger=shares[0], target=shares[1])


def test_what_is_no_message_changes_nothing() -> None:
    """The window is as it was before."""
    window: Window[Any] = Window(1_000)
    window.append(USER)
    with pytest.raises(InvalidInput):
        window.append({"role": "narrator", "content": "x"})
    assert window.messages() == [USER]
    assert window.originals() == [USER]


def filled_on(window: Window[Fields], first: int, turns: int) -> None:
    """The conversation goes on."""
    for number in range(first, first + turns):
        window.append(call(number))
        window.append(result(number))


def steps(window: Window[Fields], first: int, turns: int) -> int:
    """Calls of functions, Python's and C's, that `turns` of a conversation take."""
    counted = 0

    def note(frame: object, event: str, argument: object) -> None:
        nonlocal counted
        counted += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        for number in range(first, first + turns):
            window.append(call(number))
            window.append(result(number))
    finally:
        sys.setprofile(before)
    return counted


def test_an_append_costs_the_same_however_much_there_is() -> None:
    """The work of an append at 10,000, 30,000 and 50,000 tokens, counted: flat within 2 %."""
    window: Window[Fields] = Window(80_000)
    window.append(USER)
    number, work = 0, []
    for tokens in (10_000, 30_000, 50_000):
        while window.tokens < tokens:
            window.append(call(number))
            window.append(result(number))
            number += 1
        work.append(steps(window, number, 20))
        number += 20
    assert window.compactions == 0
    assert max(work) <= 1.02 * min(work)


def test_a_compaction_costs_the_same_however_long_the_conversation_was() -> None:
    """Stretches with compactions, early and late: the work is that of the window."""
    window: Window[Fields] = Window(2_000)
    window.append(USER)
    steps(window, 0, 100)
    early = steps(window, 100, 100)
    filled_on(window, 200, 600)
    late = steps(window, 800, 100)
    assert late <= 1.3 * early


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**40))
def test_any_conversation_whenever_it_is_asked(seed: int) -> None:
    """Broken or not: valid whenever no call waits, within the budget, within it again later."""
    chance = random.Random(seed)
    given = broken(seed) if chance.random() < 0.6 else dictionaries(history(seed))
    given += [m for m in dictionaries(history(seed + 1)) if m["role"] != "system"]
    budget = chance.choice((600, 1_500, 4_000))
    window: Window[Fields] = Window(budget)
    for message in given:
        window.append(message)
        try:
            made = window.messages()
        except ContextWindowExceeded:
            continue
        assert faults(made, is_open=True) == []
        assert count(made) <= budget
    assert window.originals() == given


def test_with_one_compaction_it_keeps_what_compact_keeps() -> None:
    """The rolling window and the function are the same engine."""
    window: Window[Fields] = Window(3_000, trigger=1.0, target=1.0)
    given = [USER]
    window.append(USER)
    while not window.compactions:
        fresh = [call(len(given)), result(len(given))]
        for message in fresh:
            window.append(message)
        given += fresh
    assert window.messages() == compact(given, 3_000)

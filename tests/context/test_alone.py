"""Compaction used alone: messages of any kind in, messages of that kind out."""

import copy
import json
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from palaver.context import compact, count, segment
from palaver.context.extractive_material import PREFACE
from palaver.domain.errors import ContextWindowExceeded, InvalidInput
from palaver.domain.messages import Message, Role
from palaver.testing import valid_history
from tests.context.foreign import Fields, broken, dictionaries, faults
from tests.context.histories import history

seeds = st.integers(0, 2**40)
Counts = Callable[[Any], float]


def by_list(messages: Sequence[Fields]) -> int:
    """As in tutorials: something for each message, and something for the list."""
    return 3 + sum(4 + len(json.dumps(message)) // 4 for message in messages)


def by_message(message: Fields) -> int:
    return 3 + len(str(message.get("content") or "").split()) + 5 * ("tool_calls" in message)


def by_text(text: str) -> int:
    return len(text.split())


COUNTS: dict[str, Counts | None] = {
    "estimate": None,
    "list": by_list,
    "message": by_message,
    "text": by_text,
}


def said(messages: Sequence[Fields]) -> list[Fields]:
    """What a person wrote, as far as it can stay word for word."""
    return [
        m
        for m in messages
        if m["role"] == "user"
        and not m.get("tool_calls")
        and m.get("content")
        and (not isinstance(m["content"], str) or m["content"].strip())
    ]


def compacted(
    messages: list[Fields], budget: int, counts: Counts | None
) -> list[Fields] | ContextWindowExceeded:
    """What becomes of them; an error is a value here."""
    try:
        return compact(messages, budget, count=counts)
    except ContextWindowExceeded as error:
        return error


def assert_compacts(seed: int) -> None:
    """All promises, for one history, broken or not, one budget and one counter."""
    chance = random.Random(seed)
    messages = broken(seed) if chance.random() < 0.7 else dictionaries(history(seed))
    before = copy.deepcopy(messages)
    counts = chance.choice(list(COUNTS.values()))
    full = count(messages, count=counts)
    budget = int(full * chance.choice((0.1, 0.2, 0.4, 0.6, 0.9, 1.0, 2.0)))
    made = compacted(messages, budget, counts)
    assert messages == before
    if isinstance(made, ContextWindowExceeded):
        assert made.part
        assert made.tokens > budget
        return
    assert faults(made) == []
    assert count(made, count=counts) <= budget
    ids = {id(message): at for at, message in enumerate(messages)}
    kept = [ids[id(m)] for m in made if id(m) in ids and m["role"] not in ("tool", "function")]
    assert kept == sorted(set(kept))
    users = said(messages)
    assert all(any(m is user for m in made) for user in (*users[:1], *users[-1:]))
    systems = [
        m
        for m in messages
        if m["role"] in ("system", "developer") and said([{**m, "role": "user"}])
    ]
    assert [m for m in made if m["role"] in ("system", "developer")] == systems
    assert compact(messages, budget, count=counts) == made
    again = compact(made, budget, count=counts)
    assert len(again) == len(made)
    assert all(a is b for a, b in zip(again, made, strict=True))


@settings(max_examples=120, deadline=None)
@given(seeds)
def test_any_dictionaries_any_budget_any_counter(seed: int) -> None:
    """Valid, within the budget, kept objects the same, deterministic, settled, input unchanged."""
    assert_compacts(seed)


@pytest.mark.long
@settings(max_examples=50_000, deadline=None)
@given(seeds)
def test_many_more_dictionaries(seed: int) -> None:
    """The same, 50,000 times."""
    assert_compacts(seed)


@settings(max_examples=60, deadline=None)
@given(seeds, st.sampled_from((0.2, 0.5, 0.8)))
def test_own_messages_come_back_as_own(seed: int, share: float) -> None:
    """Palaver's messages: valid by Palaver's own rules, the same objects where they are kept."""
    messages = history(seed)
    try:
        made = compact(messages, int(count(messages) * share))
    except ContextWindowExceeded:
        return
    assert all(isinstance(message, Message) for message in made)
    assert valid_history(made) == []
    users = [message for message in messages if message.role is Role.USER]
    assert made.count(users[0]) >= 1
    assert any(message is users[-1] for message in made)


def test_what_fits_and_is_valid_comes_back_as_it_is() -> None:
    """The same objects in the same order, in a new list."""
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi.", "name": "a", "unheard_of": 1},
    ]
    made = compact(messages, 1_000)
    assert made == messages
    assert made is not messages
    assert all(a is b for a, b in zip(made, messages, strict=True))


def test_results_in_any_order_are_left_in_it() -> None:
    """Parallel results that came in another order than their calls are valid, and stay."""
    calls = [_call("a"), _call("b")]
    messages: list[Fields] = [
        USER,
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "b", "content": "B"},
        {"role": "tool", "tool_call_id": "a", "content": "A"},
    ]
    assert compact(messages, 1_000) == messages


def _call(identity: str, arguments: str = "{}") -> Fields:
    return {
        "id": identity,
        "type": "function",
        "function": {"name": "get", "arguments": arguments},
    }


def _asks(*calls: Fields) -> Fields:
    return {"role": "assistant", "content": None, "tool_calls": list(calls)}


def _result(identity: str, text: str = "ok") -> Fields:
    return {"role": "tool", "tool_call_id": identity, "content": text}


USER: Fields = {"role": "user", "content": "Please."}


def test_a_late_result_goes_behind_its_call() -> None:
    """What came between stands behind it; nothing is lost or made up."""
    late: Fields = {"role": "user", "content": "And?"}
    asks, result = _asks(_call("a")), _result("a")
    assert compact([USER, asks, late, result], 1_000) == [USER, asks, result, late]


def test_a_missing_result_is_said_to_be_missing() -> None:
    """In the middle and at the end."""
    first, second = _asks(_call("a")), _asks(_call("b"), _call("c"))
    made = compact([USER, first, USER, second, _result("b")], 1_000)
    assert [m["role"] for m in made] == [
        "user", "assistant", "tool", "user", "assistant", "tool", "tool",
    ]  # fmt: skip
    assert "No result" in made[2]["content"]
    assert made[6]["tool_call_id"] == "c"


def test_an_id_that_is_used_again_gets_another() -> None:
    """The later call and its result are renamed together; the earlier ones stay the same."""
    messages = [USER, _asks(_call("a")), _result("a", "1"), _asks(_call("a")), _result("a", "2")]
    made = compact(messages, 1_000)
    assert made[:3] == messages[:3]
    new = made[3]["tool_calls"][0]["id"]
    assert new != "a"
    assert made[4] == {"role": "tool", "tool_call_id": new, "content": "2"}


def test_a_result_of_no_call_is_shown_by_the_user() -> None:
    """Providers refuse it as a result; what it says is kept."""
    made = compact([USER, _result("gone", "42 apples")], 1_000)
    assert [m["role"] for m in made] == ["user", "user"]
    assert "42 apples" in made[1]["content"]


def test_functions_of_old_stay_functions() -> None:
    """Call and answer in the old form are a pair, and are written in the old form."""
    asks = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}
    answer = {"role": "function", "name": "f", "content": "1"}
    assert compact([USER, asks, answer], 1_000) == [USER, asks, answer]
    made = compact([USER, asks], 1_000)
    assert made[2]["role"] == "function"


class Returned:
    """A message as a provider's client returns it."""

    role = "assistant"

    def __init__(self, **fields: object) -> None:
        self._fields = fields

    def model_dump(self, *, exclude_none: bool) -> Fields:
        found = {"role": self.role, **self._fields}
        return {k: v for k, v in found.items() if v is not None or not exclude_none}


def test_objects_of_a_client_are_read_as_dictionaries() -> None:
    """Many append what the client returned; it stays that object, a mended one is a dictionary."""
    asks = Returned(content=None, refusal=None, tool_calls=[_call("a")])
    messages: list[Any] = [USER, asks, _result("a"), Returned(content="Done.")]
    made = compact(messages, 1_000)
    assert all(a is b for a, b in zip(made, messages, strict=True))
    broken_ = Returned(content=None, tool_calls=[_call("functions.get:0")])
    odd: list[Any] = [USER, broken_, _result("functions.get:0")]
    mended = compact(odd, 1_000)
    assert faults(mended) == []


def test_calls_of_custom_tools_are_left_as_they_are() -> None:
    """Their input is text, no JSON; the pair is valid."""
    custom = {"id": "a", "type": "custom", "custom": {"name": "sh", "input": "ls {"}}
    messages = [USER, _asks(custom), _result("a")]
    assert compact(messages, 1_000) == messages


def test_anthropics_turns_keep_their_form() -> None:
    """Results as blocks of the user's message are read and written as such."""
    used = {"type": "tool_use", "id": "t1", "name": "read", "input": {"path": "/a.py"}}
    told = {"type": "tool_result", "tool_use_id": "t1", "content": "x = 1\n" * 2_000}
    messages: list[Fields] = [
        {"role": "user", "content": "Read it."},
        {"role": "assistant", "content": [{"type": "text", "text": "Yes."}, used]},
        {"role": "user", "content": [told]},
        {"role": "assistant", "content": "It is x."},
        {"role": "user", "content": "Thanks. And now?"},
    ]
    assert compact(messages, 100_000) == messages
    made = compact(messages, 1_000)
    assert count(made) <= 1_000
    assert made[0] is messages[0]
    assert made[-1] is messages[-1]
    assert not any(m["role"] == "tool" for m in made)


def test_a_list_that_was_compacted_and_goes_on_is_compacted_again() -> None:
    """What was quoted before is no word of the user: it may shrink, the conversation may go on."""
    messages: list[Fields] = [{"role": "system", "content": "Be brief."}, USER]
    for turn in range(120):
        call = _call(f"c{turn}", json.dumps({"id": f"ORDER{turn}"}))
        messages += [_asks(call), _result(f"c{turn}", f"order {turn} costs {turn * 7} " * 20)]
        messages = compact(messages, 1_500)
        assert count(messages) <= 1_500
        assert faults(messages) == []
    assert messages[1] is USER
    assert sum(str(m["content"]).startswith(PREFACE) for m in messages) <= 3


def test_messages_to_keep_are_named_by_position() -> None:
    """Also from the end; a result brings its call."""
    texts = [f"message {n} " + "of no importance whatsoever " * 20 for n in range(20)]
    messages = [
        {"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)
    ]
    made = compact(messages, count(messages) // 3, keep=[7, -4])
    assert any(m is messages[7] for m in made)
    assert any(m is messages[16] for m in made)
    with pytest.raises(InvalidInput, match="no message 20"):
        compact(messages, 100, keep=[20])


def test_what_cannot_shrink_is_named() -> None:
    """A typed error with the part, the tokens and the budget."""
    messages = [{"role": "system", "content": "word " * 500}, USER]
    with pytest.raises(ContextWindowExceeded) as caught:
        compact(messages, 100)
    assert caught.value.part == "the system message"
    assert caught.value.window == 100
    assert caught.value.tokens > 500


@pytest.mark.parametrize("budget", [0, -1])
def test_no_budget_at_all_is_an_error_too(budget: int) -> None:
    """Never an endless loop, never an empty list for messages."""
    with pytest.raises(ContextWindowExceeded):
        compact([USER], budget)


def test_nothing_comes_of_nothing() -> None:
    """An empty conversation fits any budget."""
    assert compact([], 10) == []
    assert count([]) == 0
    assert segment([]) == []
    blank = [{"role": "user", "content": " "}]
    assert compact(blank, -1) == compact([], -1) == []


@pytest.mark.parametrize("wrong", [{"role": "narrator", "content": "x"}, 17, {"content": "x"}])
def test_what_is_no_message_is_refused(wrong: object) -> None:
    """With a hint, before anything is done."""
    with pytest.raises(InvalidInput):
        compact([USER, wrong], 100)


class Tokenizer:
    """What tokenizers offer."""

    def encode(self, text: str) -> list[int]:
        return [len(word) for word in text.split()]


@pytest.mark.parametrize(
    "counts",
    [
        by_list,
        by_message,
        by_text,
        len,
        lambda x: len(str(x)) / 4,
        Tokenizer(),
        lambda message: len(message["content"] or ""),
        lambda messages: sum(len(m.get("content") or "") for m in messages),
        count,
    ],
    ids=["list", "message", "text", "len", "anything", "encode", "item", "sum", "ours"],
)
def test_counters_of_every_form_are_understood(counts: Any) -> None:
    """The result is within the budget by the counter that was given."""
    messages = [USER, *({"role": "assistant", "content": "So it is, number 17. " * 40},) * 9]
    full = count(messages, count=counts)
    made = compact(messages, full // 2, count=counts)
    assert count(made, count=counts) <= full // 2
    assert len(made) > 1


@pytest.mark.parametrize("counts", [lambda x: 5, lambda: 3, 7], ids=["constant", "none", "number"])
def test_what_counts_nothing_is_refused(counts: Any) -> None:
    """A counter that does not grow with the text is a mistake."""
    with pytest.raises(InvalidInput):
        compact([USER], 100, count=counts)


def test_a_picture_counts_as_a_picture() -> None:
    """Its bytes are no text."""
    url = "data:image/png;base64," + "A" * 400_000
    picture = {"type": "image_url", "image_url": {"url": url}}
    assert count([{"role": "user", "content": [picture]}]) < 2_500


def test_topics_of_texts_pairs_and_messages_are_the_same() -> None:
    """The form does not matter; the function stays what it is whoever imports its module."""
    import palaver.context.topics  # noqa: F401

    texts = [
        "I want to book a flight to Oslo.",
        "Which day?",
        "Friday.",
        "It is booked.",
        "Thanks!",
    ]
    texts += ["Another thing: my laptop does not start.", "Is the battery charged?", "Yes it is."]
    dictionaries_ = [
        {"role": ("user", "assistant")[n % 2], "content": t} for n, t in enumerate(texts)
    ]
    found = segment(dictionaries_)
    assert found == segment([(m["role"], m["content"]) for m in dictionaries_])
    assert all(0 < at < len(texts) for at in found)
    assert isinstance(segment(texts), list)


def test_nothing_heavy_is_imported() -> None:
    """No network, no database, no LangChain, unless its messages came in."""
    code = (
        "import sys; from palaver.context import Window, compact, count, segment\n"
        "compact([{'role': 'user', 'content': 'x'}], 9); Window(99); segment(['a', 'b'])\n"
        "heavy = {'aiohttp', 'apsw', 'langchain_core', 'asyncio', 'jsonschema', 'click', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"

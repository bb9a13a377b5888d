"""Recorded streams that break: cut at any byte, spliced with errors and with each other.

The recordings are real; what breaks them is made here. Whatever it is, the failure has a class that
says what to do, and nothing that was cut is taken for an answer.
"""

import json
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from palaver.domain.errors import ProviderError, StreamTruncated
from palaver.providers.anthropic_answer import ErrorEvent
from palaver.providers.base import Finished, ModelEvent
from palaver.providers.failures import translate
from palaver.recovery.classification import ErrorClassification as Class, classify
from tests.providers import (
    test_anthropic_recordings as messages,
    test_openai_chat_recordings as chat,
    test_openai_responses_recordings as responses,
)
from tests.providers.replay import batches, needs_data, records, wire

pytestmark = needs_data
Run = Callable[[bytes, int], list[ModelEvent]]


def run_messages(body: bytes, seed: int) -> list[ModelEvent]:
    """As the adapter: what is not finished at the end of the body was cut."""
    try:
        events, finished = messages.told(batches(body, seed=seed))
    except ErrorEvent as told:
        raise translate(200, {}, told.data, provider="anthropic", in_stream=True) from told
    if finished is None:
        raise StreamTruncated("cut")
    return [*events, finished]


def run_chat(body: bytes, seed: int) -> list[ModelEvent]:
    return chat.run(body, seed=seed, strict=True)


def run_responses(body: bytes, seed: int) -> list[ModelEvent]:
    return responses.run(body, seed=seed)


def marked(record: dict[str, Any]) -> bool:
    """A chat stream with its end marker; some servers send none."""
    return b"data: [DONE]" in wire(record)


APIS: dict[str, tuple[Run, list[dict[str, Any]], bytes]] = {
    "messages": (run_messages, messages.RECORDS, b'"message_stop"'),
    "chat": (run_chat, [r for r in chat.RECORDS if marked(r)], b"data: [DONE]"),
    "responses": (run_responses, responses.RECORDS, b""),
}


def end_of(body: bytes, marker: bytes) -> int:
    """Where the end marker begins: the last byte that a cut may leave."""
    if marker:
        return body.index(marker)
    found = [
        place
        for kind in responses.ENDS
        if (place := body.find(b'"type":"%b"' % kind.encode())) >= 0
    ]
    return min(found) if found else body.rfind(b"\ndata:")


def error_event(api: str, error: dict[str, Any]) -> bytes:
    """An error in the middle of a stream, in the API's own form."""
    kind = error.get("type") or "api_error"
    if api == "messages":
        body: dict[str, Any] = {"type": "error", "error": {"type": kind, "message": "…"}}
    elif api == "chat":
        body = {"error": {"message": "…", "type": kind, "code": error.get("code")}}
    else:
        body = {"type": "error", "code": error.get("code") or kind, "message": "…"}
    return b"data: %b\n\n" % json.dumps(body).encode()


ERRORS: list[tuple[dict[str, Any], dict[str, Class]]] = [
    ({"type": "overloaded_error", "code": "overloaded"}, {"messages": Class.OVERLOAD}),
    ({"type": "rate_limit_error", "code": "rate_limit_exceeded"}, {"*": Class.RATE_LIMIT}),
    ({"type": "api_error", "code": "server_error"}, {"messages": Class.SERVER}),
    ({"type": "server_error", "code": "server_error"}, {"chat": Class.SERVER}),
    ({"type": "server_error", "code": "server_error"}, {"responses": Class.SERVER}),
    ({"type": "invalid_request_error"}, {"messages": Class.INVALID_REQUEST}),
    (
        {"type": "insufficient_quota", "code": "insufficient_quota"},
        {"chat": Class.QUOTA, "responses": Class.QUOTA},
    ),
    (
        {"type": "invalid_request_error", "code": "context_length_exceeded"},
        {"chat": Class.CONTEXT_OVERFLOW, "responses": Class.CONTEXT_OVERFLOW},
    ),
    ({"type": "authentication_error"}, {"messages": Class.AUTH}),
    ({"type": "permission_error"}, {"messages": Class.PERMISSION}),
]


def boundary(body: bytes, end: int, chance: random.Random) -> int:
    """A place between two events, before the end marker and behind the first event."""
    places = [at + 2 for at in range(end) if body.startswith(b"\n\n", at)]
    return chance.choice(places or [0])


def cut(api: str, times: int) -> Counter[str]:
    """Cut every recording `times` times."""
    run, found, marker = APIS[api]
    seen: Counter[str] = Counter()
    for number, record in enumerate(found):
        chance = random.Random(number)
        body = wire(record)
        end = end_of(body, marker)
        for seed in range(times):
            with pytest.raises(ProviderError) as caught:
                run(body[: chance.randrange(end)], seed)
            seen[classify(caught.value)] += 1
    return seen


@pytest.mark.parametrize("api", APIS)
def test_every_cut_is_a_truncation(api: str) -> None:
    """Wherever a recorded stream ends early, the failure says so."""
    seen = cut(api, 10)
    assert set(seen) == {Class.TRUNCATION}, seen
    assert seen.total() >= 700


@pytest.mark.long
@pytest.mark.parametrize("api", APIS)
def test_ten_thousand_cuts_are_truncations(api: str) -> None:
    """The same, 10,000 cuts on each of the three APIs."""
    seen = cut(api, -(-10_000 // len(APIS[api][1])))
    assert set(seen) == {Class.TRUNCATION}, seen
    assert seen.total() >= 10_000


@pytest.mark.parametrize(
    "api, error, expected",
    [
        (api, error, classes.get(api) or classes["*"])
        for error, classes in ERRORS
        for api in APIS
        if api in classes or "*" in classes
    ],
)
def test_an_error_in_the_middle(api: str, error: dict[str, Any], expected: Class) -> None:
    """An error event between any two events of a recording has the class of what it says."""
    run, found, marker = APIS[api]
    for seed, record in enumerate(found[:: 1 + len(found) // 60]):
        body = wire(record)
        place = boundary(body, end_of(body, marker), random.Random(seed))
        with pytest.raises(ProviderError) as caught:
            run(body[:place] + error_event(api, error), seed)
        assert classify(caught.value) is expected, (record["id"], caught.value)


@pytest.mark.parametrize("api", APIS)
def test_two_streams_spliced(api: str) -> None:
    """The beginning of one recording and the end of another one: an answer that is whole by its own
    marks, or a failure with a class. Never a crash, never an unknown one."""
    run, found, marker = APIS[api]
    chance = random.Random(7)
    for seed in range(100):
        one, other = wire(chance.choice(found)), wire(chance.choice(found))
        first = boundary(one, end_of(one, marker), chance)
        second = boundary(other, end_of(other, marker), chance)
        ended: Finished | Class
        try:
            (*_, last) = run(one[:first] + other[second:], seed)
        except ProviderError as failure:
            ended = classify(failure)
        else:
            assert isinstance(last, Finished)
            ended = last
        assert ended is not Class.UNKNOWN


@needs_data
def test_there_is_something_to_break() -> None:
    """The recordings are there: no loop above is empty."""
    assert all(len(found) >= 70 for _, found, _ in APIS.values())
    assert len(records("recordings/errors")) >= 50

"""What the fake provider plays, named in the first part of the request's path.

burst-2000        2,000 deltas as fast as the socket takes them, one write each
paced-600-2       600 deltas with gaps of 2 ms
tools             three calls whose arguments are complete at 0, 0.5 and 1 s, then 0.5 s of text
loop              one call; after its result an answer of 1,200 characters in 20 deltas
many-200-20       one call; after its result 200 stamped deltas with gaps of 20 ms (bench.pacing)
"""

from functools import cache
from itertools import count, cycle, islice

from bench.wire import Api, frames

Step = tuple[float, bytes]
"""Seconds after the request, and what is sent then."""

WORDS = (" the", " answer", " is", " longer", " than", " a", " line,", " and", " plain", " text.")
TOOL_GAP_S, TOOL_RUN_S = 0.5, 1.0
TRAILING_PIECES, TRAILING_S = 10, 0.5
ANSWER_CHARS, ANSWER_DELTAS, QUESTION_CHARS, RESULT_CHARS = 1200, 20, 300, 200
QUESTION = ("What does the register say about this? " * 8)[:QUESTION_CHARS]
RESULT = ("register entry, " * 13)[:RESULT_CHARS]
ANSWER_PIECE = ("an answer of some length " * 3)[: ANSWER_CHARS // ANSWER_DELTAS]
ANSWER = ANSWER_PIECE * ANSWER_DELTAS
_ids = count(1)


def script(api: Api, scenario: str, said: str) -> list[Step]:
    """The answer to a request that ends with `said` (see `bench.wire.last_said`)."""
    if said == "warm up":
        return _text(api, 1, 0.0)
    answered = said == "results"
    kind, *numbers = scenario.split("-")
    match kind:
        case "burst":
            return _text(api, int(numbers[0]), 0.0)
        case "paced":
            return _text(api, int(numbers[0]), int(numbers[1]) / 1000)
        case "tools":
            return _text(api, 5, 0.0) if answered else _three_calls(api)
        case "loop":
            return _answer(api) if answered else _one_call(api)
        case "many" if not answered:
            return _one_call(api)
        case _:
            raise ValueError(f"there is no scenario {scenario!r}")


def many(scenario: str) -> tuple[int, int] | None:
    """Deltas and gap in ms, when this is the scenario `many`."""
    kind, *numbers = scenario.split("-")
    return (int(numbers[0]), int(numbers[1])) if kind == "many" else None


def expected_chars(deltas: int) -> int:
    """Characters in an answer of so many deltas."""
    return sum(len(word) for word in islice(cycle(WORDS), deltas))


@cache
def _text(api: Api, deltas: int, gap_s: float) -> list[Step]:
    wire = frames(api)
    steps = [(0.0, wire.start() + wire.open_text())]
    steps += [(i * gap_s, wire.text(word)) for i, word in enumerate(islice(cycle(WORDS), deltas))]
    return [*steps, (deltas * gap_s, wire.close() + wire.end(calls=False))]


def _three_calls(api: Api) -> list[Step]:
    wire = frames(api)
    steps = [(0.0, wire.start())]
    for i in range(3):
        call = wire.open_call(_call_id(api), "wait") + wire.arguments('{"name": ')
        before = max(0.0, (i - 1) * TOOL_GAP_S)
        steps.append((before, call))
        steps.append((i * TOOL_GAP_S, wire.arguments(f'"job {i}"}}') + wire.close()))
    begin = 2 * TOOL_GAP_S
    steps.append((begin, wire.open_text()))
    for i in range(TRAILING_PIECES):
        at = begin + (i + 1) * TRAILING_S / TRAILING_PIECES
        steps.append((at, wire.text(" Waiting.")))
    return [*steps, (begin + TRAILING_S, wire.close() + wire.end(calls=True))]


def _one_call(api: Api) -> list[Step]:
    wire = frames(api)
    call = wire.open_call(_call_id(api), "look_up")
    call += wire.arguments('{"name": ') + wire.arguments('"entry"}') + wire.close()
    return [(0.0, wire.start() + call + wire.end(calls=True))]


@cache
def _answer(api: Api) -> list[Step]:
    wire = frames(api)
    steps = [(0.0, wire.start() + wire.open_text())]
    steps += [(0.0, wire.text(ANSWER_PIECE)) for _ in range(ANSWER_DELTAS)]
    return [*steps, (0.0, wire.close() + wire.end(calls=False))]


def _call_id(api: Api) -> str:
    return f"{'toolu' if api == 'anthropic' else 'call'}_{next(_ids):08d}"

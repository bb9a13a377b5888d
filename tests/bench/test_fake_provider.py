import msgspec
import pytest

from bench.contestants import NAMES, make, missing
from bench.report import Table, number, ratio
from bench.scenario import ANSWER_CHARS, expected_chars, script
from bench.wire import APIS, WARM_UP, last_said


def _data(stream: bytes) -> list[dict[str, object]]:
    lines = [line[6:] for line in stream.split(b"\n") if line.startswith(b"data: ")]
    return [msgspec.json.decode(line) for line in lines if line != b"[DONE]"]


def _text(stream: bytes) -> str:
    found = []
    for event in _data(stream):
        if event.get("type") == "content_block_delta":
            found.append(event["delta"].get("text", ""))  # type: ignore[attr-defined]
        if event.get("type") == "response.output_text.delta":
            found.append(event["delta"])
        choices = event.get("choices", ())
        found += [c["delta"].get("content") or "" for c in choices]  # type: ignore[attr-defined]
    return "".join(found)


@pytest.mark.parametrize("api", APIS)
def test_burst_says_what_is_expected(api: str) -> None:
    """A burst is valid events, and as long as the check of the listeners says."""
    stream = b"".join(frame for _, frame in script(api, "burst-50", "question"))
    assert len(_text(stream)) == expected_chars(50)


@pytest.mark.parametrize("api", APIS)
def test_paced_deltas_keep_their_distance(api: str) -> None:
    """Deltas of a paced stream are due one gap after another, the first at once."""
    at = [at for at, _ in script(api, "paced-5-2", "question")]
    assert at == pytest.approx([0, 0, 0.002, 0.004, 0.006, 0.008, 0.01])


@pytest.mark.parametrize("api", APIS)
def test_loop_calls_once_and_then_answers(api: str) -> None:
    """A question gets a call with an id of its own, a result gets the answer."""
    first, second = (script(api, "loop", "question")[0][1] for _ in range(2))
    assert first != second
    assert b"look_up" in first
    answer = b"".join(frame for _, frame in script(api, "loop", "results"))
    assert len(_text(answer)) == ANSWER_CHARS


@pytest.mark.parametrize("api", APIS)
def test_calls_are_complete_when_the_measurement_believes(api: str) -> None:
    """The last byte of the three calls' arguments comes at 0, 0.5 and 1 s."""
    steps = script(api, "tools", "question")
    complete = [next(at for at, frame in steps if b"job %d" % i in frame) for i in range(3)]
    assert complete == [0.0, 0.5, 1.0]
    assert [at for at, _ in steps] == sorted(at for at, _ in steps)


def test_requests_are_told_apart() -> None:
    """Results on every wire, a warming message and a question are recognised."""

    def said(message: object) -> str:
        return last_said(msgspec.json.encode({"messages": [{"role": "user"}, message]}))

    assert said({"role": "tool", "tool_call_id": "1", "content": "x"}) == "results"
    assert said({"role": "user", "content": [{"type": "tool_result"}]}) == "results"
    items = [{"type": "function_call_output", "call_id": "1", "output": "x"}]
    assert last_said(msgspec.json.encode({"input": items})) == "results"
    assert said({"role": "user", "content": WARM_UP}) == "warm up"
    assert said({"role": "user", "content": "Hello"}) == "question"


def test_ratio_is_of_each_round() -> None:
    """What slows both contestants of a round down does not change the ratio."""
    assert ratio([2.0, 20.0, 2.0], [1.0, 10.0, 1.0]) == 2.0


def test_table_reads_as_markdown() -> None:
    """Columns line up, numbers to the right."""
    table = Table("Title", ("a", "bb"), [("x", number(1234.5), number(None))], ["note"])
    assert table.text().splitlines() == [
        "## Title",
        "",
        "|   |     a | bb |",
        "|---|------:|---:|",
        "| x | 1,234 |  – |",
        "",
        "- note",
    ]


def test_unknown_contestants_and_missing_packages() -> None:
    """Every contestant is made by its name; packages that are absent are named."""
    assert missing("palaver") == []
    assert "raw" in NAMES
    assert make("palaver-adapter") is not None

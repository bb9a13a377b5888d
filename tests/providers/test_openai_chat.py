"""Chat completions, event by event: what real servers do and the recordings hold, and more."""

import json
from typing import Any

import msgspec
import pytest

from palaver.domain.errors import (
    Overloaded,
    ProtocolViolation,
    ProviderError,
    ServerFailure,
    StreamTruncated,
)
from palaver.domain.messages import Reasoning, Refusal, StopReason, Text, ToolCall
from palaver.domain.values import Usage
from palaver.providers import failures
from palaver.providers.base import (
    CallArguments,
    CallCompleted,
    CallStarted,
    Finished,
    ModelEvent,
    ReasoningPart,
    TextPart,
    UsageKnown,
)
from palaver.providers.openai_chat import CUSTOM, ChatAssembler

DONE = b"[DONE]"
USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


def assembler(**options: Any) -> ChatAssembler:
    def failure(body: bytes) -> ProviderError:
        return failures.translate(200, {}, body, provider="test", in_stream=True)

    return ChatAssembler(failure=failure, **options)


def chunk(finish: str | None = None, **delta: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return json.dumps({"id": "c1", "model": "m-1", "choices": [choice]}).encode()


def tool(arguments: str | None = None, **fields: Any) -> dict[str, Any]:
    function = {"arguments": arguments}
    if "name" in fields:
        function["name"] = fields.pop("name")
    return {"function": function, **fields}


def feed(answer: ChatAssembler, *payloads: bytes) -> list[ModelEvent]:
    for payload in payloads:
        answer.feed(payload)
    return answer.take()


def finished(*payloads: bytes) -> Finished:
    last = feed(assembler(), *payloads)[-1]
    assert isinstance(last, Finished)
    return last


def calls(*payloads: bytes) -> list[tuple[str, str, str]]:
    content = finished(*payloads, chunk("tool_calls"), DONE).content
    return [(c.id, c.name, c.arguments) for c in content if isinstance(c, ToolCall)]


def test_text_of_one_read_is_one_event() -> None:
    """Adjacent deltas of a read are joined; reads are not held back."""
    answer = assembler()
    assert feed(answer, chunk(content="Hel"), chunk(content="lo")) == [TextPart("Hello")]
    assert feed(answer, chunk(content=" you")) == [TextPart(" you")]
    assert answer.partial() == (Text("Hello you"),)
    assert feed(answer, chunk("stop"), DONE) == [
        Finished((Text("Hello you"),), StopReason.END_TURN, None, "c1", "", "m-1")
    ]
    assert answer.ended


def test_call_is_complete_at_its_last_brace() -> None:
    """The first call completes while the second has not begun; arguments stay as written."""
    answer = assembler()
    first = feed(
        answer,
        chunk(tool_calls=[tool("", index=0, id="a", name="look")]),
        chunk(tool_calls=[tool('{"x": ', index=0)]),
        chunk(tool_calls=[tool("1}", index=0)]),
    )
    assert first == [
        CallStarted("a", "look"),
        CallArguments("a", '{"x": 1}'),
        CallCompleted(ToolCall("a", "look", '{"x": 1}')),  # type: ignore[arg-type]
    ]
    second = feed(answer, chunk(tool_calls=[tool("{", index=1, id="b", name="look")]))
    assert second == [CallStarted("b", "look"), CallArguments("b", "{")]
    assert [c.id for c in answer.partial() if isinstance(c, ToolCall)] == ["a"]


def test_call_without_arguments_completes_when_the_model_goes_on() -> None:
    """Empty arguments and `{}` are believed once another call comes, or at the end."""
    answer = assembler()
    started = feed(answer, chunk(tool_calls=[tool("{}", index=0, id="a", name="now")]))
    assert not any(isinstance(e, CallCompleted) for e in started)
    then = feed(answer, chunk(tool_calls=[tool("", index=1, id="b", name="now")]))
    assert [e.call.id for e in then if isinstance(e, CallCompleted)] == ["a"]
    end = feed(answer, chunk("tool_calls"), DONE)
    assert [e.call for e in end if isinstance(e, CallCompleted)] == [ToolCall("b", "now", "{}")]  # type: ignore[arg-type]


def test_calls_begun_in_one_chunk_are_not_taken_for_empty() -> None:
    """Two calls begin together and are filled one after the other."""
    begun = chunk(
        tool_calls=[tool("", index=0, id="a", name="f"), tool("", index=1, id="b", name="g")]
    )
    assert calls(
        begun,
        chunk(tool_calls=[tool('{"n":', index=0)]),
        chunk(tool_calls=[tool("1}", index=0)]),
        chunk(tool_calls=[tool('{"n":2}', index=1)]),
    ) == [("a", "f", '{"n":1}'), ("b", "g", '{"n":2}')]


@pytest.mark.parametrize(
    "deltas, expected",
    [
        # No index: whole calls, told apart by id or, without one, by a name that comes again.
        ([tool("{}", id="x", name="f"), tool('{"a":1}', id="y", name="f")], ["x", "y"]),
        ([tool("{}", name="f"), tool("{}", name="f")], ["call_0", "call_1"]),
        # Empty, missing and doubled ids.
        ([tool("{}", index=0, id="", name="f")], ["call_0"]),
        ([tool("{}", index=0, id=None, name="f")], ["call_0"]),
        ([tool("{}", index=0, id=7, name="f")], ["7"]),
        ([tool("{}", index=i, id="0", name="f") for i in range(3)], ["0", "0_2", "0_3"]),
        # Gemini's compatible endpoint gives every call index 0.
        ([tool('{"a":1}', index=0, id=i, name="f") for i in "pq"], ["p", "q"]),
        # The name again in a later delta, and an id of its own in every delta.
        (
            [tool('{"a"', index=0, id="x", name="f"), tool(":1}", index=0, id="z", name="f")],
            ["x"],
        ),
    ],
)
def test_ids(deltas: list[dict[str, Any]], expected: list[str]) -> None:
    """However a server numbers its calls, each has one id, unique in the message."""
    assert [call[0] for call in calls(*(chunk(tool_calls=[d]) for d in deltas))] == expected
    whole = calls(chunk(tool_calls=deltas))
    assert [call[0] for call in whole] == expected


def test_arguments_in_odd_forms() -> None:
    """null and '' are `{}`, an object is its JSON, a placeholder before the arguments goes."""
    assert calls(chunk(tool_calls=[tool(None, index=0, id="a", name="f")])) == [("a", "f", "{}")]
    as_object: Any = {"q": [1]}
    assert calls(chunk(tool_calls=[tool(as_object, index=0, id="a", name="f")])) == [
        ("a", "f", '{"q":[1]}')
    ]
    assert calls(
        chunk(tool_calls=[tool("{}", index=0, id="a", name="f")]),
        chunk(tool_calls=[tool('{"q":', index=0)]),
        chunk(tool_calls=[tool("1}", index=0)]),
    ) == [("a", "f", '{"q":1}')]
    with pytest.raises(ProtocolViolation):
        calls(
            chunk(tool_calls=[tool('{"q":1}', index=0, id="a", name="f")]),
            chunk(tool_calls=[tool('{"q":2}', index=0)]),
        )


def test_name_may_come_late() -> None:
    """A call is shown once its name is known, with the arguments that came before it."""
    events = feed(
        assembler(),
        chunk(tool_calls=[tool('{"a"', index=0, id="x")]),
        chunk(tool_calls=[tool(":1}", index=0, name="f")]),
    )
    assert events == [
        CallStarted("x", "f"),
        CallArguments("x", '{"a":1}'),
        CallCompleted(ToolCall("x", "f", '{"a":1}')),  # type: ignore[arg-type]
    ]


def test_custom_and_legacy_calls() -> None:
    """Custom tools take free text, which no brace completes; `function_call` is one call."""
    custom = [{"index": 0, "id": "a", "type": "custom", "custom": {"name": "sum", "input": "{4}"}}]
    answer = assembler()
    assert not any(
        isinstance(e, CallCompleted) for e in feed(answer, chunk(tool_calls=custom, content=None))
    )
    last = feed(answer, chunk("tool_calls"), DONE)[-1]
    assert isinstance(last, Finished)
    assert last.content == (ToolCall("a", "sum", "{4}", origin="openai.chat", native=CUSTOM),)  # type: ignore[arg-type]
    legacy = finished(
        chunk(function_call={"name": "f", "arguments": ""}),
        chunk(function_call={"arguments": '{"a":1}'}),
        chunk("function_call"),
        DONE,
    )
    assert legacy.content == (ToolCall("call_0", "f", '{"a":1}'),)  # type: ignore[arg-type]
    assert legacy.stop is StopReason.TOOL_USE


def test_empty_placeholders_are_no_calls() -> None:
    """Servers that fill every field with empty values ask for nothing by it."""
    last = finished(
        chunk(content="a", function_call={"name": "", "arguments": ""}, tool_calls=[]),
        chunk(tool_calls=[tool("", index=0, id="", name="")]),
        chunk("stop"),
        DONE,
    )
    assert (last.content, last.stop) == ((Text("a"),), StopReason.END_TURN)


@pytest.mark.parametrize(
    "field",
    [
        {"reasoning_content": "Hm."},
        {"reasoning": "Hm."},
        {"reasoning_content": "Hm.", "reasoning": "Hm."},
        {"reasoning_details": [{"type": "reasoning.text", "index": 0, "text": "Hm."}]},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}]},
    ],
)
def test_thinking_in_all_its_fields(field: dict[str, Any]) -> None:
    """Thinking is shown once, and kept with the field that it goes back in."""
    events = feed(assembler(), chunk(**field), chunk(content="Yes"), chunk("stop"), DONE)
    assert events[:2] == [ReasoningPart("Hm."), TextPart("Yes")]
    last = events[-1]
    assert isinstance(last, Finished)
    thought, text = last.content
    assert text == Text("Yes")
    assert isinstance(thought, Reasoning)
    assert thought.text == "Hm."
    assert thought.origin == "openai.chat"
    assert "Hm." in thought.native


def test_reasoning_details_are_joined() -> None:
    """Deltas of one detail become one; signatures and encrypted data are kept."""
    a = {"type": "reasoning.text", "index": 0, "text": "On", "signature": None}
    b = {"type": "reasoning.text", "index": 0, "text": "ce", "signature": "sig"}
    c = {"type": "reasoning.encrypted", "index": 1, "data": "xyz"}
    thought = finished(
        chunk(reasoning_details=[a]), chunk(reasoning_details=[b, c]), chunk("stop"), DONE
    ).content[0]
    assert isinstance(thought, Reasoning)
    assert msgspec.json.decode(thought.native) == {
        "reasoning_details": [
            {"type": "reasoning.text", "index": 0, "text": "Once", "signature": "sig"},
            c,
        ]
    }


@pytest.mark.parametrize(
    "finish, stop",
    [
        ("stop", StopReason.END_TURN),
        ("tool_calls", StopReason.END_TURN),  # without any call
        ("length", StopReason.MAX_TOKENS),
        ("model_length", StopReason.CONTEXT_FULL),
        ("content_filter", StopReason.CONTENT_FILTER),
        ("never heard of", StopReason.OTHER),
    ],
)
def test_finish_reasons(finish: str, stop: StopReason) -> None:
    """Every finish reason has a stop reason; the unknown is no good one."""
    assert finished(chunk(content="a"), chunk(finish), DONE).stop is stop


def test_calls_mean_tool_use() -> None:
    """Servers that say `stop` after calls mean the calls; a length limit stays one."""
    call = chunk(tool_calls=[tool("{}", index=0, id="a", name="f")])
    assert finished(call, chunk("stop"), DONE).stop is StopReason.TOOL_USE
    assert finished(call, chunk("length"), DONE).stop is StopReason.MAX_TOKENS


@pytest.mark.parametrize(
    "finish, error", [("insufficient_system_resource", Overloaded), ("error", ServerFailure)]
)
def test_server_breaks_off(finish: str, error: type[ProviderError]) -> None:
    """A finish reason that reports a failure is one."""
    with pytest.raises(error):
        finished(chunk(content="a"), chunk(finish), DONE)


def test_refusal() -> None:
    """Refusal deltas are shown as text and kept as a refusal."""
    events = feed(assembler(), chunk(refusal="I "), chunk(refusal="won't"), chunk("stop"), DONE)
    assert events[0] == TextPart("I won't")
    last = events[-1]
    assert isinstance(last, Finished)
    assert last.content == (Refusal("I won't"),)
    assert last.stop is StopReason.REFUSAL


def test_citations() -> None:
    """Annotations of any delta stay with the text."""
    cited = [{"type": "url_citation", "url_citation": {"url": "https://x"}}]
    last = finished(chunk(content="a"), chunk(annotations=cited), chunk("stop"), DONE)
    text = last.content[0]
    assert isinstance(text, Text)
    assert json.loads(text.annotations) == cited


def test_only_the_first_choice_counts() -> None:
    """Other choices interleave and are left out."""
    other = {"index": 1, "delta": {"content": "NO"}, "finish_reason": "length"}
    last = finished(
        chunk(content="yes"), json.dumps({"choices": [other]}).encode(), chunk("stop"), DONE
    )
    assert (last.content, last.stop) == ((Text("yes"),), StopReason.END_TURN)


def test_usage_is_the_last_value() -> None:
    """Counts replace one another; cached tokens are not counted as input."""
    answer = assembler()
    later = {
        **USAGE,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    events = feed(
        answer,
        json.dumps({"choices": [], "usage": USAGE}).encode(),
        chunk("stop"),
        json.dumps({"choices": [], "usage": later}).encode(),
        DONE,
    )
    assert [e.usage for e in events if isinstance(e, UsageKnown)] == [
        Usage(input=10, output=5),
        Usage(input=6, output=5, cache_read=4, reasoning=2),
    ]
    assert answer.usage == Usage(input=6, output=5, cache_read=4, reasoning=2)


def test_half_characters_are_joined() -> None:
    """An emoji whose halves come in two deltas is whole; a half that stays alone is U+FFFD."""
    halves = [
        b'{"choices":[{"delta":{"content":"a\\ud83d"}}]}',
        b'{"choices":[{"delta":{"content":"\\ude00b"}}]}',
        b'{"choices":[{"delta":{"content":"\\u0000c\\ud83d"}}]}',
    ]
    events = feed(assembler(), *halves, chunk("stop"), DONE)
    assert events[0] == TextPart("a😀b\ufffdc\ufffd")
    last = events[-1]
    assert isinstance(last, Finished)
    assert last.content == (Text("a😀b\ufffdc\ufffd"),)


def end(answer: ChatAssembler, payloads: tuple[bytes, ...]) -> None:
    feed(answer, *payloads)
    answer.close()


def test_ends() -> None:
    """Which ends are complete; see the module's docstring."""
    text, usage = chunk(content="a"), json.dumps({"choices": [], "usage": USAGE}).encode()
    for strict, payloads, complete in (
        (True, (text, chunk("stop"), DONE), True),
        (True, (text, chunk("stop")), False),
        (False, (text, chunk("stop")), True),
        (False, (text,), False),
        (False, (text, DONE), False),
        (False, (text, usage, DONE), True),
        (False, (text, usage), False),
        (False, (chunk(tool_calls=[tool('{"a', index=0, id="x", name="f")]), usage, DONE), False),
        (False, (usage, DONE), False),
        (False, (), False),
    ):
        answer = assembler(marker_expected=strict)
        if complete:
            end(answer, payloads)
            assert answer.ended
        else:
            with pytest.raises(StreamTruncated):
                end(answer, payloads)


@pytest.mark.parametrize(
    "payload", [b"{", b"[]", b'"x"', b'{"choices":7}', b"hello", b'{"choices":[{"delta":[]}]}']
)
def test_unreadable(payload: bytes) -> None:
    """What is no chunk is a typed error."""
    with pytest.raises(ProtocolViolation):
        feed(assembler(), payload)


@pytest.mark.parametrize(
    "error", [{"message": "no", "code": 500}, "no", [{"message": "no"}], {"code": None}]
)
def test_error_objects(error: Any) -> None:
    """An error in a chunk is raised, also beside choices, whatever its shape."""
    payload = json.dumps({"choices": [{"delta": {"content": "x"}}], "error": error}).encode()
    with pytest.raises(ProviderError):
        feed(assembler(), payload)


def test_plain_completion() -> None:
    """A server that does not stream gives the same message in one step."""
    answer = assembler(marker_expected=True)
    message = {
        "content": "Hi",
        "reasoning_content": "Hm.",
        "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}],
    }
    body = {"id": "c", "choices": [{"message": message, "finish_reason": "stop"}], "usage": USAGE}
    answer.document(json.dumps(body).encode())
    last = answer.take()[-1]
    assert isinstance(last, Finished)
    assert last.content[1:] == (Text("Hi"), ToolCall("a", "f", "{}"))  # type: ignore[arg-type]
    assert last.stop is StopReason.TOOL_USE
    assert last.usage == Usage(input=10, output=5)
    with pytest.raises(ProtocolViolation):
        assembler().document(b'{"hello": 1}')

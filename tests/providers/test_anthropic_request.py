"""What leaves for the Messages API."""

import json
import re
from typing import Any

import pytest

from palaver.domain.errors import InvalidRequest, NotFound
from palaver.domain.ids import BlobId, CallId, MessageId
from palaver.domain.messages import (
    Block,
    File,
    Image,
    Message,
    Reasoning,
    Refusal,
    ResultContent,
    Role,
    StopReason,
    Text,
    ToolCall,
    ToolResult,
    Unknown,
)
from palaver.domain.values import GenerationSettings, OutputSchema
from palaver.providers.anthropic import AnthropicManager
from palaver.providers.anthropic_request import RequestEncoder
from palaver.providers.base import ModelInfo, ModelRequest, ToolSpec
from tests.providers.replay import Answer, serving

OURS = "anthropic.messages"
TOOL = ToolSpec("look", "Looks.", {"type": "object", "properties": {"x": {"type": "string"}}})
MARK = {"type": "ephemeral"}


def encoder(model: str = "claude-sonnet-4-5", **info: Any) -> RequestEncoder:
    return RequestEncoder(
        model=model, info=ModelInfo(f"anthropic:{model}", **info), provider="anthropic"
    )


async def body(
    *messages: Message, by: RequestEncoder | None = None, **fields: Any
) -> dict[str, Any]:
    raw = b"".join(await (by or encoder()).encode(ModelRequest(messages, **fields)))
    decoded: dict[str, Any] = json.loads(raw)
    return decoded


def user(*blocks: Block | str, id: str = "u1") -> Message:
    made = tuple(Text(block) if isinstance(block, str) else block for block in blocks)
    return Message.user(made, id=id)


def said(*blocks: Block | str, id: str = "a1") -> Message:
    made = tuple(Text(block) if isinstance(block, str) else block for block in blocks)
    return Message(Role.ASSISTANT, made, MessageId(id), model="anthropic:claude-sonnet-4-5")


def call(id: str = "toolu_1", arguments: str = '{"x": 1}', **more: Any) -> ToolCall:
    return ToolCall(CallId(id), "look", arguments, **more)


def results(*found: ToolResult, id: str = "a1.results") -> Message:
    return Message(Role.TOOL, found, MessageId(id))


def result(id: str = "toolu_1", *content: ResultContent, failed: bool = False) -> ToolResult:
    return ToolResult(CallId(id), "look", content, failed)


async def test_a_round_of_tools() -> None:
    """Calls, results in call order and the next question become turns that take turns."""
    sent = await body(
        user("hi"),
        said("I look.", call("t1"), call("t2", '{"b" : [1.0]}')),
        results(result("t1", Text("one")), result("t2", Text(""), failed=True)),
        user("and?", id="u2"),
        tools=(TOOL,),
        system="Be brief.",
    )
    assert [message["role"] for message in sent["messages"]] == ["user", "assistant", "user"]
    assert sent["messages"][1]["content"] == [
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "t1", "name": "look", "input": {"x": 1}},
        {"type": "tool_use", "id": "t2", "name": "look", "input": {"b": [1.0]}},
    ]
    assert sent["messages"][2]["content"] == [
        {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "one"}]},
        {
            "type": "tool_result",
            "tool_use_id": "t2",
            "is_error": True,
            "content": [{"type": "text", "text": "failed"}],
        },
        {"type": "text", "text": "and?"},
    ]
    assert sent["system"] == [{"type": "text", "text": "Be brief."}]
    assert sent["tools"] == [{"name": "look", "description": "Looks.", "input_schema": TOOL.schema}]
    assert sent["stream"] is True
    assert sent["max_tokens"] == 8192


async def test_arguments_are_sent_as_they_were_written() -> None:
    """Valid arguments keep their spelling; what is no object becomes an empty one."""
    calls = (call("a", '{"n": 1.10, "s":"\\u00e9"}'), call("b", "[1]"))
    raw = b"".join(await encoder().encode(ModelRequest((user("x"), said(*calls)))))
    assert b'"input":{"n": 1.10, "s":"\\u00e9"}' in raw
    assert b'"id":"b","name":"look","input":{}' in raw


async def test_thinking_goes_back_unchanged() -> None:
    """Signed and redacted thinking and unknown blocks go back to the API that made them, only."""
    history = (
        user("x"),
        said(
            Reasoning("hm", signature="sig", origin=OURS),
            Reasoning(encrypted="enc", origin=OURS),
            Reasoning("unsigned", origin=OURS),
            Reasoning("other", signature="s", origin="openai.responses"),
            Unknown(OURS, "server_tool_use", '{"type":"server_tool_use", "n":1.50}'),
            Unknown("openai.responses", "x", '{"type":"x"}'),
            "  ",
            Refusal("No."),
            call(native='{"caller":{"type":"direct"}}', origin=OURS),
            Reasoning("loose end", signature="sig2", origin=OURS),
        ),
        results(result()),
    )
    sent = await body(*history)
    assert sent["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": "sig"},
        {"type": "redacted_thinking", "data": "enc"},
        {"type": "server_tool_use", "n": 1.5},
        {"type": "text", "text": "No."},
        {
            "type": "tool_use",
            "id": "toolu_1",
            "name": "look",
            "input": {"x": 1},
            "caller": {"type": "direct"},
        },
    ]
    raw = b"".join(await encoder().encode(ModelRequest(history)))
    assert b'{"type":"server_tool_use", "n":1.50}' in raw


async def test_nothing_empty_is_sent() -> None:
    """Empty messages and texts are left out; the user always begins."""
    sent = await body(
        said("I began."), said("", id="a2"), user(" ", id="u1"), said(Reasoning("x"), id="a3")
    )
    assert [(m["role"], m["content"]) for m in sent["messages"]] == [
        ("user", [{"type": "text", "text": "(The conversation goes on.)"}]),
        ("assistant", [{"type": "text", "text": "I began."}]),
        ("user", [{"type": "text", "text": "(no text)"}]),
    ]


async def test_ids_fit_the_api() -> None:
    """Ids with odd characters or used twice are rewritten, alike in call and result."""
    sent = await body(
        user("x"),
        said(call("a:1"), call("same"), id="a1"),
        results(result("a:1"), result("same")),
        said(call("same"), call(""), id="a2"),
        results(result("same"), result(""), id="a2.results"),
    )
    called = [[block["id"] for block in m["content"]] for m in sent["messages"][1::2]]
    answered = [[block["tool_use_id"] for block in m["content"]] for m in sent["messages"][2::2]]
    assert called == answered
    everything = [id for ids in called for id in ids]
    assert len(set(everything)) == 4
    assert all(re.fullmatch("[a-zA-Z0-9_-]{1,64}", id) for id in everything)
    assert everything[1] == "same"


async def test_system_messages() -> None:
    """System messages at the beginning join the system prompt; later ones stay where they are."""
    sent = await body(
        Message(Role.SYSTEM, (Text("Second."),)),
        user("x"),
        Message(Role.SYSTEM, (Text("By the way."),)),
        system="First.",
    )
    assert [block["text"] for block in sent["system"]] == ["First.", "Second."]
    assert [block["text"] for block in sent["messages"][0]["content"]] == ["x", "By the way."]


async def test_pictures_and_files() -> None:
    """Blobs go as base64 or text, addresses as addresses; what cannot be sent is said in words."""
    blobs = {"p": b"\x89PNG", "d": b"%PDF", "t": "größer".encode()}

    async def read(blob: BlobId) -> bytes:
        try:
            return blobs[blob]
        except KeyError:
            raise NotFound("gone") from None

    message = user(
        Image("image/png", blob=BlobId("p")),
        Image("image/jpeg", url="https://x/y.jpg"),
        File("application/pdf", blob=BlobId("d"), name="a.pdf"),
        File("text/plain; charset=utf-8", blob=BlobId("t"), name="a.txt"),
        Image("image/tiff", blob=BlobId("p"), name="a.tiff"),
        File("application/zip", blob=BlobId("p"), name="a.zip"),
        Image("image/png", blob=BlobId("gone")),
    )
    sent = await body(message, read_blob=read)
    content = sent["messages"][0]["content"]
    assert content[0]["source"] == {"type": "base64", "media_type": "image/png", "data": "iVBORw=="}
    assert content[1]["source"] == {"type": "url", "url": "https://x/y.jpg"}
    assert (content[2]["type"], content[2]["title"]) == ("document", "a.pdf")
    assert content[3]["source"] == {"type": "text", "media_type": "text/plain", "data": "größer"}
    assert [block["text"] for block in content[4:]] == [
        "[The picture a.tiff cannot be shown to this model.]",
        "[The file a.zip cannot be read by this model.]",
        "[The picture is no longer there.]",
    ]
    blind = await body(message, read_blob=read, by=encoder(images=False, files=False))
    assert {block["type"] for block in blind["messages"][0]["content"]} == {"text", "document"}
    with pytest.raises(InvalidRequest):
        await body(message)


async def test_picture_in_a_result() -> None:
    """A tool may answer with a picture."""

    async def read(blob: BlobId) -> bytes:
        return b"x"

    sent = await body(
        user("x"),
        said(call()),
        results(result("toolu_1", Text("see"), Image("image/png", blob=BlobId("b")))),
        read_blob=read,
    )
    kinds = [block["type"] for block in sent["messages"][2]["content"][0]["content"]]
    assert kinds == ["text", "image"]


async def test_settings() -> None:
    """Settings have the API's names; temperature and top_p are never sent together."""
    sent = await body(
        user("x"),
        tools=(TOOL,),
        settings=GenerationSettings(
            temperature=0.5, top_p=0.9, max_tokens=77, stop=("END", " "), tool_choice="look"
        ),
    )
    assert (sent["temperature"], sent["max_tokens"]) == (0.5, 77)
    assert "top_p" not in sent
    assert sent["stop_sequences"] == ["END"]
    assert sent["tool_choice"] == {"type": "tool", "name": "look"}
    for choice, wire in (("required", "any"), ("none", "none")):
        settings = GenerationSettings(tool_choice=choice)
        assert (await body(user("x"), tools=(TOOL,), settings=settings))["tool_choice"] == {
            "type": wire
        }
    assert "tool_choice" not in await body(user("x"), settings=GenerationSettings(tool_choice="x"))
    assert (await body(user("x"), by=encoder(max_output=64_000)))["max_tokens"] == 64_000


def reasoned(level: str, **more: Any) -> GenerationSettings:
    return GenerationSettings(reasoning=level, **more)  # type: ignore[arg-type]


async def test_thinking_budget() -> None:
    """Older models get a budget that leaves room for the answer, and no temperature."""
    sent = await body(user("x"), settings=reasoned("high", temperature=0.3, max_tokens=9000))
    assert sent["thinking"] == {"type": "enabled", "budget_tokens": 9000 - 1024}
    assert "temperature" not in sent
    for settings in (reasoned("low", max_tokens=1500), reasoned("off"), GenerationSettings()):
        assert "thinking" not in await body(user("x"), settings=settings)
    forced = reasoned("high", tool_choice="required")
    assert "thinking" not in await body(user("x"), settings=forced, tools=(TOOL,))
    for first, allowed in ((Reasoning("t", signature="s", origin=OURS), True), (Text("t"), False)):
        round_of_tools = (user("x"), said(first, call()), results(result()))
        sent = await body(*round_of_tools, settings=reasoned("medium"))
        assert ("thinking" in sent) is allowed


@pytest.mark.parametrize(
    "model,level,thinking,effort",
    [
        ("claude-3-5-sonnet-20241022", "high", None, None),
        ("claude-sonnet-4-20250514", "low", "enabled", None),
        ("claude-haiku-4-5-20251001", "low", "enabled", None),
        ("some-compatible-model", "low", "enabled", None),
        ("claude-opus-4-6", "low", "adaptive", "low"),
        ("anthropic/claude-opus-4.7", "high", "adaptive", "high"),
        ("claude-opus-4-7", "off", None, None),
        ("claude-sonnet-5", "off", "disabled", None),
        ("claude-sonnet-5", None, None, None),
        ("claude-sonnet-5-5", "off", "between_tools", "low"),
        ("claude-sonnet-5-5", None, "adaptive", None),
        ("claude-opus-5-5", "off", "adaptive", "low"),
    ],
)
async def test_thinking_by_generation(
    model: str, level: str | None, thinking: str | None, effort: str | None
) -> None:
    """Each generation gets the form of thinking that it accepts, and no sampling from 4.7 on."""
    settings = GenerationSettings(temperature=0.5, reasoning=level)  # type: ignore[arg-type]
    sent = await body(user("x"), settings=settings, by=encoder(model))
    assert sent.get("thinking", {}).get("type") == thinking
    assert sent.get("output_config", {}).get("effort") == effort
    if thinking or "4.7" in model or ("-5" in model[-4:] and "4-5" not in model):
        assert "temperature" not in sent


async def test_bound_thinking_may_be_dropped() -> None:
    """Generations that bind thinking to its past are told to drop it after a compaction."""
    sent = await body(user("x"), settings=reasoned("low"), by=encoder("claude-opus-5-5"))
    assert sent["thinking"]["block_binding"] == {"prefix_mismatch_behavior": "drop_block"}
    answer = Answer()
    answer.status = 400
    async with serving(answer) as url:
        model = AnthropicManager(
            model="claude-opus-5-5",
            api_key="key\n",
            base_url=url,
            info=ModelInfo("anthropic:claude-opus-5-5"),
            betas=("mine",),
        )
        with pytest.raises(InvalidRequest):
            await anext(aiter(model.stream(ModelRequest((user("x"),)))))
        await model.aclose()
    headers = answer.seen[0][0]
    assert headers["anthropic-beta"] == "mine,thinking-binding-controls-2026-08-01"
    assert headers["x-api-key"] == "key"


async def test_output_schema() -> None:
    """A schema is asked for natively, closed, with bounds as words."""
    schema = {
        "type": "object",
        "properties": {
            "age": {"type": "integer", "minimum": 0, "description": "In years."},
            "tags": {"type": "array", "items": {"type": "object", "properties": {}}},
            "minimum": {"type": "string"},
        },
        "required": ["age"],
    }
    sent = await body(user("x"), output=OutputSchema("person", schema))
    assert sent["output_config"]["format"] == {
        "type": "json_schema",
        "schema": {
            "type": "object",
            "properties": {
                "age": {"type": "integer", "description": "In years. (minimum: 0)"},
                "tags": {
                    "type": "array",
                    "items": {"type": "object", "properties": {}, "additionalProperties": False},
                },
                "minimum": {"type": "string"},
            },
            "required": ["age"],
            "additionalProperties": False,
        },
    }
    assert schema["properties"]["age"]["minimum"] == 0  # type: ignore[index]


def marks(sent: dict[str, Any]) -> list[str]:
    """Where cache marks stand."""
    found = [f"system {i}" for i, b in enumerate(sent.get("system", ())) if "cache_control" in b]
    found += [f"tool {i}" for i, b in enumerate(sent.get("tools", ())) if "cache_control" in b]
    for i, message in enumerate(sent["messages"]):
        for j, block in enumerate(message["content"]):
            if "cache_control" in block:
                assert block["cache_control"] == MARK
                found.append(f"message {i} {j}")
    return found


async def test_cache_marks() -> None:
    """Marks stand behind what is shared and behind the two newest user messages, if it is long."""
    long = "word " * 1000
    assert marks(await body(user("x"), system="short", tools=(TOOL,))) == []
    assert marks(await body(user("x"), system=long)) == ["system 0", "message 0 0"]
    wide = ToolSpec("wide", long, {})
    assert marks(await body(user("x"), tools=(TOOL, wide))) == ["tool 1", "message 0 0"]
    history = [user("x"), said(long, call()), results(result()), said("y", id="a2")]
    history += [user("z", "end", id="u2")]
    assert marks(await body(*history)) == ["message 2 0", "message 4 1"]


async def test_history_is_encoded_once() -> None:
    """A longer request repeats the shorter one's messages, marks apart; a picture is read once."""
    by = encoder()
    reads: list[BlobId] = []

    async def read(blob: BlobId) -> bytes:
        reads.append(blob)
        return b"x"

    history = [user("q " * 3000, Image("image/png", blob=BlobId("b")), id="u0")]
    kept: list[str] = []
    for number in range(6):
        sent = await body(*history, by=by, read_blob=read)
        plain = [
            json.dumps([{k: v for k, v in b.items() if k != "cache_control"} for b in m["content"]])
            for m in sent["messages"]
        ]
        assert plain[: len(kept)] == kept
        kept = plain
        history += [said(f"a{number}", id=f"a{number}"), user(f"u{number}", id=f"u{number + 1}")]
    assert reads == ["b"]
    grown = said("a0 and more", id="a0")
    sent = await body(history[0], grown, history[2], by=by, read_blob=read)
    assert sent["messages"][1]["content"][0]["text"] == "a0 and more"


async def test_continuing_an_answer() -> None:
    """A request may end with an answer to continue: without a space at its end or thinking."""
    sent = await body(user("x"), said("Once upon \n"), settings=reasoned("high"))
    assert sent["messages"][1]["content"] == [{"type": "text", "text": "Once upon"}]
    assert "thinking" not in sent
    paused = Message(
        Role.ASSISTANT,
        (Reasoning("t", signature="s", origin=OURS),),
        MessageId("p"),
        stop=StopReason.PAUSE,
    )
    sent = await body(user("x"), paused, settings=reasoned("high"))
    assert "thinking" in sent
    assert sent["messages"][1]["content"][0]["type"] == "thinking"


async def test_citations_of_searches_go_back() -> None:
    """What only the provider can read of a search goes back with its text; the rest stays here."""
    cited = json.dumps([{"type": "w", "encrypted_index": "e"}, {"type": "char_location"}])
    sent = await body(user("x"), said(Text("It rains.", cited)), user("y"))
    assert sent["messages"][1]["content"][0]["citations"] == [{"type": "w", "encrypted_index": "e"}]

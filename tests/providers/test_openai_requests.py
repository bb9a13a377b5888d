"""What leaves for OpenAI and for compatible servers."""

import json
from typing import Any

import pytest

from palaver.domain.errors import InvalidInput
from palaver.domain.ids import BlobId, CallId, ConversationId
from palaver.domain.messages import (
    Block,
    File,
    Image,
    Message,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
    Unknown,
)
from palaver.domain.values import GenerationSettings, OutputSchema
from palaver.providers.base import ModelInfo, ModelRequest, ToolSpec
from palaver.providers.openai_chat_request import ChatRequests
from palaver.providers.openai_request import Refused, Server, allows_strict, effort
from palaver.providers.openai_responses_request import ResponsesRequests

INFO = ModelInfo("openai:gpt-x", reasoning=True)
OPENAI, OTHER = Server("https://api.openai.com/v1"), Server("http://box.local:8000/v1")
CUSTOM = '{"type":"custom"}'
SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}},
    "required": ["n"],
    "additionalProperties": False,
}
NATIVE = '{"id":"rs_1", "type":"reasoning","summary":[],"encrypted_content":"gAAA\\u002b=="}'


async def blob(_: BlobId) -> bytes:
    return b"\x89PNG"


def chat(
    server: Server = OPENAI, *, info: ModelInfo = INFO, refused: Refused | None = None
) -> ChatRequests:
    return ChatRequests(model="gpt-x", server=server, info=info, refused=refused or Refused())


def responses(
    server: Server = OPENAI, *, info: ModelInfo = INFO, refused: Refused | None = None
) -> ResponsesRequests:
    return ResponsesRequests(model="gpt-x", server=server, info=info, refused=refused or Refused())


async def written(writer: ChatRequests | ResponsesRequests, request: ModelRequest) -> bytes:
    return b"".join(await writer.body(request))


async def sent(
    writer: ChatRequests | ResponsesRequests, *messages: Message, **fields: Any
) -> dict[str, Any]:
    """The body as an object."""
    request = ModelRequest(messages, read_blob=blob, **fields)
    return dict(json.loads(await written(writer, request)))


def call(id: str, name: str, arguments: str, **fields: str) -> ToolCall:
    return ToolCall(CallId(id), name, arguments, **fields)


def results(*found: ToolResult) -> Message:
    return Message(Role.TOOL, found)


def result(id: str, *content: Text | Image | File) -> ToolResult:
    return ToolResult(CallId(id), "f", content)


PICTURE = Image("image/png", blob=BlobId("sha256:1"))


async def test_chat_conversation() -> None:
    """Roles, parts, calls exactly as written, results in call order."""
    body = await sent(
        chat(),
        Message.user((Text("Look"), PICTURE, Image(url="https://x/y.png"))),
        Message.assistant(
            (
                Reasoning("hidden", origin="anthropic.messages"),
                Text("On it."),
                call("a", "f", '{"x": 1 }'),
                call("b", "sum", "4+4", origin="openai.chat", native=CUSTOM),
            )
        ),
        results(result("a", Text("one")), result("b")),
        Message.assistant((Refusal("No."),)),
        Message.assistant(()),
        system="Be brief.",
    )
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw=="}},
                {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
            ],
        },
        {
            "role": "assistant",
            "content": "On it.",
            "tool_calls": [
                {
                    "id": "a",
                    "type": "function",
                    "function": {"name": "f", "arguments": '{"x": 1 }'},
                },
                {"id": "b", "type": "custom", "custom": {"name": "sum", "input": "4+4"}},
            ],
        },
        {"role": "tool", "tool_call_id": "a", "content": "one"},
        {"role": "tool", "tool_call_id": "b", "content": ""},
        {"role": "assistant", "content": None, "refusal": "No."},
    ]


async def test_chat_pictures_in_results() -> None:
    """All tool messages come first, then one user message shows what they could not hold."""
    body = await sent(
        chat(),
        Message.user("Go"),
        Message.assistant((call("a", "f", "{}"), call("b", "f", "{}"))),
        results(result("a", Text("see:"), PICTURE), result("b", Text("two"))),
    )
    roles = [message["role"] for message in body["messages"]]
    assert roles == ["user", "assistant", "tool", "tool", "user"]
    assert body["messages"][2]["content"].startswith("see:\n[The picture follows")
    assert body["messages"][4]["content"][1]["type"] == "image_url"


async def test_files() -> None:
    """Text files go as text, other files as files, what the model cannot take is said."""
    text = File("text/csv", blob=BlobId("sha256:2"), name="a.csv")
    pdf = File("application/pdf", blob=BlobId("sha256:3"), name="b.pdf")
    far = File("application/pdf", url="https://x/c.pdf", name="c.pdf")
    parts = (await sent(chat(), Message.user((text, pdf, far))))["messages"][0]["content"]
    assert [part["type"] for part in parts] == ["text", "file", "text"]
    parts = (await sent(responses(), Message.user((text, pdf, far))))["input"][0]["content"]
    assert [part["type"] for part in parts] == ["input_text", "input_file", "input_file"]
    assert parts[2] == {"type": "input_file", "file_url": "https://x/c.pdf"}
    blind = ModelInfo("x:y", images=False, files=False)
    parts = (await sent(chat(info=blind), Message.user((PICTURE, pdf))))["messages"][0]["content"]
    assert [part["type"] for part in parts] == ["text", "text"]
    with pytest.raises(InvalidInput):
        await chat().body(ModelRequest((Message.user((PICTURE,)),)))


@pytest.mark.parametrize(
    "native, expected",
    [
        ('{"reasoning_content":"Hm."}', {"reasoning_content": "Hm.", "content": "Yes"}),
        ('{"reasoning_details":[{"data":"x"}]}', {"reasoning_details": [{"data": "x"}]}),
        (
            '{"thinking":"Hm."}',
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
                    {"type": "text", "text": "Yes"},
                ]
            },
        ),
    ],
)
async def test_chat_thinking_goes_home(native: str, expected: dict[str, Any]) -> None:
    """Thinking returns with its calls, in the field it came in, to the server it came from."""
    thought = Reasoning("Hm.", origin=chat(OTHER).origin, native=native)
    message = Message.assistant((thought, Text("Yes"), call("a", "f", "{}")))
    body = await sent(chat(OTHER), message)
    assert expected.items() <= body["messages"][0].items()
    for server in (OPENAI, Server("https://elsewhere.example/v1")):
        wire = (await sent(chat(server), message))["messages"][0]
        assert wire.keys() == {"role", "content", "tool_calls"}
        assert wire["content"] == "Yes"
    alone = await sent(chat(OTHER), Message.assistant((thought, Text("Yes"))))
    assert alone["messages"] == [{"role": "assistant", "content": "Yes"}]


async def test_chat_settings() -> None:
    """Every setting has its field; compatible servers get the older names."""
    fields: dict[str, Any] = {
        "settings": GenerationSettings(0.5, 0.9, 100, ("END",), 7, "low", "look"),
        "tools": (ToolSpec("look", "Looks.", SCHEMA),),
        "output": OutputSchema("my answer", SCHEMA),
        "conversation": ConversationId("conv_1"),
    }
    body = await sent(chat(), Message.user("Hi"), **fields)
    assert body.pop("messages") == [{"role": "user", "content": "Hi"}]
    assert body == {
        "model": "gpt-x",
        "stream": True,
        "stream_options": {"include_usage": True},
        "tools": [
            {
                "type": "function",
                "function": {"name": "look", "description": "Looks.", "parameters": SCHEMA},
            }
        ],
        "tool_choice": {"type": "function", "function": {"name": "look"}},
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "my_answer", "schema": SCHEMA, "strict": True},
        },
        "max_completion_tokens": 100,
        "stop": ["END"],
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 7,
        "reasoning_effort": "low",
        "prompt_cache_key": "conv_1",
    }
    other = await sent(chat(OTHER), Message.user("Hi"), **fields)
    assert other["max_tokens"] == 100
    assert not {"max_completion_tokens", "prompt_cache_key"} & other.keys()
    bare = await sent(chat(refused=Refused(stream_options=True)), Message.user("Hi"))
    assert bare.keys() == {"model", "stream", "messages"}
    plain = ModelInfo("x:y", structured_output=False)
    body = await sent(chat(info=plain), Message.user("Hi"), output=OutputSchema("a", SCHEMA))
    assert body["response_format"] == {"type": "json_object"}
    assert '"additionalProperties"' in body["messages"][0]["content"]


async def test_responses_conversation() -> None:
    """Items in order, without ids of their own; what belongs to other APIs stays away."""
    body = await sent(
        responses(),
        Message.user((Text("Look"), PICTURE)),
        Message.assistant(
            (
                Reasoning("foreign", signature="s", origin="anthropic.messages"),
                Reasoning(id="rs_1", encrypted="gAAA+==", origin="openai.responses", native=NATIVE),
                Unknown("openai.responses", "web_search_call", '{"id":"ws_1"}'),
                Unknown("anthropic.messages", "server_tool_use", '{"id":"st"}'),
                Text("On it."),
                call("a", "f", '{"x": 1 }'),
                call("b", "sum", "4+4", origin="openai.responses", native=CUSTOM),
            )
        ),
        results(result("a", Text("one"), PICTURE), result("b", Text("8"))),
        system="Be brief.",
    )
    picture = {
        "type": "input_image",
        "image_url": "data:image/png;base64,iVBORw==",
        "detail": "auto",
    }
    said = [{"type": "output_text", "text": "On it."}]
    assert body["instructions"] == "Be brief."
    assert body["input"] == [
        {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": "Look"}, picture],
        },
        json.loads(NATIVE),
        {"id": "ws_1"},
        {"type": "message", "role": "assistant", "content": said},
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": '{"x": 1 }'},
        {"type": "custom_tool_call", "call_id": "b", "name": "sum", "input": "4+4"},
        {
            "type": "function_call_output",
            "call_id": "a",
            "output": [{"type": "input_text", "text": "one"}, picture],
        },
        {"type": "custom_tool_call_output", "call_id": "b", "output": "8"},
    ]


def thinking(*behind: Block) -> Message:
    return Message.assistant(
        (Reasoning(encrypted="g", origin="openai.responses", native=NATIVE), *behind)
    )


async def test_reasoning_goes_back_byte_by_byte() -> None:
    """The item is written as it came, escapes and spaces too, before what it led to; alone it
    would be refused and stays away."""
    writer = responses()
    body = await written(writer, ModelRequest((Message.user("Hi"), thinking(Text("Yes")))))
    assert NATIVE.encode() + b',{"type":"message"' in body
    alone = await sent(writer, Message.user("Hi"), thinking(), Message.user("Again"))
    assert [item["role"] for item in alone["input"]] == ["user", "user"]
    elsewhere = await written(writer, ModelRequest((thinking(Text("Yes")),)))
    assert NATIVE.encode() in elsewhere
    assert NATIVE.encode() not in await written(
        responses(OTHER), ModelRequest((thinking(Text("Yes")),))
    )


async def test_responses_settings() -> None:
    """Nothing is stored on the server, encrypted reasoning is asked for, tools are not strict."""
    body = await sent(
        responses(),
        Message.user("Hi"),
        settings=GenerationSettings(0.5, 0.9, 100, reasoning="high", tool_choice="required"),
        tools=(ToolSpec("look", "Looks.", SCHEMA),),
        output=OutputSchema("answer", {"type": "object"}),
        conversation=ConversationId("conv_1"),
    )
    del body["input"]
    assert body == {
        "model": "gpt-x",
        "stream": True,
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "tools": [
            {
                "type": "function",
                "name": "look",
                "description": "Looks.",
                "parameters": SCHEMA,
                "strict": False,
            }
        ],
        "tool_choice": "required",
        "text": {
            "format": {
                "type": "json_schema",
                "name": "answer",
                "schema": {"type": "object"},
                "strict": False,
            }
        },
        "reasoning": {"summary": "auto", "effort": "high"},
        "max_output_tokens": 100,
        "temperature": 0.5,
        "top_p": 0.9,
        "prompt_cache_key": "conv_1",
    }
    plain = await sent(responses(info=ModelInfo("openai:gpt-4o")), Message.user("Hi"))
    assert "reasoning" not in plain


def test_effort() -> None:
    """`off` is the least that the model can do."""
    assert effort("gpt-5-mini", "off") == "minimal"
    assert effort("o4-mini", "off") == "low"
    assert effort("openai/gpt-5.2", "off") == "none"
    assert effort("gpt-5", "high") == "high"
    assert effort("gpt-5", None) is None


@pytest.mark.parametrize(
    "schema, strict",
    [
        (SCHEMA, True),
        ({**SCHEMA, "required": []}, False),
        ({"type": "object", "properties": {}}, False),
        ({"type": "array", "items": SCHEMA}, False),
        ({**SCHEMA, "properties": {"n": {"type": "array", "items": SCHEMA}}}, True),
        ({**SCHEMA, "properties": {"n": {"type": "object"}}}, False),
        ({**SCHEMA, "properties": {"n": {"oneOf": []}}}, False),
        ({**SCHEMA, "properties": {"n": {"anyOf": [{"type": "null"}, SCHEMA]}}}, True),
        ({**SCHEMA, "$defs": {"a": {"type": "object"}}}, False),
    ],
)
def test_strict_only_where_the_schema_allows(schema: dict[str, Any], strict: bool) -> None:
    """Closed objects with everything required are strict, others are not."""
    assert allows_strict(schema) is strict


async def test_history_is_encoded_once() -> None:
    """A second request reads no blob again, and has the same bytes in front."""
    read = 0

    async def counting(_: BlobId) -> bytes:
        nonlocal read
        read += 1
        return b"x"

    for writer in (chat(), responses()):
        read = 0
        history = [Message.user((PICTURE,), id="m1"), Message.assistant("Nice", id="m2")]
        first = await written(writer, ModelRequest(history, read_blob=counting))
        history.append(Message.user("And?", id="m3"))
        second = await written(writer, ModelRequest(history, read_blob=counting))
        assert read == 1
        assert second.startswith(first[:-2])


def test_addresses() -> None:
    """A query behind the base address stays; hosts are told apart."""
    azure = Server("https://r.openai.azure.com/openai/v1/?api-version=preview")
    assert azure.url("/responses") == (
        "https://r.openai.azure.com/openai/v1/responses?api-version=preview"
    )
    assert (azure.is_azure, azure.is_openai) == (True, False)
    assert OPENAI.is_openai
    assert not Server("https://api.openai.com.evil.example/v1").is_openai
    assert OTHER.host == "box.local"

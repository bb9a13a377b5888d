"""The three APIs behind one shape, so that the server plays them all in one way."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from palaver.domain.values import Usage
from palaver.testing.provider_server import (
    anthropic,
    anthropic_rules,
    openai_chat,
    openai_chat_rules,
    openai_common_rules,
    openai_responses,
    openai_responses_rules,
)
from palaver.testing.provider_server.journal import Received
from palaver.testing.provider_server.refusal import Refused, anthropic_body, openai_body
from palaver.testing.provider_server.reply import Prepared, Signal
from palaver.testing.provider_server.terms import Terms
from palaver.testing.provider_server.usage import PromptCache

Body = Mapping[str, Any]


class Api(msgspec.Struct, frozen=True):
    """One API: how it refuses, what it reads from a request, and how it speaks."""

    name: str
    is_openai: bool
    id_prefix: str
    call_prefix: str
    request_id_header: str
    ping: bytes
    broken: bytes
    stray: bytes
    check_headers: Callable[[Mapping[str, str], Terms], None]
    check_body: Callable[[Body, Terms], None]
    frames: Callable[[Prepared], Iterator[bytes | Signal]]
    whole: Callable[[Prepared], dict[str, Any]]
    error_frame: Callable[[Refused, str], bytes]
    error_body: Callable[[Refused, str], dict[str, Any]]
    prompt: Callable[[PromptCache, Body], Usage]
    note: Callable[[Received], None]
    """Fills what was said, the results and the tools of a valid request."""


def _texts(content: object) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "".join(part.get("text") or "" for part in content if isinstance(part, dict))


def _note_anthropic(received: Received) -> None:
    results: list[str] = []
    for message in reversed(received.body["messages"]):
        if message["role"] != "user":
            continue
        content = message["content"]
        blocks = content if isinstance(content, list) else []
        answers = [_texts(b.get("content")) for b in blocks if b.get("type") == "tool_result"]
        text = _texts(content)
        if text:
            received.said = text
        if text or not answers:
            break
        results = results or answers
    received.results = tuple(results)
    tools = received.body.get("tools") or ()
    received.tools = {t["name"]: t.get("input_schema") or {} for t in tools}


def _note_chat(received: Received) -> None:
    results: list[str] = []
    is_tail = True
    for message in reversed(received.body["messages"]):
        if message["role"] == "user":
            received.said = _texts(message["content"])
            break
        if message["role"] == "tool" and is_tail:
            results.insert(0, _texts(message.get("content")))
        else:
            is_tail = False
    received.results = tuple(results)
    tools = [t["function"] for t in received.body.get("tools") or () if "function" in t]
    received.tools = {t["name"]: t.get("parameters") or {} for t in tools}


def _note_responses(received: Received) -> None:
    value = received.body["input"]
    items: Sequence[Body] = (
        value if isinstance(value, list) else [{"role": "user", "content": value}]
    )
    results: list[str] = []
    is_tail = True
    for item in reversed(items):
        if item.get("role") == "user":
            received.said = _texts(item["content"])
            break
        if item.get("type") == "function_call_output" and is_tail:
            results.insert(0, _texts(item["output"]))
        else:
            is_tail = False
    received.results = tuple(results)
    tools = [t for t in received.body.get("tools") or () if t.get("type") == "function"]
    received.tools = {t["name"]: t.get("parameters") or {} for t in tools}


def _chat_prompt(cache: PromptCache, body: Body) -> Usage:
    return cache.openai(body["model"], [body.get("tools"), *body["messages"]])


def _responses_prompt(cache: PromptCache, body: Body) -> Usage:
    items = body["input"] if isinstance(body["input"], list) else [body["input"]]
    return cache.openai(body["model"], [body.get("tools"), body.get("instructions"), *items])


ANTHROPIC = Api(
    name="anthropic.messages",
    is_openai=False,
    id_prefix="msg_01",
    call_prefix="toolu_01",
    request_id_header="request-id",
    ping=anthropic.PING,
    broken=anthropic.BROKEN,
    stray=anthropic.STRAY,
    check_headers=anthropic_rules.check_headers,
    check_body=anthropic_rules.check_body,
    frames=anthropic.frames,
    whole=anthropic.whole,
    error_frame=anthropic.error_frame,
    error_body=anthropic_body,
    prompt=PromptCache.anthropic,
    note=_note_anthropic,
)
CHAT = Api(
    name="openai.chat",
    is_openai=True,
    id_prefix="chatcmpl-",
    call_prefix="call_",
    request_id_header="x-request-id",
    ping=openai_chat.PING,
    broken=openai_chat.BROKEN,
    stray=openai_chat.STRAY,
    check_headers=openai_common_rules.check_headers,
    check_body=openai_chat_rules.check_body,
    frames=openai_chat.frames,
    whole=openai_chat.whole,
    error_frame=openai_chat.error_frame,
    error_body=openai_body,
    prompt=_chat_prompt,
    note=_note_chat,
)
RESPONSES = Api(
    name="openai.responses",
    is_openai=True,
    id_prefix="resp_",
    call_prefix="call_",
    request_id_header="x-request-id",
    ping=openai_responses.PING,
    broken=openai_responses.BROKEN,
    stray=openai_responses.STRAY,
    check_headers=openai_common_rules.check_headers,
    check_body=openai_responses_rules.check_body,
    frames=openai_responses.frames,
    whole=openai_responses.whole,
    error_frame=openai_responses.error_frame,
    error_body=openai_body,
    prompt=_responses_prompt,
    note=_note_responses,
)

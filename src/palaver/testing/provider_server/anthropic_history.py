"""What Anthropic refuses in messages: roles, blocks, the order of calls and results, thinking."""

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from palaver.testing.provider_server.anthropic import REDACTED
from palaver.testing.provider_server.refusal import bad
from palaver.testing.provider_server.terms import Terms

_ID = re.compile(r"[a-zA-Z0-9_-]+")
_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_USER_ONLY = ("tool_result", "image", "document")
_ASSISTANT_ONLY = ("tool_use", "thinking", "redacted_thinking", "server_tool_use")
Block = Mapping[str, Any]


def check_messages(body: Mapping[str, Any], terms: Terms) -> None:
    """Refuse history that Anthropic refuses. Raises Refused."""
    messages = body["messages"]
    if not isinstance(messages, list):
        bad("messages: Input should be a valid list")
    if not messages:
        bad("messages: at least one message is required")
    for number, message in enumerate(messages):
        _check_message(message, number, is_last=number == len(messages) - 1)
        for place, block in enumerate(check_content(message["content"])):
            _check_block(block, f"messages.{number}.content.{place}", message["role"], terms)
    if messages[0]["role"] != "user":
        bad('messages: first message must use the "user" role')
    _check_pairs(messages)
    _check_end(messages[-1], terms)
    if (body.get("thinking") or {}).get("type") in ("enabled", "adaptive"):
        _check_thinking_kept(messages, terms)


def check_content(content: object) -> Sequence[Block]:
    """The blocks of a message; text alone is none."""
    return content if isinstance(content, list) else ()


def _check_message(message: object, number: int, *, is_last: bool) -> None:
    where = f"messages.{number}"
    if not isinstance(message, dict):
        bad(f"{where}: Input does not match the expected shape.")
    role = message.get("role")
    if role == "system":
        bad(
            'messages: Unexpected role "system". The Messages API accepts a top-level `system` '
            'parameter, not "system" as an input message role.'
        )
    if role not in ("user", "assistant"):
        bad(f'messages: Unexpected role "{role}". Allowed roles are "user" or "assistant".')
    for field in message:
        if field not in ("role", "content"):
            bad(f"{where}.{field}: Extra inputs are not permitted")
    content = message.get("content")
    if not isinstance(content, str | list):
        bad(
            f"{where}.content: Field required"
            if content is None
            else f"{where}.content: Input should be a valid list"
        )
    if not content and not (role == "assistant" and is_last):
        bad(
            f"{where}: all messages must have non-empty content except for the optional final "
            "assistant message"
        )
    if isinstance(content, str) and content and not content.strip():
        bad("messages: text content blocks must contain non-whitespace text")


def _check_block(block: object, where: str, role: str, terms: Terms) -> None:
    if not isinstance(block, dict):
        bad(f"{where}: Input does not match the expected shape.")
    kind = block.get("type")
    check = _BLOCKS.get(str(kind))
    if check is None:
        bad(
            f"{where}: Input tag '{kind}' found using 'type' does not match any of the expected "
            f"tags: {', '.join(repr(name) for name in sorted(_BLOCKS))}"
        )
    if (kind in _USER_ONLY and role != "user") or (kind in _ASSISTANT_ONLY and role == "user"):
        other = "assistant" if role == "user" else "user"
        bad(f"{where}: `{kind}` blocks can only be in `{other}` messages")
    check(block, f"{where}.{kind}", terms)


def _text(block: Block, where: str, terms: Terms) -> None:
    if not isinstance(block.get("text"), str):
        bad(f"{where}.text: Field required")
    if not block["text"]:
        bad("messages: text content blocks must be non-empty")
    if not block["text"].strip():
        bad("messages: text content blocks must contain non-whitespace text")


def _image(block: Block, where: str, terms: Terms) -> None:
    source = _source(block, where)
    if source["type"] == "base64":
        if source.get("media_type") not in _IMAGES:
            expected = "'image/jpeg', 'image/png', 'image/gif' or 'image/webp'"
            bad(f"{where}.source.base64.media_type: Input should be {expected}")
        _base64(source.get("data"), f"{where}.source.base64.data")
    elif source["type"] not in ("url", "file"):
        bad(f"{where}.source: Input tag '{source['type']}' is not expected")


def _document(block: Block, where: str, terms: Terms) -> None:
    source = _source(block, where)
    if source["type"] == "base64":
        if source.get("media_type") != "application/pdf":
            bad(f"{where}.source.base64.media_type: Input should be 'application/pdf'")
        _base64(source.get("data"), f"{where}.source.base64.data")
    elif source["type"] == "text":
        if source.get("media_type") != "text/plain":
            bad(f"{where}.source.text.media_type: Input should be 'text/plain'")
        if not source.get("data"):
            bad(f"{where}.source.text.data: Field required")
    elif source["type"] not in ("url", "file", "content"):
        bad(f"{where}.source: Input tag '{source['type']}' is not expected")


def _source(block: Block, where: str) -> Block:
    source = block.get("source")
    if not isinstance(source, dict) or not isinstance(source.get("type"), str):
        bad(f"{where}.source: Field required")
    return source


def _base64(data: object, where: str) -> None:
    try:
        ok = isinstance(data, str) and bool(base64.b64decode(data, validate=True))
    except (binascii.Error, ValueError):
        ok = False
    if not ok:
        bad(f"{where}: Invalid base64 data")


def _tool_use(block: Block, where: str, terms: Terms) -> None:
    for field in ("id", "name", "input"):
        if field not in block:
            bad(f"{where}.{field}: Field required")
    if not isinstance(block["id"], str) or not _ID.fullmatch(block["id"]):
        bad(f"{where}.id: String should match pattern '^[a-zA-Z0-9_-]+$'")
    if not isinstance(block["name"], str) or not 0 < len(block["name"]) <= 200:
        bad(f"{where}.name: String should have at least 1 character")
    if not isinstance(block["input"], dict):
        bad(f"{where}.input: Input should be a valid dictionary")


def _tool_result(block: Block, where: str, terms: Terms) -> None:
    if not isinstance(block.get("tool_use_id"), str):
        bad(f"{where}.tool_use_id: Field required")
    if not isinstance(block.get("is_error", False), bool):
        bad(f"{where}.is_error: Input should be a valid boolean")
    content = block.get("content", "")
    if not isinstance(content, str | list):
        bad(f"{where}.content: Input should be a valid list")
    for number, inner in enumerate(check_content(content)):
        kind = inner.get("type") if isinstance(inner, dict) else None
        if kind not in ("text", "image", "document"):
            bad(f"{where}.content.{number}: Input tag '{kind}' is not expected")
        _BLOCKS[str(kind)](inner, f"{where}.content.{number}.{kind}", terms)


def _thinking(block: Block, where: str, terms: Terms) -> None:
    for field in ("thinking", "signature"):
        if not isinstance(block.get(field), str):
            bad(f"{where}.{field}: Field required")
    _no_cache(block, where)
    if not terms.proofs.is_signed(block["thinking"], block["signature"]):
        bad(f"{where.removesuffix('.thinking')}: Invalid `signature` in `thinking` block")


def _redacted(block: Block, where: str, terms: Terms) -> None:
    _no_cache(block, where)
    if not terms.proofs.is_sealed(block.get("data"), prefix=REDACTED):
        place = where.removesuffix(".redacted_thinking")
        bad(f"{place}: Invalid `data` in `redacted_thinking` block")


def _no_cache(block: Block, where: str) -> None:
    if "cache_control" in block:
        bad(f"{where}.cache_control: Extra inputs are not permitted")


def _anything(block: Block, where: str, terms: Terms) -> None:
    pass


_BLOCKS: dict[str, Callable[[Block, str, Terms], None]] = {
    "text": _text,
    "image": _image,
    "document": _document,
    "tool_use": _tool_use,
    "tool_result": _tool_result,
    "thinking": _thinking,
    "redacted_thinking": _redacted,
    "server_tool_use": _anything,
    "web_search_tool_result": _anything,
    "web_fetch_tool_result": _anything,
    "code_execution_tool_result": _anything,
    "search_result": _anything,
}


def _check_pairs(messages: Sequence[Mapping[str, Any]]) -> None:
    turns = _merged(messages)
    seen: set[str] = set()
    for position, (number, role, blocks) in enumerate(turns):
        asked = [b["id"] for b in blocks if b.get("type") == "tool_use"]
        for id in asked:
            if id in seen:
                bad(f"messages.{number}: `tool_use` ids must be unique")
            seen.add(id)
        if role == "user":
            before = turns[position - 1][2] if position else ()
            _check_results(number, blocks, before)
        if asked:
            follows = turns[position + 1][2] if position + 1 < len(turns) else ()
            _check_answered(number, asked, follows)


def _check_results(number: int, blocks: Sequence[Block], before: Sequence[Block]) -> None:
    asked = {b["id"] for b in before if b.get("type") == "tool_use"}
    answered: set[str] = set()
    for place, block in enumerate(blocks):
        if block.get("type") != "tool_result":
            continue
        id = block["tool_use_id"]
        if id not in asked:
            bad(
                f"messages.{number}.content.{place}: unexpected `tool_use_id` found in "
                f"`tool_result` blocks: {id}. Each `tool_result` block must have a corresponding "
                "`tool_use` block in the previous message."
            )
        if id in answered:
            bad(
                f"messages.{number}.content.{place}: each tool_use must have a single result. "
                f"Found multiple `tool_result` blocks with id: {id}"
            )
        answered.add(id)


def _check_answered(number: int, asked: Sequence[str], follows: Sequence[Block]) -> None:
    leading: set[str] = set()
    for block in follows:
        if block.get("type") != "tool_result":
            break
        leading.add(block["tool_use_id"])
    if missing := [id for id in asked if id not in leading]:
        bad(
            f"messages.{number}: `tool_use` ids were found without `tool_result` blocks "
            f"immediately after: {', '.join(missing)}. Each `tool_use` block must have a "
            "corresponding `tool_result` block in the next message."
        )


def _merged(messages: Sequence[Mapping[str, Any]]) -> list[tuple[int, str, list[Block]]]:
    """Messages of one role in a row count as one, as at Anthropic."""
    turns: list[tuple[int, str, list[Block]]] = []
    for number, message in enumerate(messages):
        content = message["content"]
        blocks = list(content) if isinstance(content, list) else [{"type": "text", "text": content}]
        if turns and turns[-1][1] == message["role"]:
            turns[-1][2].extend(blocks)
        else:
            turns.append((number, message["role"], blocks))
    return turns


def _check_end(last: Mapping[str, Any], terms: Terms) -> None:
    if last["role"] != "assistant":
        return
    blocks = check_content(last["content"])
    if blocks and blocks[-1].get("type") == "server_tool_use":
        return
    if not terms.prefill:
        bad(
            "This model does not support assistant message prefill. The conversation must end "
            "with a user message."
        )
    text = blocks[-1].get("text", "") if blocks else last["content"]
    if isinstance(text, str) and text != text.rstrip():
        bad("messages: final assistant content cannot end with trailing whitespace")


def _check_thinking_kept(messages: Sequence[Mapping[str, Any]], terms: Terms) -> None:
    """Thinking that came before calls of the turn in progress must come back before them."""
    for number in range(len(messages) - 1, -1, -1):
        blocks = check_content(messages[number]["content"])
        if messages[number]["role"] == "user":
            if not any(b.get("type") == "tool_result" for b in blocks):
                return
            continue
        thought = any(terms.thought_calls.get(b.get("id")) for b in blocks)
        if thought and blocks[0].get("type") not in ("thinking", "redacted_thinking"):
            bad(
                f"messages.{number}.content.0.type: Expected `thinking` or `redacted_thinking`, "
                f"but found `{blocks[0].get('type')}`. When `thinking` is enabled, a final "
                "`assistant` message must start with a thinking block (preceeding the lastmost "
                "set of `tool_use` and `tool_result` blocks)."
            )

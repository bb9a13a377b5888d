"""What Anthropic Messages refuses, in its words: headers, parameters, tools.

`anthropic_history.py` holds the rules for messages.
"""

import re
from collections.abc import Mapping
from typing import Any

from palaver.testing.provider_server.anthropic_history import check_content, check_messages
from palaver.testing.provider_server.refusal import Refused, bad
from palaver.testing.provider_server.terms import (
    Terms,
    is_number,
    is_whole,
    repeated,
    schema_problem,
    words,
)
from palaver.testing.provider_server.usage import tokens

_FIELDS = words(
    """model messages max_tokens system tools tool_choice temperature top_p top_k stop_sequences
    stream thinking metadata service_tier output_config output_format cache_control
    context_management container mcp_servers betas inference_geo"""
)
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_LIMIT_CACHE = 4
_MIN_BUDGET = 1024


def check_headers(headers: Mapping[str, str], terms: Terms) -> None:
    """Refuse what has no key (401) or no version (400)."""
    bearer = headers.get("authorization", "").removeprefix("Bearer ").strip()
    key = headers.get("x-api-key", "") or bearer
    if not key:
        raise Refused(401, "authentication_error", "x-api-key header is required")
    if not terms.accepts(key):
        raise Refused(401, "authentication_error", "invalid x-api-key")
    if not headers.get("anthropic-version"):
        bad("anthropic-version: header is required")


def check_body(body: Mapping[str, Any], terms: Terms) -> None:
    """Refuse what Anthropic refuses. Raises Refused."""
    for field in ("model", "messages", "max_tokens"):
        if field not in body:
            bad(f"{field}: Field required")
    for field in body:
        if field not in _FIELDS:
            bad(f"{field}: Extra inputs are not permitted")
    if not isinstance(body["model"], str):
        bad("model: Input should be a valid string")
    if not terms.knows(body["model"]):
        raise Refused(404, "not_found_error", f"model: {body['model']}")
    if not is_whole(body["max_tokens"]):
        bad("max_tokens: Input should be a valid integer")
    if body["max_tokens"] < 1:
        bad("max_tokens: must be greater than or equal to 1")
    if not isinstance(body.get("stream", False), bool):
        bad("stream: Input should be a valid boolean")
    _check_system(body.get("system"))
    _check_sampling(body)
    _check_thinking(body)
    _check_tools(body)
    _check_format(body)
    check_messages(body, terms)
    _check_cache(body)
    _check_size(body, terms)


def _check_system(system: object) -> None:
    if system is None or isinstance(system, str):
        return
    if not isinstance(system, list):
        bad("system: Input should be a valid list")
    for number, block in enumerate(system):
        if not isinstance(block, dict) or block.get("type") != "text":
            bad(f"system.{number}.type: Input should be 'text'")
        if not isinstance(block.get("text"), str) or not block["text"]:
            bad("system: text content blocks must be non-empty")


def _check_sampling(body: Mapping[str, Any]) -> None:
    for field in ("temperature", "top_p"):
        value = body.get(field)
        if value is not None and (not is_number(value) or not 0 <= value <= 1):
            bad(f"{field}: range: 0..1")
    if body.get("temperature") is not None and body.get("top_p") is not None:
        bad(
            "`temperature` and `top_p` cannot both be specified for this model. "
            "Please use only one."
        )
    for number, text in enumerate(body.get("stop_sequences") or ()):
        if not isinstance(text, str):
            bad(f"stop_sequences.{number}: Input should be a valid string")
        if not text.strip():
            bad("stop_sequences: each stop sequence must contain non-whitespace")


def _check_thinking(body: Mapping[str, Any]) -> None:
    thinking = body.get("thinking")
    if thinking is None:
        return
    kind = thinking.get("type") if isinstance(thinking, dict) else None
    if kind not in ("enabled", "disabled", "adaptive"):
        bad(
            f"thinking: Input tag '{kind}' found using 'type' does not match any of the expected "
            "tags: 'adaptive', 'disabled', 'enabled'"
        )
    if kind == "disabled":
        return
    if kind == "enabled":
        _check_budget(thinking, body["max_tokens"])
    if body.get("temperature") not in (None, 1):
        bad("`temperature` may only be set to 1 when thinking is enabled or in adaptive mode.")
    if body.get("top_k") is not None:
        bad("`top_k` must be unset when thinking is enabled or in adaptive mode.")
    choice = body.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type") in ("any", "tool"):
        bad("Thinking may not be enabled when tool_choice forces tool use.")


def _check_budget(thinking: Mapping[str, Any], max_tokens: int) -> None:
    budget = thinking.get("budget_tokens")
    if budget is None:
        bad("thinking.enabled.budget_tokens: Field required")
    if not is_whole(budget) or budget < _MIN_BUDGET:
        bad("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
    if max_tokens <= budget:
        bad("`max_tokens` must be greater than `thinking.budget_tokens`.")


def _check_tools(body: Mapping[str, Any]) -> None:
    tools = body.get("tools") or []
    if not isinstance(tools, list):
        bad("tools: Input should be a valid list")
    for number, tool in enumerate(tools):
        if tool.get("type", "custom") == "custom":
            _check_tool(tool, f"tools.{number}.custom")
    names = [str(tool.get("name")) for tool in tools]
    if repeated(names):
        bad("tools: Tool names must be unique.")
    choice = body.get("tool_choice")
    if choice is None:
        return
    if not isinstance(choice, dict) or choice.get("type") not in ("auto", "any", "tool", "none"):
        bad("tool_choice: Input should be one of 'auto', 'any', 'tool', 'none'")
    if not tools:
        bad("tool_choice: tool_choice may only be specified while providing tools")
    if choice["type"] == "tool" and choice.get("name") not in names:
        bad(f"tool_choice: Tool '{choice.get('name')}' not found in provided tools")


def _check_tool(tool: Mapping[str, Any], where: str) -> None:
    name = tool.get("name")
    if not isinstance(name, str):
        bad(f"{where}.name: Field required")
    if not _TOOL_NAME.fullmatch(name):
        bad(f"{where}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")
    schema = tool.get("input_schema")
    if not isinstance(schema, dict):
        bad(f"{where}.input_schema: Field required")
    if schema.get("type") != "object":
        problem = "Input should be 'object'" if "type" in schema else "Field required"
        bad(f"{where}.input_schema.type: {problem}")
    if not isinstance(tool.get("description", ""), str):
        bad(f"{where}.description: Input should be a valid string")
    if schema_problem(schema):
        bad(
            f"{where}.input_schema: JSON schema is invalid. It must match JSON Schema draft "
            "2020-12 (https://json-schema.org/draft/2020-12)."
        )


def _check_format(body: Mapping[str, Any]) -> None:
    wanted = (body.get("output_config") or {}).get("format") or body.get("output_format")
    if wanted is None:
        return
    if wanted.get("type") != "json_schema" or not isinstance(wanted.get("schema"), dict):
        bad("output_config.format.schema: Field required")
    if problem := schema_problem(wanted["schema"]):
        bad(f"output_config.format.schema: {problem}")
    _check_closed(wanted["schema"])


def _check_closed(schema: object) -> None:
    if isinstance(schema, list):
        for item in schema:
            _check_closed(item)
    if not isinstance(schema, dict):
        return
    if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
        bad(
            "output_config.format.schema: For 'object' type, 'additionalProperties' must be "
            "explicitly set to false"
        )
    for value in schema.values():
        _check_closed(value)


def _check_cache(body: Mapping[str, Any]) -> None:
    blocks = [*(body.get("tools") or ())]
    if isinstance(body.get("system"), list):
        blocks += body["system"]
    for message in body["messages"]:
        blocks += check_content(message["content"])
    marks = [b["cache_control"] for b in blocks if b.get("cache_control") is not None]
    if len(marks) > _LIMIT_CACHE:
        bad(f"A maximum of 4 blocks with cache_control may be provided. Found {len(marks)}.")
    for mark in marks:
        if not isinstance(mark, dict) or mark.get("type") != "ephemeral":
            bad("cache_control.type: Input should be 'ephemeral'")
        if mark.get("ttl", "5m") not in ("5m", "1h"):
            bad("cache_control.ephemeral.ttl: Input should be '5m' or '1h'")


def _check_size(body: Mapping[str, Any], terms: Terms) -> None:
    prompt = tokens([body.get("tools"), body.get("system"), body["messages"]])
    if prompt > terms.window:
        bad(f"prompt is too long: {prompt} tokens > {terms.window} maximum")
    if prompt + body["max_tokens"] > terms.window:
        bad(
            f"input length and `max_tokens` exceed context limit: {prompt} + "
            f"{body['max_tokens']} > {terms.window}, decrease input length or `max_tokens` and "
            "try again"
        )

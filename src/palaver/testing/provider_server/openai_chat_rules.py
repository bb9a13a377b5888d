"""What OpenAI chat completions refuses, in its words."""

from collections.abc import Mapping, Sequence
from typing import Any

from palaver.testing.provider_server.openai_common_rules import (
    check_array,
    check_function,
    check_json_schema,
    check_least,
    check_length,
    check_model,
    check_name,
    check_picture,
    check_range,
    check_text,
    missing,
    wrong_type,
    wrong_value,
)
from palaver.testing.provider_server.refusal import bad
from palaver.testing.provider_server.terms import Terms, reasons, repeated, words
from palaver.testing.provider_server.usage import tokens

_FIELDS = words(
    """model messages tools tool_choice parallel_tool_calls temperature top_p n stream
    stream_options stop max_tokens max_completion_tokens presence_penalty frequency_penalty
    logit_bias logprobs top_logprobs user seed response_format reasoning_effort store metadata
    service_tier modalities prediction audio web_search_options verbosity safety_identifier
    prompt_cache_key prompt_cache_retention functions function_call"""
)
_ROLES = ("system", "assistant", "user", "function", "tool", "developer")
_MESSAGE = words(
    """role content name tool_calls tool_call_id refusal audio function_call reasoning_content"""
)
_PARTS: dict[str, tuple[str, ...]] = {
    "user": ("text", "image_url", "input_audio", "file"),
    "assistant": ("text", "refusal"),
}
_LONGEST_ID = 40


def check_body(body: Mapping[str, Any], terms: Terms) -> None:
    """Refuse what chat completions refuses. Raises Refused."""
    check_model(body, terms)
    for field in body:
        if field not in _FIELDS:
            bad(f"Unrecognized request argument supplied: {field}")
    if "messages" not in body:
        missing("messages")
    messages = check_array(body["messages"], "messages")
    _check_sampling(body)
    _check_tools(body)
    for number, message in enumerate(messages):
        _check_message(message, f"messages[{number}]")
    _check_pairs(messages)
    _check_format(body, messages)
    _check_size(body, messages, terms)


def _check_sampling(body: Mapping[str, Any]) -> None:
    check_range(body, "temperature", 0, 2)
    check_range(body, "top_p", 0, 1)
    check_least(body, "max_tokens", 1)
    check_least(body, "max_completion_tokens", 1)
    if body.get("stream_options") is not None and body.get("stream") is not True:
        text = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        bad(text, param="stream_options")
    stop = body.get("stop")
    if isinstance(stop, list) and len(stop) > 4:
        bad(
            "Invalid 'stop': array too long. Expected an array with maximum length 4, but got an "
            f"array with length {len(stop)} instead.",
            param="stop",
            code="array_above_max_length",
        )
    if not reasons(body["model"]):
        if body.get("reasoning_effort") is not None:
            bad("Unrecognized request argument supplied: reasoning_effort")
        return
    if body.get("max_tokens") is not None:
        bad(
            "Unsupported parameter: 'max_tokens' is not supported with this model. "
            "Use 'max_completion_tokens' instead.",
            param="max_tokens",
            code="unsupported_parameter",
        )
    for field in ("temperature", "top_p"):
        if body.get(field) not in (None, 1):
            bad(
                f"Unsupported value: '{field}' does not support {body[field]} with this model. "
                "Only the default (1) value is supported.",
                param=field,
                code="unsupported_value",
            )


def _check_tools(body: Mapping[str, Any]) -> None:
    tools = body.get("tools")
    names: list[str] = []
    for number, tool in enumerate(check_array(tools, "tools") if tools is not None else ()):
        kind = tool.get("type")
        if kind == "function":
            function = tool.get("function")
            if not isinstance(function, dict):
                missing(f"tools[{number}].function")
            names.append(check_function(function, f"tools[{number}].function"))
        elif kind != "custom":
            wrong_value(f"tools[{number}].type", kind, ("function", "custom"))
    for field in ("tool_choice", "parallel_tool_calls"):
        if body.get(field) is not None and not tools:
            bad(
                f"Invalid value for '{field}': '{field}' is only allowed when 'tools' are "
                "specified.",
                param=field,
            )
    choice = body.get("tool_choice")
    if isinstance(choice, str) and choice not in ("none", "auto", "required"):
        wrong_value("tool_choice", choice, ("none", "auto", "required"))
    if isinstance(choice, dict) and choice.get("type") == "function":
        name = (choice.get("function") or {}).get("name")
        if name not in names:
            bad(f"Tool choice '{name}' not found in 'tools' parameter.", param="tool_choice")


def _check_message(message: object, at: str) -> None:
    if not isinstance(message, dict):
        wrong_type(at, "an object", message)
    if "role" not in message:
        missing(f"{at}.role")
    role = message["role"]
    if role not in _ROLES:
        wrong_value(f"{at}.role", role, _ROLES)
    for field in message:
        if field not in _MESSAGE:
            text = f"Additional properties are not allowed ('{field}' was unexpected) - '{at}'"
            bad(text, param=at)
    if role != "assistant" and "tool_calls" in message:
        bad(f"'tool_calls' is not allowed for role '{role}'.", param=f"{at}.tool_calls")
    content, calls = message.get("content"), message.get("tool_calls")
    if content is None:
        if role != "assistant" or (calls is None and not message.get("refusal")):
            text = "Invalid value for 'content': expected a string, got null."
            bad(text, param=f"{at.replace('[', '.[')}.content")
    elif isinstance(content, list):
        for number, part in enumerate(check_array(content, f"{at}.content")):
            _check_part(part, role, f"{at}.content[{number}]")
    elif not isinstance(content, str):
        wrong_type(f"{at}.content", "one of a string or array of objects", content)
    if calls is not None:
        for number, call in enumerate(check_array(calls, f"{at}.tool_calls")):
            _check_call(call, f"{at}.tool_calls[{number}]")
    if role == "tool":
        check_text(message.get("tool_call_id"), f"{at}.tool_call_id")


def _check_part(part: Mapping[str, Any], role: str, at: str) -> None:
    kind = part.get("type")
    allowed = _PARTS.get(role, ("text",))
    if kind not in allowed:
        if kind == "image_url":
            bad(
                f"Invalid '{at.partition('.')[0]}'. Image URLs are only allowed for messages with "
                f"role 'user', but this message with role '{role}' contains an image URL.",
                param=at.partition(".")[0],
                code="invalid_value",
            )
        wrong_value(f"{at}.type", kind, allowed)
    if kind == "text":
        check_text(part.get("text"), f"{at}.text")
    elif kind == "image_url":
        picture = part.get("image_url")
        if not isinstance(picture, dict):
            wrong_type(f"{at}.image_url", "an object", picture)
        check_picture(picture.get("url"), f"{at}.image_url.url")
    elif kind == "file":
        file = part.get("file") or {}
        if not (file.get("file_id") or (file.get("file_data") and file.get("filename"))):
            missing(f"{at}.file.file_id")


def _check_call(call: Mapping[str, Any], at: str) -> None:
    check_length(check_text(call.get("id"), f"{at}.id"), f"{at}.id", _LONGEST_ID)
    kind = call.get("type")
    if kind not in ("function", "custom"):
        wrong_value(f"{at}.type", kind, ("function", "custom"))
    if kind == "function":
        function = call.get("function")
        if not isinstance(function, dict):
            missing(f"{at}.function")
        check_name(function.get("name"), f"{at}.function.name")
        check_text(function.get("arguments"), f"{at}.function.arguments")


def _check_pairs(messages: Sequence[Mapping[str, Any]]) -> None:
    open_ids: list[str] = []
    answered: set[str] = set()
    at = 0
    for number, message in enumerate(messages):
        if message["role"] == "tool":
            id = message["tool_call_id"]
            if (not open_ids and not answered) or id not in (*open_ids, *answered):
                bad(
                    "Invalid parameter: messages with role 'tool' must be a response to a "
                    "preceeding message with 'tool_calls'.",
                    param=f"messages.[{number}].role",
                )
            if id in answered:
                text = f"Duplicate value for 'tool_call_id' of '{id}' in message[{number}]"
                bad(text, param=f"messages.[{number}].tool_call_id")
            open_ids.remove(id)
            answered.add(id)
            continue
        _check_closed(open_ids, at)
        open_ids = [call["id"] for call in message.get("tool_calls") or ()]
        if twice := repeated(open_ids):
            bad(f"Duplicate value for 'id' of '{twice}' in message[{number}].tool_calls")
        answered, at = set(), number
    _check_closed(open_ids, at)


def _check_closed(open_ids: Sequence[str], number: int) -> None:
    if open_ids:
        bad(
            "An assistant message with 'tool_calls' must be followed by tool messages responding "
            "to each 'tool_call_id'. The following tool_call_ids did not have response messages: "
            f"{', '.join(open_ids)}",
            param=f"messages.[{number + 1}].role",
        )


def _check_format(body: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]) -> None:
    wanted = body.get("response_format")
    if wanted is None:
        return
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind not in ("text", "json_object", "json_schema"):
        wrong_value("response_format.type", kind, ("json_object", "json_schema", "text"))
    if kind == "json_schema":
        inner = wanted.get("json_schema")
        if not isinstance(inner, dict):
            missing("response_format.json_schema")
        check_json_schema(inner, "response_format.json_schema")
    elif kind == "json_object" and "json" not in str(messages).lower():
        bad(
            "'messages' must contain the word 'json' in some form, to use 'response_format' of "
            "type 'json_object'.",
            param="messages",
        )


def _check_size(
    body: Mapping[str, Any], messages: Sequence[Mapping[str, Any]], terms: Terms
) -> None:
    count = tokens([body.get("tools"), messages])
    if count > terms.window:
        bad(
            f"This model's maximum context length is {terms.window} tokens. However, your "
            f"messages resulted in {count} tokens. Please reduce the length of the messages.",
            param="messages",
            code="context_length_exceeded",
        )

"""What OpenAI responses refuses, in its words."""

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
from palaver.testing.provider_server.refusal import Refused, bad
from palaver.testing.provider_server.terms import Terms, reasons, repeated, words
from palaver.testing.provider_server.usage import tokens

_FIELDS = words(
    """model input instructions tools tool_choice parallel_tool_calls temperature top_p stream
    stream_options max_output_tokens max_tool_calls reasoning text include store metadata
    previous_response_id conversation truncation user service_tier prompt_cache_key
    prompt_cache_retention safety_identifier background top_logprobs prompt
    context_management"""
)
_INCLUDE = (
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "reasoning.encrypted_content",
    "message.output_text.logprobs",
)
_ROLES = ("assistant", "system", "developer", "user")
_ITEMS = ("message", "function_call", "function_call_output", "reasoning", "item_reference")
_INPUT = ("input_text", "input_image", "input_file")
_OUTPUT = ("output_text", "refusal")
_PREFIXES = {"message": "msg", "function_call": "fc", "reasoning": "rs"}
_LONGEST_ID = 64
_LEAST_OUTPUT = 16
Item = Mapping[str, Any]


def check_body(body: Mapping[str, Any], terms: Terms) -> None:
    """Refuse what responses refuses. Raises Refused."""
    check_model(body, terms)
    for field in body:
        if field not in _FIELDS:
            bad(f"Unknown parameter: '{field}'.", param=field, code="unknown_parameter")
    _check_settings(body)
    _check_tools(body)
    _check_format(body)
    items = _items(body)
    for number, item in enumerate(items):
        _check_item(item, f"input[{number}]", body, terms)
    _check_pairs(items)
    _check_order(items, terms)
    if tokens([body.get("tools"), body.get("instructions"), items]) > terms.window:
        bad(
            "Your input exceeds the context window of this model. Please adjust your input and "
            "try again.",
            param="input",
            code="context_length_exceeded",
        )


def _items(body: Mapping[str, Any]) -> Sequence[Item]:
    value = body.get("input")
    if value is None:
        missing("input")
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    if not isinstance(value, list):
        wrong_type("input", "one of a string or array of objects", value)
    return check_array(value, "input")


def _check_settings(body: Mapping[str, Any]) -> None:
    check_range(body, "temperature", 0, 2)
    check_range(body, "top_p", 0, 1)
    check_least(body, "max_output_tokens", _LEAST_OUTPUT)
    if (id := body.get("previous_response_id")) is not None:
        text = f"Previous response with id '{id}' not found."
        bad(text, param="previous_response_id", code="previous_response_not_found")
    for number, name in enumerate(body.get("include") or ()):
        if name not in _INCLUDE:
            wrong_value(f"include[{number}]", name, _INCLUDE)
    if reasons(body["model"]):
        for field in ("temperature", "top_p"):
            if body.get(field) not in (None, 1):
                _unsupported(field)
        return
    if (body.get("reasoning") or {}).get("effort") is not None:
        _unsupported("reasoning.effort")
    if "reasoning.encrypted_content" in (body.get("include") or ()):
        bad("Encrypted content is not supported with this model.", param="include")


def _unsupported(param: str) -> None:
    bad(
        f"Unsupported parameter: '{param}' is not supported with this model.",
        param=param,
        code="unsupported_parameter",
    )


def _check_tools(body: Mapping[str, Any]) -> None:
    names: list[str] = []
    for number, tool in enumerate(body.get("tools") or ()):
        if tool.get("type") is None:
            missing(f"tools[{number}].type")
        if tool["type"] == "function":
            if "function" in tool:
                missing(f"tools[{number}].name")
            names.append(check_function(tool, f"tools[{number}]"))
    choice = body.get("tool_choice")
    if isinstance(choice, str) and choice not in ("none", "auto", "required"):
        wrong_value("tool_choice", choice, ("none", "auto", "required"))
    if choice == "required" and not body.get("tools"):
        text = "Tool choice 'required' must be specified with 'tools' parameter."
        bad(text, param="tool_choice")
    if not isinstance(choice, dict) or choice.get("type") != "function":
        return
    if (name := choice.get("name")) not in names:
        text = f"Tool choice 'function' not found in 'tools' parameter: '{name}'."
        bad(text, param="tool_choice")


def _check_format(body: Mapping[str, Any]) -> None:
    wanted = (body.get("text") or {}).get("format")
    if wanted is None:
        return
    kinds = ("text", "json_object", "json_schema")
    if wanted.get("type") not in kinds:
        wrong_value("text.format.type", wanted.get("type"), kinds)
    if wanted["type"] == "json_schema":
        check_json_schema(wanted, "text.format")


def _check_item(item: object, at: str, body: Mapping[str, Any], terms: Terms) -> None:
    if not isinstance(item, dict):
        wrong_type(at, "an object", item)
    kind = item.get("type", "message" if "role" in item else None)
    if kind not in _ITEMS:
        wrong_value(at, kind, _ITEMS)
    id = item.get("id")
    prefix = _PREFIXES.get(kind)
    if id is not None and prefix and not (isinstance(id, str) and id.startswith(prefix)):
        text = f"Invalid '{at}.id': '{id}'. Expected an ID that begins with '{prefix}'."
        bad(text, param=f"{at}.id", code="invalid_value")
    if kind == "message":
        _check_message(item, at)
    elif kind == "function_call":
        check_name(item.get("name"), f"{at}.name")
        check_text(item.get("arguments"), f"{at}.arguments")
        check_length(check_text(item.get("call_id"), f"{at}.call_id"), f"{at}.call_id", _LONGEST_ID)
    elif kind == "function_call_output":
        _check_output(item, at)
    elif kind == "reasoning":
        _check_reasoning(item, at, body, terms)
    elif terms.items.get(id) is None:
        _not_found(id)


def _check_message(item: Item, at: str) -> None:
    role = item.get("role")
    if role not in _ROLES:
        wrong_value(at, role, _ROLES)
    content = item.get("content")
    if content is None:
        missing(f"{at}.content")
    if isinstance(content, str):
        return
    if not isinstance(content, list):
        wrong_type(f"{at}.content", "one of a string or array of objects", content)
    allowed = _OUTPUT if role == "assistant" else _INPUT
    for number, part in enumerate(content):
        _check_part(part, f"{at}.content[{number}]", allowed)


def _check_part(part: Mapping[str, Any], at: str, allowed: Sequence[str]) -> None:
    kind = part.get("type")
    if kind not in allowed:
        wrong_value(at, kind, allowed)
    if kind in ("input_text", "output_text"):
        check_text(part.get("text"), f"{at}.text")
    elif kind == "refusal":
        check_text(part.get("refusal"), f"{at}.refusal")
    elif kind == "input_image" and not part.get("file_id"):
        check_picture(part.get("image_url"), f"{at}.image_url")
    elif kind == "input_file":
        if not (part.get("file_id") or part.get("file_url") or part.get("file_data")):
            missing(f"{at}.file_id")
        if part.get("file_data") and not part.get("filename"):
            missing(f"{at}.filename")


def _check_output(item: Item, at: str) -> None:
    check_text(item.get("call_id"), f"{at}.call_id")
    output = item.get("output")
    if output is None:
        missing(f"{at}.output")
    if isinstance(output, list):
        for number, part in enumerate(output):
            _check_part(part, f"{at}.output[{number}]", _INPUT)
    elif not isinstance(output, str):
        wrong_type(f"{at}.output", "one of a string or array of objects", output)


def _check_reasoning(item: Item, at: str, body: Mapping[str, Any], terms: Terms) -> None:
    id = check_text(item.get("id"), f"{at}.id")
    if not isinstance(item.get("summary"), list):
        missing(f"{at}.summary")
    for number, part in enumerate(item["summary"]):
        if part.get("type") != "summary_text":
            wrong_value(f"{at}.summary[{number}]", part.get("type"), ("summary_text",))
    sealed = item.get("encrypted_content")
    if sealed is None:
        if body.get("store") is False or terms.items.get(id) is None:
            _not_found(id)
    elif not terms.proofs.is_sealed(sealed):
        bad(
            f"The encrypted content for item {id} could not be verified. Reason: Encrypted content "
            "could not be decrypted or parsed.",
            code="invalid_encrypted_content",
        )


def _not_found(id: object) -> None:
    raise Refused(
        404,
        "invalid_request_error",
        f"Item with id '{id}' not found. Items are not persisted when `store` is set to false. "
        "Try again with `store` set to true, or remove this item from your input.",
        param="input",
    )


def _check_pairs(items: Sequence[Item]) -> None:
    asked: dict[str, bool] = {}
    for item in items:
        if item.get("type") == "function_call":
            if asked.get(item["call_id"]) is False:
                bad(f"Duplicate function call with call_id {item['call_id']}.", param="input")
            asked[item["call_id"]] = False
        elif item.get("type") == "function_call_output":
            id = item["call_id"]
            if id not in asked:
                text = f"No tool call found for function call output with call_id {id}."
                bad(text, param="input")
            if asked[id]:
                bad(f"Duplicate function call output with call_id {id}.", param="input")
            asked[id] = True
        elif item.get("type", "message") == "message":
            _check_answered(asked)
    _check_answered(asked)
    if twice := repeated([str(item["id"]) for item in items if item.get("id")]):
        bad(
            f"Duplicate item found with id {twice}. Remove duplicate items from your input and "
            "try again.",
            param="input",
        )


def _check_answered(asked: Mapping[str, bool]) -> None:
    # A message behind an open call is refused here although the API lets some through: the history
    # has to be valid for every provider.
    for id, is_answered in asked.items():
        if not is_answered:
            bad(f"No tool output found for function call {id}.", param="input")


def _check_order(items: Sequence[Item], terms: Terms) -> None:
    for number, item in enumerate(items):
        kind = item.get("type", "message")
        follows = items[number + 1] if number + 1 < len(items) else {}
        if kind == "reasoning":
            next_kind = follows.get("type", "message" if follows else "")
            is_own = next_kind in ("function_call", "reasoning") or (
                next_kind == "message" and follows.get("role") == "assistant"
            )
            if not is_own:
                bad(
                    f"Item '{item['id']}' of type 'reasoning' was provided without its required "
                    "following item.",
                    param="input",
                )
            continue
        needed = terms.items.get(item.get("id"))
        if needed and needed not in {before.get("id") for before in items[:number]}:
            bad(
                f"Item '{item['id']}' of type '{kind}' was provided without its required "
                f"'reasoning' item: '{needed}'.",
                param="input",
            )

"""Tools, settings and schemas of a request as keyword arguments of a chat model's `bind`.

Where LangChain would change what is sent (strict tools beside a schema, a parser around the stream)
the provider's own field is filled instead.
"""

from typing import Any

from palaver.domain.errors import InvalidRequest
from palaver.domain.messages import Reasoning, Role, StopReason
from palaver.domain.values import GenerationSettings, OutputSchema
from palaver.providers.anthropic_answer import ORIGIN as ANTHROPIC_ORIGIN
from palaver.providers.anthropic_models import Generation
from palaver.providers.anthropic_request import DEFAULT_MAX_TOKENS
from palaver.providers.anthropic_schema import accepted
from palaver.providers.base import ModelInfo, ModelRequest, ToolSpec
from palaver.providers.langchain.recognise import Spoken, Wire
from palaver.providers.openai_request import allows_strict, effort, function, schema_name

_FIELDS: dict[str, tuple[str, ...]] = {
    "temperature": ("temperature",),
    "top_p": ("top_p",),
    "seed": ("seed",),
    "max_tokens": ("max_tokens", "max_output_tokens", "num_predict", "max_completion_tokens"),
}
"""What models without a wire of their own here may call a setting."""
_AS_OPENAI = ("mistralai", "groq", "deepseek", "xai", "fireworks", "together", "openrouter")


def options(model: Any, request: ModelRequest, spoken: Spoken, info: ModelInfo) -> dict[str, Any]:
    """The keyword arguments but for tools. Raises InvalidRequest for a schema it cannot ask for."""
    match spoken.wire:
        case Wire.ANTHROPIC:
            return _anthropic(model, request, spoken, info)
        case Wire.CHAT:
            return _chat(model, request, spoken, info)
        case Wire.RESPONSES:
            return _responses(model, request, spoken, info)
        case Wire.PLAIN:
            return _plain(model, request, spoken)


def tool(spec: ToolSpec, wire: Wire) -> dict[str, Any]:
    """A tool in the form that LangChain passes on as it is."""
    if wire is Wire.ANTHROPIC:
        schema = {"type": "object", **spec.schema}
        return {"name": spec.name, "description": spec.description, "input_schema": schema}
    made = {"type": "function", "function": function(spec)}
    if wire is Wire.RESPONSES:
        made["function"] = {**function(spec), "strict": False}
    return made


def tool_choice(choice: str, wire: Wire, model: str) -> Any:
    """LangChain's word for the choice; None leaves the default."""
    if choice in ("", "auto"):
        return None
    if wire is Wire.ANTHROPIC:
        if choice == "none":
            return {"type": "none"}
        if not Generation.of(model).can_be_forced:
            return None
    return "any" if choice == "required" else choice


def _anthropic(
    model: Any, request: ModelRequest, spoken: Spoken, info: ModelInfo
) -> dict[str, Any]:
    settings, generation = request.settings, Generation.of(spoken.model)
    own = getattr(model, "max_tokens", None)
    limit = settings.max_tokens or own or info.max_output or DEFAULT_MAX_TOKENS
    made: dict[str, Any] = {"max_tokens": limit}
    config: dict[str, Any] = {}
    thinking = _thinking(request, generation, limit)
    if thinking is not None:
        made["thinking"] = thinking
    elif generation.samples:
        # Newer models refuse the two together.
        if settings.temperature is not None:
            made["temperature"] = min(settings.temperature, 1.0)
        elif settings.top_p is not None:
            made["top_p"] = settings.top_p
    if level := generation.effort(settings.reasoning):
        config["effort"] = level
    if stops := [text for text in settings.stop if text.strip()]:
        made["stop"] = stops
    if request.output is not None:
        config["format"] = {"type": "json_schema", "schema": accepted(request.output.schema)}
    if config:
        made["output_config"] = config
    if spoken.is_home and getattr(model, "_llm_type", "") == "anthropic-chat":
        made["cache_control"] = {"type": "ephemeral"}
    if betas := generation.betas():
        made["betas"] = [*(getattr(model, "betas", None) or ()), *betas]
    return made


def _thinking(request: ModelRequest, generation: Generation, limit: int) -> dict[str, Any] | None:
    wanted = request.settings.reasoning
    forced = bool(request.tools) and request.settings.tool_choice not in ("", "auto", "none")
    if forced and generation.can_be_forced:
        return generation.no_thinking()  # the two exclude each other
    if wanted is None:
        return generation.default_thinking()
    last = request.messages[-1] if request.messages else None
    if last is not None and last.role is Role.ASSISTANT and last.stop is not StopReason.PAUSE:
        return generation.no_thinking()
    if wanted == "off":
        return generation.no_thinking()
    if generation.wants_thinking_first and not _thought(request):
        return None
    return generation.thinking(wanted, limit=limit)


def _thought(request: ModelRequest) -> bool:
    """Within a round of tools a thinking budget is accepted only if the round began by thinking."""
    messages = request.messages
    if len(messages) < 2 or messages[-1].role is not Role.TOOL:
        return True
    first = next(iter(messages[-2].content), None)
    if not isinstance(first, Reasoning) or first.origin != ANTHROPIC_ORIGIN:
        return False
    return bool(first.signature or first.encrypted)


def _chat(model: Any, request: ModelRequest, spoken: Spoken, info: ModelInfo) -> dict[str, Any]:
    settings = request.settings
    made = _sampling(settings, ("temperature", "top_p", "seed", "max_tokens"))
    if settings.stop:
        made["stop"] = list(settings.stop)
    if level := effort(_name(model), settings.reasoning):
        made["reasoning_effort"] = level
    if spoken.is_home and request.conversation:
        made["prompt_cache_key"] = request.conversation
    if request.output is not None:
        _must_have_schemas(info)
        # As a plain argument it would make LangChain wrap the stream in the SDK's parser, which
        # wants strict tools and raises at a cut answer.
        body = {"response_format": {"type": "json_schema", "json_schema": _schema(request.output)}}
        made["extra_body"] = {**(getattr(model, "extra_body", None) or {}), **body}
    return made


def _responses(
    model: Any, request: ModelRequest, spoken: Spoken, info: ModelInfo
) -> dict[str, Any]:
    settings = request.settings
    made = _sampling(settings, ("temperature", "top_p", "max_tokens"))
    wanted = settings.reasoning
    if info.reasoning or wanted not in (None, "off"):
        reasoning = {} if wanted == "off" else {"summary": "auto"}
        if level := effort(_name(model), wanted):
            reasoning["effort"] = level
        if reasoning:
            made["reasoning"] = {**(getattr(model, "reasoning", None) or {}), **reasoning}
    if request.output is not None:
        _must_have_schemas(info)
        made["text"] = {"format": {"type": "json_schema", **_schema(request.output)}}
    if spoken.is_home and request.conversation:
        made["prompt_cache_key"] = request.conversation
    if getattr(model, "store", None) is None:
        made["store"] = False
        made["include"] = [*(getattr(model, "include", None) or ()), "reasoning.encrypted_content"]
    return made


def _plain(model: Any, request: ModelRequest, spoken: Spoken) -> dict[str, Any]:
    """Only what the model's class has a field for: others would refuse an unknown argument."""
    settings = request.settings
    fields = getattr(type(model), "model_fields", {})
    made: dict[str, Any] = {}
    for setting, names in _FIELDS.items():
        value = getattr(settings, setting)
        name = next((name for name in names if name in fields), None)
        if value is not None and name is not None:
            made[name] = value
    if settings.stop:
        made["stop"] = list(settings.stop)
    if request.output is not None:
        made |= _plain_schema(request.output, spoken.provider)
    return made


def _plain_schema(output: OutputSchema, provider: str) -> dict[str, Any]:
    if provider == "ollama":
        return {"format": output.schema}
    if provider.startswith("google"):
        return {"response_mime_type": "application/json", "response_json_schema": output.schema}
    if provider in _AS_OPENAI:
        return {"response_format": {"type": "json_schema", "json_schema": _schema(output)}}
    raise InvalidRequest(
        f"a reply in a schema cannot be asked of LangChain's {provider} models",
        hint="Leave the schema out, or use a tool with that schema.",
    )


def _must_have_schemas(info: ModelInfo) -> None:
    if not info.structured_output:
        raise InvalidRequest(
            f"{info.name} does not know replies in a schema",
            hint="Leave the schema out, or use another model.",
        )


def _schema(output: OutputSchema) -> dict[str, Any]:
    strict = allows_strict(output.schema)
    return {"name": schema_name(output.name), "schema": output.schema, "strict": strict}


def _sampling(settings: GenerationSettings, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name in names if (value := getattr(settings, name)) is not None}


def _name(model: Any) -> str:
    return str(getattr(model, "model_name", ""))

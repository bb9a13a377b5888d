"""How a client wants its answer: what both of OpenAI's APIs have in common, in Palaver's terms."""

from typing import Any, Literal, TypeAlias

import msgspec

from palaver.domain.values import ClientTool, OutputSchema
from palaver.server.v1.errors import invalid

MAX_STOPS = 4
_ANY_OBJECT: dict[str, Any] = {"type": "object"}
Effort: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
_STEPS: dict[str, str] = {
    "none": "off",
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "max": "high",
}
"""OpenAI's efforts in the steps that all providers have."""


class OfferedFunction(msgspec.Struct, frozen=True):
    """A function of the client. `strict` is accepted; arguments are passed on as they come."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None

    def tool(self) -> ClientTool:
        """As a turn takes it; whether it is a tool at all is checked there."""
        return ClientTool(self.name, self.description or "", self.parameters or {})


class Sampling(msgspec.Struct, frozen=True):
    """Generation settings as clients send them; None: the provider's default."""

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    effort: Effort | None = None
    tool_choice: str = ""

    def preferences(self) -> dict[str, Any]:
        """By the names of `GenerationSettings`. Raises InvalidInput for what is out of range."""
        _within("temperature", self.temperature, 0, 2)
        _within("top_p", self.top_p, 0, 1)
        if self.max_tokens is not None and self.max_tokens < 1:
            raise invalid("max_tokens", "at least one token must be allowed")
        if len(self.stop) > MAX_STOPS:
            raise invalid("stop", f"at most {MAX_STOPS} stop sequences are accepted")
        return {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_tokens": self.max_tokens,
            "stop": tuple(each for each in self.stop if each),
            "seed": self.seed,
            "reasoning": None if self.effort is None else _STEPS[self.effort],
            "tool_choice": "" if self.tool_choice == "auto" else self.tool_choice,
        }


def _within(name: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not low <= value <= high:
        raise invalid(name, f"{name} must be from {low} to {high}, not {value:g}")


class NamedFunction(msgspec.Struct, frozen=True):
    """The name of a function."""

    name: str


class ChosenTool(msgspec.Struct, frozen=True):
    """`{"type": "function", "function": {"name": …}}`, or flat as responses have it."""

    type: Literal["function"]
    function: NamedFunction | None = None
    name: str = ""


ToolChoice: TypeAlias = Literal["none", "auto", "required"] | ChosenTool


def choice(given: ToolChoice | None, tools: tuple[ClientTool, ...]) -> str:
    """As generation settings have it. Raises InvalidInput for a tool that is not there."""
    if given is None or isinstance(given, str):
        return given if given and tools else ""
    name = given.function.name if given.function is not None else given.name
    if all(name != tool.name for tool in tools):
        raise invalid("tool_choice", f"there is no tool {name[:64]!r} in `tools`")
    return name


class AnswerFormat(msgspec.Struct, frozen=True):
    """The shape of the answer: free text, any JSON object, or a schema (here for responses, in
    `json_schema` for chat completions)."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    json_schema: "AnswerSchema | None" = None
    name: str = ""
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    description: str | None = None

    def output(self, place: str) -> OutputSchema | None:
        """What the turn is asked for. Raises InvalidInput for a schema that is none."""
        if self.type == "text":
            return None
        if self.type == "json_object":
            return OutputSchema("object", _ANY_OBJECT)
        asked = self.json_schema or AnswerSchema(self.name, self.schema)
        if asked.schema is None or asked.schema.get("type") != "object":
            raise invalid(place, "the schema of the answer must be there, and be of type object")
        return OutputSchema(asked.name or "reply", asked.schema)


class AnswerSchema(msgspec.Struct, frozen=True):
    """A named JSON Schema."""

    name: str = "reply"
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    description: str | None = None

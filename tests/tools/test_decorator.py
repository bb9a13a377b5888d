"""What `@tool` makes of a function."""

import asyncio
import dataclasses
import enum
import functools
import threading
from collections.abc import Callable
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import msgspec
import pytest
from jsonschema import Draft202012Validator

from palaver.domain.errors import InvalidInput, ToolArgumentsError
from palaver.domain.values import Effect
from palaver.tools.decorator import tool
from palaver.tools.definition import ExecutionContext


class Unit(enum.Enum):
    C = "celsius"
    F = "fahrenheit"


class Place(TypedDict):
    city: str
    country: NotRequired[str]


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


class Tree(msgspec.Struct):
    name: str
    children: "list[Tree]" = []


Count = Annotated[int, msgspec.Meta(ge=1, le=9, description="How many.")]


def properties(function: Callable[..., Any]) -> dict[str, Any]:
    schema = tool(function).definition.parameters_schema
    Draft202012Validator.check_schema(schema)
    assert schema["type"] == "object"
    found: dict[str, Any] = schema["properties"]
    return found


@pytest.mark.parametrize(
    "annotation, expected",
    [
        (str, {"type": "string"}),
        (int, {"type": "integer"}),
        (float, {"type": "number"}),
        (bool, {"type": "boolean"}),
        (list, {"type": "array"}),
        (dict, {"type": "object"}),
        (Any, {}),
        (list[int], {"type": "array", "items": {"type": "integer"}}),
        (dict[str, float], {"type": "object", "additionalProperties": {"type": "number"}}),
        (Literal["a", "b"], {"enum": ["a", "b"]}),
        (Unit, {"enum": ["celsius", "fahrenheit"]}),
        (int | None, {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        (int | str, {"anyOf": [{"type": "integer"}, {"type": "string"}]}),
        (Annotated[str, "A city."], {"type": "string", "description": "A city."}),
        (Count, {"type": "integer", "minimum": 1, "maximum": 9, "description": "How many."}),
    ],
)
def test_types_become_schemas(annotation: Any, expected: dict[str, Any]) -> None:
    """Each supported annotation has its JSON Schema; without default it is required."""

    def function(value: Any) -> None: ...

    function.__annotations__["value"] = annotation
    assert properties(function) == {"value": expected}
    assert tool(function).definition.parameters_schema["required"] == ["value"]


def test_tuple_has_its_length() -> None:
    """A tuple's schema says how many items it has, and of which types."""

    def function(pair: tuple[int, str]) -> None: ...

    shape = properties(function)["pair"]
    assert (shape["minItems"], shape["maxItems"]) == (2, 2)
    assert shape["prefixItems"] == [{"type": "integer"}, {"type": "string"}]


async def test_objects_arrive_as_their_types(context: ExecutionContext) -> None:
    """TypedDict, dataclass, Struct, Enum and tuple parameters receive values of these types."""

    @tool
    def function(
        place: Place, point: Point, tree: Tree, unit: Unit, pair: tuple[int, str], ids: set[int]
    ) -> Any:
        return place, point, tree, unit, pair, ids

    arguments = {
        "place": {"city": "Oslo"},
        "point": {"x": 1},
        "tree": {"name": "a", "children": [{"name": "b"}]},
        "unit": "celsius",
        "pair": [1, "x"],
        "ids": [1, 2],
    }
    schema = function.definition.parameters_schema
    Draft202012Validator(schema).validate(arguments)
    assert set(schema["$defs"]) == {"Place", "Point", "Tree"}
    assert await function.execute(arguments, context) == (
        {"city": "Oslo"},
        Point(1),
        Tree("a", [Tree("b")]),
        Unit.C,
        (1, "x"),
        {1, 2},
    )


async def test_defaults_are_optional_and_told(context: ExecutionContext) -> None:
    """A parameter with a default is not required; the schema shows the default if it is JSON."""
    marker = object()

    @tool
    def function(city: str, unit: Unit = Unit.C, rest: Any = marker) -> Any:
        return city, unit, rest is marker

    schema = function.definition.parameters_schema
    assert schema["required"] == ["city"]
    assert schema["properties"]["unit"]["default"] == "celsius"
    assert "default" not in schema["properties"]["rest"]
    assert await function.execute({"city": "Oslo"}, context) == ("Oslo", Unit.C, True)


async def test_whole_floats_are_integers(context: ExecutionContext) -> None:
    """3.0 is a valid integer in JSON, and an `int` parameter receives 3."""

    @tool
    async def function(count: int, more: list[int], ratio: float) -> Any:
        return repr((count, more, ratio))

    assert (
        await function.execute({"count": 3.0, "more": [1.0], "ratio": 2.0}, context)
        == "(3, [1], 2.0)"
    )


async def test_pydantic_models_work_without_being_imported(context: ExecutionContext) -> None:
    """A pydantic model is described with its nested models and arrives validated."""
    pydantic = pytest.importorskip("pydantic")

    class Part(pydantic.BaseModel):  # type: ignore[misc, name-defined]
        name: str

    class Order(pydantic.BaseModel):  # type: ignore[misc, name-defined]
        parts: list[Part]
        count: int = pydantic.Field(ge=1)

    @tool
    def function(order: Order, other: Order | None = None) -> Any:
        return order

    schema = function.definition.parameters_schema
    Draft202012Validator(schema).validate({"order": {"parts": [{"name": "a"}], "count": 1}})
    assert not Draft202012Validator(schema).is_valid({"order": {"parts": [{}], "count": 1}})
    order = await function.execute({"order": {"parts": [{"name": "a"}], "count": 2}}, context)
    assert order == Order(parts=[Part(name="a")], count=2)
    with pytest.raises(ToolArgumentsError, match="order"):
        await function.execute({"order": {"parts": [], "count": 0}}, context)


def google(city: str, days: int = 1) -> str:
    """Forecast for a city,
    in words.

    Longer text that models do not need.

    Args:
        city: Its name
            in English.
        days (int): How many: at most 9.

    Returns:
        text: The forecast.
    """
    return city


def numpy(city: str, days: int = 1) -> str:
    """Forecast for a city, in words.

    Parameters
    ----------
    city : str
        Its name
        in English.
    days : int, optional
        How many: at most 9.

    Returns
    -------
    str
        The forecast.
    """
    return city


def sphinx(city: str, days: int = 1) -> str:
    """Forecast for a city, in words.

    :param city: Its name
        in English.
    :param int days: How many: at most 9.
    :returns: The forecast.
    """
    return city


@pytest.mark.parametrize("function", [google, numpy, sphinx])
def test_docstrings_describe(function: Callable[..., Any]) -> None:
    """The first paragraph describes the tool, each style's section its parameters."""
    definition = tool(function).definition
    assert definition.description == "Forecast for a city, in words."
    described = {n: p["description"] for n, p in definition.parameters_schema["properties"].items()}
    assert described == {"city": "Its name in English.", "days": "How many: at most 9."}


def test_annotation_wins_over_docstring() -> None:
    """A description in the annotation is used in place of the docstring's."""

    def function(city: Annotated[str, "From the annotation."]) -> None:
        """Do.

        Args:
            city: From the docstring.
        """

    assert properties(function)["city"]["description"] == "From the annotation."


def test_options_reach_the_definition() -> None:
    """Name, effect, bounds and hints of the decorator are the definition's."""

    @tool(effect="read", name="sky", timeout_s=3, is_hidden=True, is_exclusive=True)
    def function(city: str, days: int = 1) -> None: ...

    definition = function.definition
    assert (definition.name, definition.effect, definition.timeout_s) == ("sky", Effect.READ, 3)
    assert definition.is_hidden
    assert definition.is_exclusive
    assert definition.argument_hint == "<city> [days]"
    assert definition.description == "sky"


@pytest.mark.parametrize("effect", [None, "unheard-of"])
def test_unknown_effect_is_effect(effect: Any) -> None:
    """What a tool does to the world is the worst unless it is said."""

    def function() -> None: ...

    assert tool(effect=effect)(function).definition.effect is Effect.EFFECT
    assert tool(function).definition.asks


async def test_tool_is_still_the_function() -> None:
    """Calling the tool calls the function, positional arguments included."""

    @tool(effect="read")
    async def weather(city: str) -> str:
        """Weather."""
        return f"sun in {city}"

    assert await weather("Oslo") == "sun in Oslo"
    assert weather.__name__ == "weather"  # type: ignore[attr-defined]
    assert weather.__doc__ == "Weather."


async def test_context_is_given_and_not_described(context: ExecutionContext) -> None:
    """A parameter annotated ExecutionContext receives it; models never see it."""

    @tool
    async def one(where: ExecutionContext, city: str) -> Any:
        return where.call_id, city

    @tool
    def two(city: str, ctx: ExecutionContext | None = None) -> Any:
        assert ctx is not None
        return ctx.call_id, city

    for each in (one, two):
        assert list(each.definition.parameters_schema["properties"]) == ["city"]
        assert await each.execute({"city": "Oslo"}, context) == ("call_1", "Oslo")


async def test_blocking_functions_run_in_threads(
    make_context: Callable[..., ExecutionContext],
) -> None:
    """A plain function does not block the loop, and its progress arrives in the loop's thread."""
    seen: list[tuple[str, bool]] = []
    here = threading.current_thread()
    gate = threading.Event()

    def progress(text: str, fraction: float | None = None) -> None:
        seen.append((text, threading.current_thread() is here))

    @tool
    def function(context: ExecutionContext) -> bool:
        context.progress("half", 0.5)
        gate.wait(60)
        return threading.current_thread() is here

    running = asyncio.ensure_future(function.execute({}, make_context(progress=progress)))
    await asyncio.sleep(0.01)
    gate.set()
    assert await running is False
    assert seen == [("half", True)]


async def test_wrapped_async_functions_are_awaited(context: ExecutionContext) -> None:
    """A function behind another decorator is awaited where it is async."""

    def twice(inner: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(inner)
        def outer(*args: Any, **kwargs: Any) -> Any:
            return inner(*args, **kwargs)

        return outer

    @tool
    @twice
    async def function(city: str) -> str:
        return city

    assert await function.execute({"city": "Oslo"}, context) == "Oslo"


def star(*cities: str) -> None: ...
def double_star(**cities: str) -> None: ...
def positional(city: str, /) -> None: ...
def two_contexts(a: ExecutionContext, b: ExecutionContext) -> None: ...
def unresolved(city: "Unheard") -> None: ...  # type: ignore[name-defined]  # noqa: F821
def opaque(city: threading.Lock) -> None: ...
def two_objects(city: Point | Tree) -> None: ...
def generator() -> Any:
    yield 1


class Holder:
    def method(self, city: str) -> str:
        return city


@pytest.mark.parametrize(
    "function, says",
    [
        (star, r"\*cities"),
        (double_star, r"\*\*cities"),
        (positional, "positional-only"),
        (two_contexts, "only one"),
        (unresolved, "Unheard"),
        (opaque, "type cannot be described"),
        (two_objects, "type cannot be described"),
        (generator, "generator"),
        (Holder.method, "bound"),
        (Holder, "function"),
        (functools.partial(google), "no name"),
        (tool(google), "already"),
    ],
)
def test_undescribable_functions_are_refused(function: Any, says: str) -> None:
    """What a model could not call fails at decoration, with the reason."""
    with pytest.raises(InvalidInput, match=says):
        tool(function)


async def test_bound_methods_are_tools(context: ExecutionContext) -> None:
    """A method of an instance works like a function."""
    assert await tool(Holder().method).execute({"city": "Oslo"}, context) == "Oslo"

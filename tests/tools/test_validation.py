"""What a model reads when its arguments do not fit."""

from typing import Annotated, Any, Literal

import msgspec
import pytest

from palaver.domain.errors import ToolArgumentsError
from palaver.domain.ids import CallId
from palaver.domain.messages import ToolCall
from palaver.tools.decorator import tool
from palaver.tools.manager import ToolManager


class Place(msgspec.Struct):
    city: str
    zip: int = 0


@tool(effect="read")
async def forecast(
    place: Place | None,
    days: Annotated[int, msgspec.Meta(ge=1, le=9, description="How many days.")],
    unit: Literal["celsius", "fahrenheit"] = "celsius",
    tags: list[str] = [],  # noqa: B006 - a schema's default
    code: Annotated[str, msgspec.Meta(pattern="^[a-z]{2}$")] = "no",
) -> str:
    """Forecast."""
    return "sun"


def problem(arguments: dict[str, Any]) -> ToolArgumentsError:
    call = ToolCall(CallId("c"), "forecast", msgspec.json.encode(arguments).decode())
    with pytest.raises(ToolArgumentsError) as raised:
        ToolManager([forecast]).validate(call)
    return raised.value


UNIT = '- `unit`: expected one of "celsius", "fahrenheit"'
GOOD = {"place": None, "days": 1}


@pytest.mark.parametrize(
    "changes, line",
    [
        ({"days": "three"}, '- `days`: expected an integer, got "three" (How many days.)'),
        ({"days": 12}, "- `days`: 12 is greater than the maximum of 9 (How many days.)"),
        (
            {"unit": "kelvin"},
            UNIT + ', got "kelvin"',
        ),
        (
            {"unit": "celsiu"},
            UNIT + ', got "celsiu"; did you mean "celsius"?',
        ),
        ({"tag": ["a"]}, '- `tag`: no such parameter; did you mean "tags"?'),
        ({"tags": ["a", 2]}, "- `tags[1]`: expected a string, got 2"),
        ({"place": {"city": 5}}, "- `place.city`: expected a string, got 5"),
        ({"place": {}}, "- `place`: expected a Place object or null, got {}"),
        ({"code": "NOR"}, """- `code`: "NOR" does not match '^[a-z]{2}$'"""),
    ],
)
def test_problem_names_field_expectation_and_value(changes: dict[str, Any], line: str) -> None:
    """Each problem says where it is, what was expected there, and what came."""
    assert problem(GOOD | changes).message.splitlines()[1:] == [line]


def test_missing_parameters_are_named_with_their_kind() -> None:
    """A missing parameter is named once, with its type and description."""
    text = problem({"place": None}).message
    assert text.count("`days`") == 1
    assert "`days`: required but missing; expected an integer (How many days.)" in text


def test_suggestions_list_the_parameters() -> None:
    """The model is told all parameters, and which are optional."""
    assert any("days, unit (optional)" in line for line in problem({}).suggestions)


def test_at_most_five_problems_are_told() -> None:
    """More than five problems are counted, not listed."""
    lines = problem(GOOD | {"tags": list(range(50))}).message.splitlines()
    assert len(lines) == 1 + 5 + 1
    assert lines[-1] == "- and 45 more problems"


def test_long_values_are_shortened() -> None:
    """A huge wrong value does not come back in full."""
    assert len(problem(GOOD | {"days": "x" * 100_000}).message) < 300


def test_deep_values_are_a_problem_like_others() -> None:
    """Deeply nested arguments are explained like any other wrong value."""
    deep: Any = 1
    for _ in range(400):
        deep = [deep]
    assert "days" in problem(GOOD | {"days": deep}).message

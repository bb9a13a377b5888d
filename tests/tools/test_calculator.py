"""The calculator."""

import contextlib
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, strategies as st

from palaver.domain.ids import CallId
from palaver.domain.messages import ToolCall
from palaver.tools.builtin import arithmetic as numbers
from palaver.tools.builtin.calculator import calculate, calculator
from palaver.tools.definition import ExecutionContext
from palaver.tools.manager import ToolManager


@pytest.mark.parametrize(
    "expression, value",
    [
        ("17*23", "391"),
        ("0.1+0.2", "0.3"),
        ("1/3*3", "1"),
        ("1/3", "0.333333333333333"),
        ("-2**2", "-4"),
        ("2**-1", "0.5"),
        ("2**3**2", "512"),
        ("2^10", "1024"),
        ("7//2", "3"),
        ("-7//2", "-4"),
        ("-7 % 3", "2"),
        ("--2", "2"),
        ("3 × 4 ÷ 2 − 1", "5"),
        ("15% of 80", "12"),
        ("20%", "0.2"),
        ("50% * 20", "10"),
        ("1,234,567.5*2", "2469135"),
        ("(1,000+1)*2", "2002"),
        ("max(1,234)", "234"),
        ("1_000*2", "2000"),
        ("1.5e3", "1500"),
        (".5", "0.5"),
        ("5!", "120"),
        ("sqrt(1/4)", "0.5"),
        ("sqrt(2)", "1.4142135623731"),
        ("sin(pi)", "0"),
        ("cos(τ)", "1"),
        ("tan(0)", "0"),
        ("log(1000, 10)", "3"),
        ("log(1/8, 2)", "-3"),
        ("log2(2**3000)", "3000"),
        ("ln(e)", "1"),
        ("exp(0)", "1"),
        ("abs(-3)", "3"),
        ("round(2.5)", "3"),
        ("round(-2.675, 2)", "-2.68"),
        ("floor(-1.5) + ceil(1.2)", "0"),
        ("min(3, 1, 2)", "1"),
        ("gcd(12, 18)", "6"),
        ("PI", "3.14159265358979"),
        ("17*23=", "391"),
        ("17*23 ?", "391"),
        ("1**9**9", "1"),
        ("(2/3)**2000", "6.56873722330915e-353"),
        ("10**30", "1" + "0" * 30),
        ("10**4000+0.5", "1" + "0" * 4000 + ".5"),
    ],
)
def test_value(expression: str, value: str) -> None:
    """The expression has this value, exact where it can be."""
    assert calculate(expression) == value


@pytest.mark.parametrize(
    "expression, says",
    [
        ("9**9**9", "digits"),
        ("9**9**9**9", "digits"),
        ("(9**999)**999", "digits"),
        ("1e999999999", "digits"),
        ("1e-999999", "digits"),
        ("99999!", "factorial"),
        ("5!!!", "factorial"),
        ("(0-1)!", "factorial"),
        ("0.5!", "whole"),
        ("1/0", "zero"),
        ("1%(0)", "zero"),
        ("0**-1", "zero"),
        ("sqrt(-1)", "square root"),
        ("(-8)**(1/3)", "real"),
        ("log(0)", "positive"),
        ("log(5, 1)", "other than 1"),
        ("exp(1000)", "too large"),
        ("1.5**1e300", "large|digits"),
        ("tan(pi/2)", "no value"),
        ("round(1, 1e9)", "100 places"),
        ("foo(2)", "foo"),
        ("x + 1", "'x'"),
        ("sqrt 2", "parentheses"),
        ("sqrt(1, 2)", "takes 1"),
        ("max()", "expected"),
        ("2 3", "operator"),
        ("2 +", "at the end"),
        ("(2", "closing"),
        ("2)", "operator"),
        ("", "no expression"),
        ("__import__('os')", "not understood"),
        ("().__class__", "not understood"),
        ("[1]", "not understood"),
        ("2;3", "not understood"),
        ("(" * 60 + "1" + ")" * 60, "levels"),
        ("2**" * 60 + "1", "powers"),
        ("1+" * 600 + "1", "longer"),
    ],
)
def test_refusal(expression: str, says: str) -> None:
    """What has no value, or too large a one, is refused with the reason."""
    with pytest.raises(numbers.CalculationError, match=says):
        calculate(expression)


numerals = st.integers(0, 10**6).map(str) | st.decimals(
    0, 1000, places=3, allow_nan=False, allow_infinity=False
).map(lambda d: f"{d:f}")


OPERATIONS: dict[str, Callable[[Fraction, Fraction], Fraction]] = {
    "+": lambda x, y: x + y,
    "-": lambda x, y: x - y,
    "*": lambda x, y: x * y,
    "/": lambda x, y: x / y,
    "//": lambda x, y: Fraction(x // y),
    "%": lambda x, y: x % y,
}


@st.composite
def expressions(draw: Any, depth: int = 4) -> tuple[str, Fraction | None]:
    """An expression, and its value by Fraction arithmetic; None where it divides by zero."""
    if depth == 0 or draw(st.booleans()):
        text = draw(numerals)
        return text, Fraction(text)
    left, x = draw(expressions(depth=depth - 1))
    if draw(st.integers(0, 5)) == 0:
        return f"-({left})", None if x is None else -x
    right, y = draw(expressions(depth=depth - 1))
    operator = draw(st.sampled_from(["+", "-", "*", "/", "//", "%"]))
    text = f"({left}) {operator} ({right})"
    if x is None or y is None or (y == 0 and operator in ("/", "//", "%")):
        return text, None
    return text, OPERATIONS[operator](x, y)


@given(expressions())
def test_arithmetic_is_that_of_fractions(case: tuple[str, Fraction | None]) -> None:
    """Every expression has the value that exact fractions give it."""
    text, value = case
    if len(text) > 1_000:
        return
    if value is None:
        with pytest.raises(numbers.CalculationError, match="zero"):
            calculate(text)
    else:
        assert calculate(text) == numbers.written(value)
        assert abs(Fraction(calculate(text)) - value) <= abs(value) / 10**14


@given(st.text(max_size=40) | st.text(alphabet="0123456789+-*/%().,e! sqrtofpi", max_size=40))
def test_any_text_is_answered_or_refused(text: str) -> None:
    """No text makes it fail otherwise, or hang."""
    with contextlib.suppress(numbers.CalculationError):
        calculate(text)


async def test_model_gets_the_reason(context: ExecutionContext) -> None:
    """As a tool it gives the value, or a failed result with the reason."""
    manager = ToolManager([calculator])
    good = ToolCall(CallId("a"), "calculator", '{"expression": "17*23"}')
    assert (await manager.execute_tool(good, context)).text == "391"
    bad = ToolCall(CallId("b"), "calculator", '{"expression": "9**9**9"}')
    result = await manager.execute_tool(bad, context)
    assert result.failed
    assert "4,000 digits" in result.text

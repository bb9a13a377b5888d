"""A calculator for models and people: its own small parser, nothing is evaluated as code.

    expression = term (("+" | "-") term)*
    term       = unary (("*" | "/" | "//" | "%" | "of") unary)*
    unary      = ("+" | "-") unary | power
    power      = postfix ("**" unary)?          right-associative, above the sign: -2**2 is -4
    postfix    = primary ("!" | "%")*           "%" is per cent unless an operand follows it
    primary    = number | constant | function "(" expression ("," expression)* ")"
               | "(" expression ")"

`×`, `·`, `÷`, `−` and `^` are read as `*`, `*`, `/`, `-` and `**`. Outside of a function's
parentheses a comma between groups of three digits separates thousands.
"""

import re
from fractions import Fraction

from palaver.domain.errors import ToolExecutionError
from palaver.tools.builtin import arithmetic
from palaver.tools.builtin.arithmetic import CalculationError, Number
from palaver.tools.decorator import tool

_MAX_CHARS = 1_000
_MAX_DEPTH = 50
_NUMBER = r"(?:\d[\d_]*(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"
_GROUPED = re.compile(r"\d{1,3}(?:,\d{3})+(?![\d,])(?:\.\d+)?")
_TOKEN = re.compile(rf"\s*(?:({_NUMBER})|([^\W\d]\w*)|(\*\*|//|[-+*/%(),!]))")
_SAME = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-"})


def calculate(expression: str) -> str:
    """The value of an arithmetic expression. Raises CalculationError with what is wrong."""
    if len(expression) > _MAX_CHARS:
        raise CalculationError(f"the expression is longer than {_MAX_CHARS:,} characters")
    text = expression.translate(_SAME).replace("^", "**").strip().rstrip("=?").strip()
    if not text:
        raise CalculationError("there is no expression")
    try:
        return arithmetic.written(_Parser(_tokens(text)).value())
    except OverflowError:
        raise CalculationError("a number is too large for this operation") from None


@tool(effect="read", timeout_s=5)
async def calculator(expression: str) -> str:
    """Calculate an arithmetic expression exactly. Use it for every calculation.

    Args:
        expression: For example `17*23`, `(1/3 + 2)**4`, `sqrt(2)`, `15% of 80`. Operators + - * /
            // % ** and !, constants pi, e, tau, functions sqrt, sin, cos, tan (radians),
            log(x) natural, log(x, base), ln, log2, log10, exp, abs, round(x, places), floor,
            ceil, min, max, factorial, gcd.
    """
    try:
        return calculate(expression)
    except CalculationError as error:
        raise ToolExecutionError(
            f"cannot calculate {expression[:100]!r}: {error}",
            suggestions=("Write plain arithmetic, for example 2*(3+4)**2 or log(8, 2).",),
        ) from error


def _tokens(text: str) -> list[tuple[str, str]]:
    """(kind, text) pairs; kind is number, name or operator, and end for the last."""
    found: list[tuple[str, str]] = []
    calls: list[bool] = []
    """For each open parenthesis: whether it holds a function's arguments."""
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        grouped = None if calls and calls[-1] else _GROUPED.match(text, at)
        if grouped:
            found.append(("number", grouped[0].replace(",", "")))
            at = grouped.end()
            continue
        match = _TOKEN.match(text, at)
        if match is None:
            raise CalculationError(f"{text[at]!r} at position {at + 1} is not understood")
        number, name, operator = match.groups()
        if operator == "(":
            calls.append(bool(found) and found[-1][0] == "name" and found[-1][1] != "of")
        elif operator == ")" and calls:
            calls.pop()
        kind = "number" if number else "name" if name else "operator"
        found.append((kind, number or (name.lower() if name else operator)))
        at = match.end()
    found.append(("end", ""))
    return found


class _Parser:
    """Computes while it parses; depth is bounded, so the stack is."""

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens, self._at, self._depth = tokens, 0, 0

    def value(self) -> Number:
        value = self._expression()
        kind, text = self._tokens[self._at]
        if kind != "end":
            raise CalculationError(f"an operator is expected before {text!r}")
        return value

    def _expression(self) -> Number:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise CalculationError(f"more than {_MAX_DEPTH} levels of parentheses")
        value = self._term()
        while (operator := self._taken("+", "-")) is not None:
            right = self._term()
            value = (arithmetic.add if operator == "+" else arithmetic.subtract)(value, right)
        self._depth -= 1
        return value

    def _term(self) -> Number:
        operations = {
            "*": arithmetic.multiply,
            "/": arithmetic.divide,
            "//": arithmetic.floor_divide,
            "%": arithmetic.modulo,
            "of": arithmetic.multiply,
        }
        value = self._unary()
        while (operator := self._taken(*operations)) is not None:
            value = operations[operator](value, self._unary())
        return value

    def _unary(self) -> Number:
        is_negative = False
        while (sign := self._taken("+", "-")) is not None:
            is_negative ^= sign == "-"
        value = self._power()
        return arithmetic.negate(value) if is_negative else value

    def _power(self) -> Number:
        base = self._postfix()
        if self._taken("**") is None:
            return base
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise CalculationError(f"more than {_MAX_DEPTH} powers of powers")
        exponent = self._unary()
        self._depth -= 1
        return arithmetic.power(base, exponent)

    def _postfix(self) -> Number:
        value = self._primary()
        while True:
            if self._taken("!") is not None:
                value = arithmetic.factorial(value)
            elif self._tokens[self._at][1] == "%" and not self._operand_follows():
                self._at += 1
                value = arithmetic.divide(value, Fraction(100))
            else:
                return value

    def _operand_follows(self) -> bool:
        kind, text = self._tokens[self._at + 1]
        return kind == "number" or text == "(" or (kind == "name" and text != "of")

    def _primary(self) -> Number:
        kind, text = self._tokens[self._at]
        self._at += 1
        if kind == "number":
            return _number(text)
        if text == "(":
            value = self._expression()
            self._close()
            return value
        if kind == "name" and text in arithmetic.FUNCTIONS:
            return arithmetic.call(text, self._arguments(text))
        if kind == "name" and text in arithmetic.CONSTANTS:
            return arithmetic.CONSTANTS[text]
        if kind == "name":
            raise CalculationError(f"{text!r} is neither a function nor a constant known here")
        raise CalculationError(
            f"a number is expected {f'before {text!r}' if text else 'at the end'}"
        )

    def _arguments(self, name: str) -> list[Number]:
        if self._taken("(") is None:
            raise CalculationError(f"{name} needs its arguments in parentheses")
        values = [self._expression()]
        while self._taken(",") is not None:
            values.append(self._expression())
        self._close()
        return values

    def _close(self) -> None:
        if self._taken(")") is None:
            raise CalculationError("a closing parenthesis is missing")

    def _taken(self, *texts: str) -> str | None:
        kind, text = self._tokens[self._at]
        if kind in ("operator", "name") and text in texts:
            self._at += 1
            return text
        return None


def _number(text: str) -> Fraction:
    digits, _, exponent = text.replace("_", "").lower().partition("e")
    if exponent and (len(exponent) > 6 or abs(int(exponent)) > arithmetic.MAX_DIGITS):
        raise CalculationError(f"{text} has more than {arithmetic.MAX_DIGITS:,} digits")
    return Fraction(digits) * Fraction(10) ** int(exponent or 0)

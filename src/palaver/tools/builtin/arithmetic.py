"""Arithmetic that is exact where it can be, and bounded always.

Numbers are fractions as long as operations allow it, so that 0.1 + 0.2 is 0.3; what is irrational
is a float with 15 digits. Every operation that could grow is refused *before* it is computed.
"""

import decimal
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import TypeAlias

Number: TypeAlias = Fraction | float

MAX_DIGITS = 4_000
"""Decimal digits of a numerator or denominator; Python itself prints at most 4,300."""
_MAX_BITS = int(MAX_DIGITS * math.log2(10))
_MAX_FACTORIAL = 1_400
"""1400! has 3,812 digits."""


class CalculationError(ValueError):
    """The expression has no value that can be given. The text is for the one who wrote it."""


def add(left: Number, right: Number) -> Number:
    """The sum."""
    return bounded(left + right)


def subtract(left: Number, right: Number) -> Number:
    """The difference."""
    return bounded(left - right)


def multiply(left: Number, right: Number) -> Number:
    """The product."""
    return bounded(left * right)


def divide(left: Number, right: Number) -> Number:
    """The quotient. Raises CalculationError for a division by zero."""
    return bounded(left / _divisor(right))


def floor_divide(left: Number, right: Number) -> Number:
    """The quotient rounded down."""
    return bounded(_from(left // _divisor(right)))


def modulo(left: Number, right: Number) -> Number:
    """What floor division leaves; it has the sign of `right`."""
    return bounded(left % _divisor(right))


def power(base: Number, exponent: Number) -> Number:
    """`base` to the power of `exponent`. Raises CalculationError before a huge result is built."""
    if base == 0 and exponent < 0:
        raise CalculationError("division by zero: 0 to a negative power")
    if isinstance(base, Fraction) and isinstance(exponent, Fraction) and exponent.denominator == 1:
        bits = max(abs(base.numerator).bit_length(), base.denominator.bit_length())
        if abs(base) != 1 and base != 0 and (bits - 1) * abs(exponent.numerator) > _MAX_BITS:
            raise CalculationError(f"the result has more than {MAX_DIGITS:,} digits")
        if base in {0, 1, -1}:  # whatever the exponent's size
            return base if exponent % 2 else (base * base if exponent else Fraction(1))
        return bounded(base**exponent.numerator)
    if base < 0 and exponent != math.floor(exponent):
        raise CalculationError("a negative number has no real root of this kind")
    return bounded(float(base) ** float(exponent))


def negate(value: Number) -> Number:
    """The number with the other sign."""
    return -value


def factorial(value: Number) -> Number:
    """n! of a whole number from 0 to 1,400."""
    whole = _whole(value, "factorial")
    if not 0 <= whole <= _MAX_FACTORIAL:
        raise CalculationError(f"factorial needs a whole number from 0 to {_MAX_FACTORIAL:,}")
    return Fraction(math.factorial(whole))


def bounded(value: Number) -> Number:
    """`value` itself. Raises CalculationError when it is too long, infinite or no number."""
    if isinstance(value, Fraction):
        bits = max(value.numerator.bit_length(), value.denominator.bit_length())
        if bits > _MAX_BITS + 8:
            raise CalculationError(f"the result has more than {MAX_DIGITS:,} digits")
    elif isinstance(value, complex):
        raise CalculationError("there is no real result")
    elif not math.isfinite(value):
        raise CalculationError("the result is too large")
    return value


def written(value: Number) -> str:
    """Exact where the decimals end within 30 places; otherwise 15 significant digits."""
    if isinstance(value, float):
        return f"{value:.15g}"
    if value.denominator == 1:
        return str(value.numerator)
    exact = _terminating(value)
    if exact is not None:
        return exact
    with decimal.localcontext(prec=15) as context:
        context.Emax, context.Emin = decimal.MAX_EMAX, decimal.MIN_EMIN
        quotient = decimal.Decimal(value.numerator) / decimal.Decimal(value.denominator)
        return f"{quotient:g}".replace("e+", "e")


def _terminating(value: Fraction) -> str | None:
    rest, places = value.denominator, 0
    for prime in (2, 5):
        count = 0
        while rest % prime == 0 and count <= 30:
            rest //= prime
            count += 1
        places = max(places, count)
    if rest != 1 or places > 30:
        return None
    digits = str(abs(value.numerator) * 10**places // value.denominator).rjust(places + 1, "0")
    return f"{'-' if value < 0 else ''}{digits[:-places]}.{digits[-places:]}"


def _from(value: int | float) -> Number:
    return Fraction(value) if isinstance(value, int) else value


def _divisor(value: Number) -> Number:
    if value == 0:
        raise CalculationError("division by zero")
    return value


def _whole(value: Number, name: str) -> int:
    if isinstance(value, float) and not value.is_integer():
        raise CalculationError(f"{name} needs whole numbers")
    if isinstance(value, Fraction) and value.denominator != 1:
        raise CalculationError(f"{name} needs whole numbers")
    return int(value)


def _sqrt(value: Number) -> Number:
    if value < 0:
        raise CalculationError("a negative number has no real square root")
    if isinstance(value, Fraction):
        root = Fraction(math.isqrt(value.numerator), math.isqrt(value.denominator))
        if root * root == value:
            return root
    return math.sqrt(value)


def _log(value: Number, base: Number | None = None) -> Number:
    if value <= 0 or (base is not None and (base <= 0 or base == 1)):
        raise CalculationError("a logarithm needs positive numbers, and a base other than 1")
    if base is None:
        return _logarithm(value)
    exact = round(_logarithm(value) / _logarithm(base))
    # Powers of the base have whole logarithms, which floats miss by a hair.
    if abs(exact) <= _MAX_BITS and isinstance(base, Fraction):
        try:
            if power(base, Fraction(exact)) == value:
                return Fraction(exact)
        except CalculationError:
            pass
    return _logarithm(value) / _logarithm(base)


def _logarithm(value: Number) -> float:
    if isinstance(value, Fraction):  # each part may be larger than any float
        return math.log(value.numerator) - math.log(value.denominator)
    return math.log(value)


def _round(value: Number, places: Number = Fraction(0)) -> Number:
    """Half away from zero, as people round."""
    count = _whole(places, "round")
    if abs(count) > 100:
        raise CalculationError("round takes at most 100 places")
    scale = Fraction(10) ** count
    exact = Fraction(value) * scale
    rounded = Fraction(math.floor(abs(exact) + Fraction(1, 2))) / scale
    return rounded if value >= 0 else -rounded


def _gcd(*values: Number) -> Number:
    return Fraction(math.gcd(*(_whole(value, "gcd") for value in values)))


def _trigonometric(function: Callable[[float], float]) -> Callable[[Number], Number]:
    def compute(angle: Number) -> Number:
        value = function(float(angle))
        # sin(pi) is not 0 in floats only because pi is rounded: less than that error is nothing.
        return Fraction(0) if abs(value) < abs(float(angle)) * 2.3e-16 else value

    return compute


def _tan(angle: Number) -> Number:
    if abs(math.cos(float(angle))) < abs(float(angle)) * 2.3e-16:
        raise CalculationError("tan has no value there")
    return _trigonometric(math.tan)(angle)


CONSTANTS: dict[str, Number] = {
    "pi": math.pi,
    "π": math.pi,
    "e": math.e,
    "tau": math.tau,
    "τ": math.tau,
}
_ANY = 100
FUNCTIONS: dict[str, tuple[Callable[..., Number], int, int]] = {
    "sqrt": (_sqrt, 1, 1),
    "sin": (_trigonometric(math.sin), 1, 1),
    "cos": (_trigonometric(math.cos), 1, 1),
    "tan": (_tan, 1, 1),
    "log": (_log, 1, 2),
    "ln": (_log, 1, 1),
    "log2": (lambda value: _log(value, Fraction(2)), 1, 1),
    "log10": (lambda value: _log(value, Fraction(10)), 1, 1),
    "exp": (lambda value: math.exp(float(value)), 1, 1),
    "abs": (abs, 1, 1),
    "round": (_round, 1, 2),
    "floor": (lambda value: Fraction(math.floor(value)), 1, 1),
    "ceil": (lambda value: Fraction(math.ceil(value)), 1, 1),
    "min": (min, 1, _ANY),
    "max": (max, 1, _ANY),
    "factorial": (factorial, 1, 1),
    "gcd": (_gcd, 1, _ANY),
}
"""Name → function, fewest and most arguments."""


def call(name: str, arguments: Sequence[Number]) -> Number:
    """The value of a named function. Raises CalculationError for a wrong count or argument."""
    function, fewest, most = FUNCTIONS[name]
    if not fewest <= len(arguments) <= most:
        count = str(fewest) if fewest == most else f"{fewest} to {most}"
        raise CalculationError(f"{name} takes {count} argument(s), got {len(arguments)}")
    return bounded(function(*arguments))

"""Numbers that keep the text in which they were written."""

from __future__ import annotations

import math
from decimal import Decimal, InvalidOperation
from typing import Any, Self

from daggy.spec.model import Value

DIGITS = 400
"""The most digits of a number in a spec, with its exponent written out."""


class Number(Decimal):
    """A decimal that prints as it was written: `0.30` stays `0.30`, `1e5` stays `1e5`.

    Arithmetic with integers and with the floats of an expression is done in decimal, so that `0.1 * 3` is `0.3`.
    """

    __slots__ = ("text",)

    text: str

    def __new__(cls, text: str) -> Self:
        """Read JSON's text of a number.

        Raises:
            ValueError: it is not a finite number, or has too many digits.
        """
        try:
            number = super().__new__(cls, text)
        except InvalidOperation:
            raise ValueError(f"{text!r} is not a number") from None
        if not number.is_finite():
            raise ValueError(f"'{text}' is not a JSON number")
        if len(text) > DIGITS or abs(number.adjusted()) > DIGITS:
            raise ValueError(f"a number with more than {DIGITS} digits")
        number.text = text
        return number

    def __str__(self) -> str:
        """Return the text as written."""
        return self.text

    def __repr__(self) -> str:
        """Return the text as written."""
        return self.text

    def __format__(self, specifier: str, /, *rest: Any) -> str:
        """Format as a decimal; without a specifier, the text as written."""
        return super().__format__(specifier, *rest) if specifier else self.text

    def __deepcopy__(self, memo: Any, /) -> Self:
        """Return itself: it is immutable."""
        return self

    def __reduce__(self) -> tuple[type[Self], tuple[str]]:
        """Pickle as text."""
        return type(self), (self.text,)


def _arithmetic(name: str) -> Any:
    plain = getattr(Decimal, name)

    def operate(self: Number, other: Any) -> Any:
        result = plain(self, Decimal(repr(other)) if isinstance(other, float) else other)
        if isinstance(result, Decimal) and not isinstance(result, Number):
            return number(result)
        return result

    return operate


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow"):
    for _side in ("", "r"):
        setattr(Number, f"__{_side}{_name}__", _arithmetic(f"__{_side}{_name}__"))


def number(value: Decimal) -> Number:
    """Return a computed decimal as a number whose text has no needless exponent.

    Raises:
        ValueError: it has too many digits.
    """
    if not value.is_finite() or abs(value.adjusted()) > DIGITS:
        raise ValueError(f"a number with more than {DIGITS} digits")
    return Number(format(value, "f"))


def whole(text: str) -> int:
    """Return JSON's text of an integer.

    Raises:
        ValueError: it has too many digits.
    """
    if len(text) > DIGITS:
        raise ValueError(f"a number with more than {DIGITS} digits")
    return int(text)


def parse_value(text: str) -> Value:
    """Return a value given on the command line: a number if it is a JSON number, else the string."""
    if not text or text[0] not in "-0123456789" or text[-1] not in "0123456789":
        return text
    digits = text.removeprefix("-")
    if not digits.isascii() or (digits[:1] == "0" and digits[1:2].isdigit()) or not digits[:1].isdigit() or "_" in text:
        return text
    try:
        return whole(text) if digits.isdigit() else Number(text)
    except ValueError:
        return text


def plain(value: object) -> object:
    """Return data with plain Python numbers, as an executor's options have them."""
    match value:
        case Number():
            as_float = float(value)
            return as_float if math.isfinite(as_float) else 0.0
        case dict():
            return {key: plain(item) for key, item in value.items()}
        case list():
            return [plain(item) for item in value]
        case _:
            return value

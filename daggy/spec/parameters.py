"""The values of parameters: lists, ranges that are never written out, and values picked from either."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from functools import cached_property

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

from daggy.spec.model import Repeating, Value, Values
from daggy.spec.numbers import DIGITS, Number

MOST = 2**32 - 1
"""The most values of one parameter: no run has more tasks."""


@frozen(slots=False)
class ListValues:
    """Values that were written out, each once."""

    values: tuple[Value, ...]

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.values)

    def value(self, position: int) -> Value:
        """Return one value, as templates see it."""
        return self.values[position]

    def text(self, position: int) -> str:
        """Return one value's text."""
        return str(self.values[position])

    def texts(self) -> Sequence[str]:
        """Return all texts."""
        return self._texts

    def find(self, text: str) -> int:
        """Return the position of the value with this text, or -1."""
        return self._positions.get(text, -1)

    @cached_property
    def _texts(self) -> tuple[str, ...]:
        values = self.values
        if all(type(value) is str for value in values):
            return values  # type: ignore[return-value]  # just tested, without a copy of a million strings
        return tuple(map(str, values))

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {text: position for position, text in enumerate(self._texts)}


@frozen
class RangeValues:
    """The values `start + k * step`, k in 0..size-1, in units of `10**-places`: integers do all the arithmetic.

    With `places` 0 the values are integers, else decimals that all have as many places.
    """

    start: int
    step: int
    size: int
    places: int = field(default=0)

    @classmethod
    def of(cls, start: int | Decimal, stop: int | Decimal, step: int | Decimal = 1) -> RangeValues:
        """Return the range from `start` up to, and not including, `stop`.

        Raises:
            ValueError: `step` is 0, there are no values, more than MOST, or numbers with too many digits.
        """
        places = max(_places(start), _places(stop), _places(step))
        if step == 0:
            raise ValueError("the step of a range is not 0")
        first, last, by = (_scaled(bound, places) for bound in (start, stop, step))
        size = len(range(first, last, by)) if abs(last - first) // abs(by) <= MOST else MOST + 1
        if not size:
            raise ValueError("the range has no values")
        if size > MOST:
            raise ValueError(f"the range has more than {MOST} values")
        shown = max(_places(start), _places(step))
        unit = 10 ** (places - shown)
        return cls(first // unit, by // unit, size, shown)

    def __len__(self) -> int:
        """Return how many there are."""
        return self.size

    def value(self, position: int) -> Value:
        """Return one value: an integer, or a decimal."""
        if not self.places:
            return self.start + self.step * range(self.size)[position]
        return Number(self.text(position))

    def text(self, position: int) -> str:
        """Return one value's text."""
        return self._text(self.start + self.step * range(self.size)[position])

    def texts(self) -> Sequence[str]:
        """Return all texts, written out at each call."""
        numbers = range(self.start, self.start + self.step * self.size, self.step)
        return list(map(str if not self.places else self._text, numbers))

    def find(self, text: str) -> int:
        """Return the position of the value with this text, or -1."""
        whole, point, decimals = text.partition(".")
        if len(text) > 3 * DIGITS or len(decimals) != self.places or bool(point) != bool(self.places):
            return -1
        try:
            scaled = int(whole + decimals)
        except ValueError:
            return -1
        position, rest = divmod(scaled - self.start, self.step)
        found = not rest and 0 <= position < self.size and self._text(scaled) == text
        return position if found else -1

    def _text(self, scaled: int) -> str:
        if not self.places:
            return str(scaled)
        digits = str(abs(scaled)).rjust(self.places + 1, "0")
        return f"{'-' if scaled < 0 else ''}{digits[: -self.places]}.{digits[-self.places :]}"


@frozen(eq=False)
class PickedValues(Repeating):
    """Values of another parameter, in any order, each as often as it was picked: one column of an axis of rows.

    Args:
        of: Values, each once.
        places: Position in `of` by row.
    """

    of: Values
    places: NDArray[np.int32]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.places)

    def value(self, position: int) -> Value:
        """Return the value in one row, as templates see it."""
        return self.of.value(int(self.places[position]))

    def text(self, position: int) -> str:
        """Return the text in one row."""
        return self.of.text(int(self.places[position]))

    def texts(self) -> Sequence[str]:
        """Return all texts, written out at each call."""
        return list(map(self.of.text, self.places.tolist()))

    def find(self, text: str) -> int:
        """Return the first row with this text, or -1."""
        found = np.flatnonzero(self.places == self.of.find(text))
        return int(found[0]) if len(found) else -1

    @classmethod
    def of_texts(cls, texts: Sequence[Value]) -> PickedValues:
        """Return these values, each kept once; they are the same if their texts are."""
        numbers: dict[str, int] = {}
        first: list[Value] = []
        places = np.empty(len(texts), dtype=np.int32)
        for row, value in enumerate(texts):
            places[row] = number = numbers.setdefault(str(value), len(numbers))
            if number == len(first):
                first.append(value)
        return cls(ListValues(tuple(first)), places)

    def distinct(self) -> PickedValues:
        """Return each value that is there once, in the order of `of`."""
        return PickedValues(self.of, np.unique(self.places))


def _exponent(bound: Decimal) -> int:
    exponent = bound.as_tuple().exponent
    assert isinstance(exponent, int), "numbers of a spec are finite"
    return exponent


def _places(bound: int | Decimal) -> int:
    return 0 if isinstance(bound, int) else max(0, -_exponent(bound))


def _scaled(bound: int | Decimal, places: int) -> int:
    if isinstance(bound, int):
        return bound * int(10**places)
    sign, digits, _ = bound.as_tuple()
    whole = int("".join(map(str, digits)) or "0") * int(10 ** (_exponent(bound) + places))
    return -whole if sign else whole

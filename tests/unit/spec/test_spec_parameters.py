from __future__ import annotations

from decimal import Context, Decimal, localcontext
from typing import Any

import pytest
from hypothesis import assume, given, strategies as st

from daggy.spec import ListValues, RangeValues
from daggy.spec.numbers import Number, parse_value
from daggy.spec.parameters import MOST

DECIMALS = st.decimals(-1000, 1000, places=3, allow_nan=False).map(lambda d: Number(format(d.normalize(), "f")))
BOUNDS = st.integers(-10_000, 10_000) | DECIMALS


def naive(start: int | Decimal, stop: int | Decimal, step: int | Decimal) -> list[Decimal]:
    with localcontext(Context(prec=100)):
        values, value = [], Decimal(start)
        while (value < stop) if step > 0 else (value > stop):
            values.append(value)
            value += Decimal(step)
    return values


@given(BOUNDS, BOUNDS, BOUNDS)
def test_a_range_is_the_list_that_decimal_addition_gives(
    start: int | Decimal, stop: int | Decimal, step: int | Decimal
) -> None:
    assume(step != 0 and abs((Decimal(stop) - Decimal(start)) / Decimal(step)) < 300)
    expected = naive(start, stop, step)
    if not expected:
        with pytest.raises(ValueError, match="no values"):
            RangeValues.of(start, stop, step)
        return
    values = RangeValues.of(start, stop, step)
    assert [Decimal(values.value(position)) for position in range(len(values))] == expected
    assert [Decimal(text) for text in values.texts()] == expected
    assert [values.text(position) for position in range(len(values))] == list(values.texts())
    assert [values.find(text) for text in values.texts()] == list(range(len(values)))
    assert [str(values.value(position)) for position in range(len(values))] == list(values.texts())


@given(BOUNDS, BOUNDS, BOUNDS, st.text("0123456789.-+eE ", max_size=6))
def test_find_knows_only_the_texts_of_the_range(
    start: int | Decimal, stop: int | Decimal, step: int | Decimal, text: str
) -> None:
    assume(step != 0 and abs((Decimal(stop) - Decimal(start)) / Decimal(step)) < 300)
    try:
        values = RangeValues.of(start, stop, step)
    except ValueError:
        return
    texts = list(values.texts())
    assert values.find(text) == (texts.index(text) if text in texts else -1)


def test_tenths_are_tenths() -> None:
    values = RangeValues.of(0, 1, Number("0.1"))
    assert list(values.texts()) == ["0.0", "0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9"]


def test_exponents_are_written_out() -> None:
    assert list(RangeValues.of(Number("1e2"), Number("3e2"), Number("1e2")).texts()) == ["100", "200"]


def test_a_hundred_million_values_are_never_written_out() -> None:
    values = RangeValues.of(0, 100_000_000)
    assert len(values) == 100_000_000
    assert values.find("99999999") == 99_999_999
    assert values.find("100000000") == -1
    assert values.find("007") == -1


@pytest.mark.parametrize(
    ("bounds", "message"),
    [((0, 10, 0), "not 0"), ((0, 0), "no values"), ((0, 10, -1), "no values"), ((0, MOST + 1), "more than")],
)
def test_a_bad_range_says_why(bounds: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RangeValues.of(*bounds)


@pytest.mark.parametrize("text", ["1e999999999", "9" * 1000, "nan", "Infinity", "x"])
def test_numbers_are_bounded(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # the texts differ
        Number(text)


@given(st.lists(st.text() | st.integers() | DECIMALS, min_size=1, unique_by=str))
def test_a_list_finds_its_texts(written: list[str | int | Decimal]) -> None:
    values = ListValues(tuple(written))
    assert list(values.texts()) == [str(value) for value in written]
    assert [values.find(text) for text in values.texts()] == list(range(len(values)))
    assert values.find("".join(values.texts()) + "x") == -1


@pytest.mark.parametrize("text", ["0.30", "1e5", "1E+5", "-0.0", "100"])
def test_a_number_prints_as_written(text: str) -> None:
    assert str(Number(text)) == f"{Number(text)}" == repr(Number(text)) == text


def test_arithmetic_is_decimal() -> None:
    assert str(Number("0.1") * 3) == "0.3"
    other: Any = 0.2  # as jinja2 has it
    assert str(Number("0.1") + other) == "0.3"
    assert str(3 - Number("0.1")) == "2.9"
    assert str(Number("1e5") * 10) == "1000000"
    assert f"{Number('0.123'):.1f}" == "0.1"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-5", -5),
        ("007", "007"),
        ("1.50", Number("1.50")),
        ("2022-01-01", "2022-01-01"),
        ("", ""),
        ("1_0", "1_0"),
        ("1.", "1."),
        ("-", "-"),
        ("e5", "e5"),
        ("1e5", Number("1e5")),
        ("-01", "-01"),
    ],
)
def test_values_of_the_command_line_are_numbers_where_json_has_numbers(text: str, value: object) -> None:
    read = parse_value(text)
    assert read == value
    assert type(read) is type(value)
    assert str(read) == text

"""The worker's parts: arguments as a signature wants them, and results as JSON; what does not fit is told in a line."""

from __future__ import annotations

import ast
import dataclasses
import datetime as dt
import enum
import json
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal, Optional, TypedDict
from uuid import UUID

import attrs
import msgspec
import numpy as np
import pytest

from daggy.worker import describe, program, values


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Model:
    alpha: float
    day: dt.date = dt.date(2020, 1, 1)
    parts: list[int] = dataclasses.field(default_factory=list)


class Options(TypedDict, total=False):
    deep: bool


@pytest.mark.parametrize("module", [program, values, describe], ids=lambda module: module.__name__)
def test_the_worker_needs_a_python_3_8_and_nothing_else(module: ModuleType) -> None:
    source = Path(str(module.__file__)).read_text()
    tree = ast.parse(source, feature_version=(3, 8))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    foreign = {name for name in imported if name.partition(".")[0] not in sys.stdlib_module_names}
    assert {name for name in foreign if not name.startswith("daggy.worker")} <= {"msgspec"}  # where it is


SAME = [
    (3, float, 3.0),
    (3.0, int, 3),
    ("x", str, "x"),
    (None, int | None, None),
    (3, Optional[int], 3),  # noqa: UP045 - as code for older versions is written
    ([1, 2], list[int], [1, 2]),
    ([1, 2], tuple[int, ...], (1, 2)),
    ([1, 2], set[int], {1, 2}),
    ([1], Sequence[float], [1.0]),
    ({"a": 1}, dict[str, float], {"a": 1.0}),
    ("2024-02-01", dt.date, dt.date(2024, 2, 1)),
    ("2024-02-01T03:04:05Z", dt.datetime, dt.datetime(2024, 2, 1, 3, 4, 5, tzinfo=dt.timezone.utc)),  # noqa: UP017
    ("a/b", Path, Path("a/b")),
    ("red", Colour, Colour.RED),
    ("0.10", Decimal, Decimal("0.10")),
    ("12345678-1234-5678-1234-567812345678", UUID, UUID("12345678-1234-5678-1234-567812345678")),
    ("a", Literal["a", "b"], "a"),
    ({"alpha": 1, "day": "2024-02-01"}, Model, Model(1.0, dt.date(2024, 2, 1))),
    ({"deep": True}, Options, {"deep": True}),
    (5, Annotated[int, "so many"], 5),
    ({"x": [1, "a"]}, Any, {"x": [1, "a"]}),
    ("a", int | str, "a"),
    (["a"], list[Path] | None, [Path("a")]),
]


@pytest.mark.parametrize("convert", [values.own, values.converted], ids=["standard library", "msgspec"])
@pytest.mark.parametrize(("value", "hint", "expected"), SAME, ids=lambda case: str(case)[:30])
def test_values_become_what_hints_name(
    convert: Callable[[Any, Any], Any], value: Any, hint: Any, expected: Any
) -> None:
    made = convert(value, hint)
    assert made == expected
    assert type(made) is type(expected)


WRONG = [
    ("3", int),
    (3.5, int),
    (True, int),
    (1, bool),
    (1, str),
    ("x", float),
    ([1, "a"], list[int]),
    ("c", Literal["a", "b"]),
    ("blue", Colour),
    ("yesterday", dt.date),
    ({"alpha": "x"}, Model),
    ({}, Model),
    (None, int),
    ("x", int | None),
    ([1], tuple[int, int]),
]


@pytest.mark.parametrize("convert", [values.own, values.converted], ids=["standard library", "msgspec"])
@pytest.mark.parametrize(("value", "hint"), WRONG, ids=lambda case: str(case)[:30])
def test_other_values_are_refused(convert: Callable[[Any, Any], Any], value: Any, hint: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        convert(value, hint)


class Validated:
    """As pydantic's models are made and written."""

    def __init__(self, told: Any) -> None:
        self.told = told

    @classmethod
    def model_validate(cls, value: Any) -> Validated:
        return cls(value)

    def model_dump(self, mode: str) -> Any:
        return {"told": self.told, "mode": mode}


@pytest.mark.parametrize("hint", [Validated, Validated | None])
def test_models_make_and_write_themselves(hint: Any) -> None:
    made = values.converted({"a": 1}, hint)
    assert isinstance(made, Validated)
    assert json.loads(program.written([made])) == [{"told": {"a": 1}, "mode": "json"}]


def fit(alpha: float, folds: int = 5, *, deep: bool = False) -> float:
    return alpha * folds * (2 if deep else 1)


def plain(a, b=2, **more):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN003, ANN201
    return a, b, more


def placed(a: float, /, b: Path = Path()) -> Any:
    return a, b


def unresolved(a: Nowhere, b: float) -> Any:  # type: ignore[name-defined]  # noqa: F821
    return a, b


def told(function: Callable[..., Any], **given: Any) -> Any:
    places, named = program.bound(function, "fit", given)
    return function(*places, **named)


def test_arguments_go_to_parameters_by_name() -> None:
    assert told(fit, alpha=2) == 10.0
    assert told(fit, alpha=2, folds=1, deep=True) == 4.0
    assert told(plain, a=[1], c=3) == ([1], 2, {"c": 3})
    assert told(placed, a=1, b="x") == (1.0, Path("x"))
    assert told(math.sqrt, x=4) == 2.0
    assert told(unresolved, a=1, b=2) == (1, 2)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"alhpa": 1}, "fit() has no parameter 'alhpa'; did you mean 'alpha'?; it has: alpha, folds, deep"),
        ({"folds": 1}, "fit() needs the argument 'alpha'"),
        ({"alpha": "x"}, "argument 'alpha': \"x\" where float is expected"),
    ],
)
def test_what_does_not_fit_is_told_in_a_line(given: dict[str, Any], said: str) -> None:
    with pytest.raises(program.CallError) as error:
        told(fit, **given)
    assert str(error.value) == said


@attrs.frozen
class Point:
    x: int


class Struct(msgspec.Struct):
    y: int


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        ({"a": (1, 2.5)}, '{"a":[1,2.5]}'),
        (Model(1.0), '{"alpha":1.0,"day":"2020-01-01","parts":[]}'),
        ([Point(1), Struct(2)], '[{"x":1},{"y":2}]'),
        ([Path("a"), Colour.RED, {2, 1}, Decimal("0.10")], '["a","red",[1,2],"0.10"]'),
        ([np.float64(0.5), np.int64(3), np.arange(3)], "[0.5,3,[0,1,2]]"),
        ("ä", '"ä"'),
        (dt.timedelta(minutes=1), "60.0"),
    ],
)
def test_results_are_json(value: Any, text: str) -> None:
    assert program.written(value) == text


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (object(), "!its result is no JSON: it holds a object; return what JSON has, or a data class"),
        ((n for n in [1]), "!its result is no JSON: it holds a generator; return what JSON has, or a data class"),
        ({(1, 2): 3}, "!its result is no JSON: keys must be str, int, float, bool or None, not tuple"),
    ],
)
def test_what_cannot_be_json_is_told(value: Any, said: str) -> None:
    assert program.written(value) == said


def test_a_result_far_too_large_is_not_written_out() -> None:
    def endless() -> Iterable[int]:
        return range(10**9)

    class Array:
        def tolist(self) -> list[str]:
            return ["x" * 1000] * 1_000_000

    assert program.LARGEST < len(program.written(Array())) < 2 * program.LARGEST
    assert endless()

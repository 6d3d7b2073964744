"""Settings: every wrong key is named, texts may stand for numbers, nothing is silently taken for something else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from attrs import asdict, field, frozen, validators
from hypothesis import given, strategies as st

from daggy.errors import PluginError
from daggy.settings import structure


@frozen
class Inner:
    depth: int = 1


@frozen
class Example:
    workers: int = field(validator=validators.ge(1))
    share: float = 0.5
    inherit: bool = True
    place: Path = Path("/")
    environment: dict[str, str | None] = field(factory=dict)
    ports: list[int] = field(factory=list)
    prefix: tuple[str, ...] = ()
    inner: Inner = Inner()


KNOWN = "workers, share, inherit, place, environment, ports, prefix, inner"


def test_values_and_their_texts() -> None:
    wanted = Example(3, 2.0, False, Path("/tmp"), {"A": "1", "B": None}, [1, 2], ("nice",), Inner(4))
    given_values: dict[str, Any] = {
        "workers": 3,
        "share": 2,
        "inherit": False,
        "place": "/tmp",
        "environment": {"A": "1", "B": None},
        "ports": [1, 2],
        "prefix": ["nice"],
        "inner": {"depth": 4},
    }
    assert structure(given_values, Example, "x") == wanted
    texts = given_values | {"workers": "3", "share": "2.0", "inherit": "false", "ports": ["1", 2.0]}
    assert structure(texts, Example, "x") == wanted


def test_all_that_is_wrong_is_named_at_once() -> None:
    wrong: dict[str, Any] = {
        "worker": 3,
        "share": "half",
        "inherit": "maybe",
        "environment": {"A": 1},
        "ports": [1, True, 2.5],
        "inner": {"dept": 2},
        "zzz": 1,
    }
    with pytest.raises(PluginError) as caught:
        structure(wrong, Example, "pool 'a'")
    assert sorted(str(caught.value).splitlines()) == [
        "pool 'a': environment['A']: must be a string, not 1",
        "pool 'a': inherit: must be true or false, not 'maybe'",
        "pool 'a': inner: no setting named 'dept'; did you mean 'depth'?",
        "pool 'a': no setting named 'worker'; did you mean 'workers'?",
        "pool 'a': no setting named 'zzz'; there are: " + KNOWN,
        "pool 'a': ports[1]: must be a whole number, not True",
        "pool 'a': ports[2]: must be a whole number, not 2.5",
        "pool 'a': share: must be a number, not 'half'",
        "pool 'a': workers: is missing; give it a value",
    ]


def test_a_string_is_not_a_list_of_its_letters() -> None:
    wrong: dict[str, Any] = {"workers": 1, "ports": "12", "prefix": "nice", "environment": ["A=1"], "inner": 3}
    with pytest.raises(PluginError) as caught:
        structure(wrong, Example, "x")
    assert sorted(str(caught.value).splitlines()) == [
        "x: environment: must be an object, not ['A=1']",
        "x: inner: must be an object, not 3",
        "x: ports: must be a list, not '12'",
        "x: prefix: must be a list, not 'nice'",
    ]


def test_validators_speak() -> None:
    with pytest.raises(PluginError, match="x: 'workers' must be >= 1: 0"):
        structure({"workers": 0}, Example, "x")


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
KEYS = st.sampled_from(["workers", "share", "inherit", "place", "environment", "ports", "inner", "x"])


@given(st.dictionaries(KEYS, ANYTHING))
def test_anything_is_structured_or_refused_with_a_line_each(values: dict[str, Any]) -> None:
    try:
        found = structure(values, Example, "pool 'a'")
    except PluginError as refusal:
        refused = str(refusal).splitlines()
    else:
        refused = []
        assert type(found.workers) is int
        assert set(values) <= set(asdict(found))
    assert all(line.startswith("pool 'a': ") for line in refused)

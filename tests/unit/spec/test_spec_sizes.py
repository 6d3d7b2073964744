"""Resources that are given as sizes."""

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st
from jsonschema import Draft202012Validator

from daggy.errors import SpecError
from daggy.spec import RunSpec, parse, schema
from daggy.spec.sizes import mebibytes, resources_of

BYTES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@given(st.integers(0, 10**6), st.sampled_from("KMGT"), st.sampled_from(["", "iB"]))
def test_sizes_are_powers_of_1024(count: int, unit: str, more: str) -> None:
    assert mebibytes(f"{count}{unit}{more}") == count * BYTES[unit] / (1 << 20)


def read(resources: object, **more: Any) -> RunSpec:
    """A spec of one task with these resources; it is checked by the schema too, if it is good."""
    spec = {"tasks": {"t": {"details": {"command": ["x"]}, "resources": resources}}, **more}
    made = parse(json.dumps(spec).encode(), directory="/")
    Draft202012Validator(schema()).validate(spec)
    return made


@pytest.mark.parametrize(("size", "amount"), [("4G", 4096), ("1.5GiB", 1536), ("512M", 512), ("1T", 1048576)])
def test_memory_is_read_as_a_size(size: str, amount: float) -> None:
    assert read({"memory": size}).tasks[0].policy.resources == (("cores", 1.0), ("memory_mb", amount))
    assert read({"memory": size}).tasks[0].policy == read({"memory_mb": amount}).tasks[0].policy
    limited = read({"memory": size}, limits={"memory": "2T"}, defaults={"resources": {"memory": "1K"}})
    assert (limited.limits, dict(limited.tasks[0].policy.resources)["memory_mb"]) == ({"memory_mb": 2097152}, amount)


@pytest.mark.parametrize("tasks", [1, 5000])
def test_sizes_of_many_plain_tasks(tasks: int) -> None:
    entry = {"details": {"command": ["x"]}, "resources": {"memory": "4G", "gpus": 1}}
    data = json.dumps({"tasks": {f"t{number}": entry for number in range(tasks)}}).encode()
    resources = {template.policy.resources for template in parse(data, directory="/")}
    assert resources == {(("cores", 1.0), ("gpus", 1.0), ("memory_mb", 4096.0))}


@pytest.mark.parametrize("tasks", [1, 5000])
@pytest.mark.parametrize(
    ("resources", "problem"),
    [
        ({"memory_mb": "4G"}, """memory_mb: a string where a number of MiB is expected: '4G'; write "memory": "4G\""""),
        ({"memory_mb": "4 GB"}, """'4 GB'; write a number, or "memory": "4G\""""),
        ({"memory": 4096}, """memory: a number where a size is expected; write "4096M", or give MiB as "memory_mb\""""),
        ({"memory": "4GB"}, """memory: '4GB' is not a size; write "512M", "4G" or "1T": powers of 1024"""),
        ({"memory": "999999999999999T"}, "is not a size"),
        ({"memory": "1G", "memory_mb": 1}, "memory: 'memory' and 'memory_mb' mean the same; give one of the two"),
        ({"gpus": "1G"}, "gpus: a string where a number is expected"),
    ],
)
def test_other_sizes_are_refused_with_the_mend(resources: dict[str, Any], problem: str, tasks: int) -> None:
    entry = {"details": {"command": ["x"]}, "resources": resources}
    data = json.dumps({"tasks": {f"t{number}": entry for number in range(tasks)}}).encode()
    with pytest.raises(SpecError) as refused:
        parse(data, directory="/")
    assert problem in str(refused.value).splitlines()[0]


def test_plain_and_other_tasks_take_the_same_resources() -> None:
    wrongs: list[dict[str, float | str]] = [
        {"memory": 1.0},
        {"gpus": "1G"},
        {"memory": "1G", "memory_mb": 1.0},
        {"memory": "x"},
    ]
    for wrong in wrongs:
        with pytest.raises(ValueError, match="'"):
            resources_of(wrong)
    assert resources_of({"memory": "1G", "a": 2.0}) == {"memory_mb": 1024.0, "a": 2.0}

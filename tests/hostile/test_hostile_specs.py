"""Specs whose refusal, or whose reading, once took by the square of their size, or longer."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from daggy.errors import SpecError
from daggy.plan import plan
from daggy.spec import keys, parse
from tests.hostile.test_hostile_targets import patience

RUN = {"details": {"command": ["x"]}}
MANY = 20_000


def numbered(name: str, value: object, count: int = MANY) -> dict[str, object]:
    return {f"{name}{number}": value for number in range(count)}


DOCUMENTS: dict[str, Callable[[], Any]] = {
    "keys at the top": lambda: {"tasks": {"a": RUN}, **numbered("taskx", 1)},
    "keys of tasks": lambda: {"tasks": {"a": {**RUN, **numbered("max_retrys", 1)}}},
    "keys of details": lambda: {"tasks": {"a": {"details": {"command": ["x"], **numbered("shel", 1)}}}},
    "parameters that are not there": lambda: {
        "parameters": numbered("P", ["1"], 5000),
        "tasks": {f"t{number}": {"details": {"command": [f"{{{{ Q{number} }}}}"]}} for number in range(5000)},
    },
    "expanded parameters that are not there": lambda: {
        "parameters": numbered("P", ["1"], 5000),
        "tasks": {f"t{number}": {**RUN, "expand": [f"Q{number}"]} for number in range(5000)},
    },
    "zipped parameters that are not there": lambda: {
        "parameters": numbered("P", ["1"], 5000),
        "zip": [[f"Q{number}", f"R{number}"] for number in range(5000)],
        "tasks": {"a": RUN},
    },
    "unused parameters that stand in texts": lambda: {
        "parameters": numbered("P", ["1"], 10_000),
        "tasks": {f"t{number}": {"details": {"command": [f"P{number}"]}} for number in range(10_000)},
    },
    "unused parameters of a task that stand in its texts": lambda: {
        "tasks": {
            "a": {
                "parameters": numbered("P", ["1"], 20_000),
                "details": {"command": ["x", *(f"P{number}" for number in range(20_000))]},
            }
        },
    },
    "names that are matched twice": lambda: {
        "parameters": {"P": ["1"]},
        "tasks": {"b": RUN, "a": {**RUN, "parents": [{"task": "b", "match": [f"P{n // 2}" for n in range(100_000)]}]}},
    },
    "parents that are not there": lambda: {
        "tasks": {f"t{number}": {**RUN, "parents": [f"s{number}"]} for number in range(3000)}
    },
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_large_document_is_refused_soon_whatever_is_wrong_with_it(name: str) -> None:
    data = json.dumps(DOCUMENTS[name]()).encode()
    with patience(), pytest.raises(SpecError) as caught:
        plan(parse(data, directory="/"))
    assert caught.value.problems


def test_many_keys_given_twice_are_told_soon() -> None:
    members = ",".join(f'"k{number // 2}": 1' for number in range(200_000))
    with patience(), pytest.raises(SpecError, match="the key 'k0' is given twice"):
        parse(f"{{{members}}}".encode(), directory="/")


def test_nothing_is_compared_for_problems_that_are_only_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []

    def nearest(word: str, known: list[str]) -> str:
        compared.append(word)
        return ""

    monkeypatch.setattr(keys, "nearest", nearest)
    with pytest.raises(SpecError, match="19000 more problems"):
        parse(json.dumps(DOCUMENTS["keys of tasks"]()).encode(), directory="/")
    assert len(compared) == 1000


def test_what_was_meant_is_said_until_patience_is_out() -> None:
    tasks = {f"t{number}": {"details": {"command": [f"{{{{ DAT{number} }}}}"]}} for number in range(1000)}
    data = json.dumps({"parameters": numbered("DATE", ["1"], 1000), "tasks": tasks}).encode()
    with pytest.raises(SpecError) as caught:
        parse(data, directory="/")
    mends = [problem.mend for problem in caught.value.problems if problem.message.startswith("no parameter")]
    assert mends[0] == "did you mean 'DATE0'?"
    assert mends[-1] == "give it in `parameters`"


def test_few_parameters_that_were_meant_are_found_among_many_that_nothing_uses() -> None:
    document = {"parameters": numbered("P", ["1"], 1000), "tasks": {"a": {"details": {"command": ["x", "P7"]}}}}
    with pytest.raises(SpecError) as caught:
        parse(json.dumps(document).encode(), directory="/")
    assert [problem.path for problem in caught.value.problems] == ["parameters.P7"]

"""Many plain tasks become columns instead of templates, and mean the same."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import event, given, strategies as st

from daggy.errors import SpecError
from daggy.plan import plan
from daggy.spec import parse, source, templates
from daggy.spec.packed import PackedTemplates

NAMES = [f"t{number}" for number in range(6)]
LINKS = st.lists(st.sampled_from([*NAMES, "nobody"]), max_size=3)
PLAIN = st.fixed_dictionaries(
    {"details": st.fixed_dictionaries({"command": st.lists(st.sampled_from(["x", "é"]), min_size=1, max_size=2)})},
    optional={
        "parents": LINKS,
        "children": LINKS,
        "description": st.sampled_from(["", "said"]),
        "max_retries": st.integers(0, 2),
        "resources": st.fixed_dictionaries({"cores": st.sampled_from([1, 2])}),
    },
)
UNUSUAL = st.sampled_from(
    [
        {"details": {"command": ["{{ attempt }}"]}},
        {"details": {"command": ["{{ N }}"]}},
        {"details": {"command": ["x"]}, "parents": [{"task": "t0", "on": "ended"}]},
        {"details": {"command": ["x"]}, "expand": ["N"]},
        {"details": {}},
    ]
)
SPECS = st.fixed_dictionaries(
    {
        "tasks": st.dictionaries(st.sampled_from(NAMES), PLAIN, min_size=1)
        | st.dictionaries(st.sampled_from(NAMES), PLAIN | UNUSUAL, min_size=1)
    },
    optional={
        "limits": st.just({"cores": 1}),
        "parameters": st.just({"N": [1, 2]}),
        "templating": st.sampled_from(["none", "literal"]),
        "defaults": st.sampled_from([{"description": "all"}, {"details": {"timeout": 5}, "max_retries": 1}]),
    },
)


def read(data: bytes, least: int, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, bool]:
    """Return what a spec and its plan come to, or what is wrong with them; and whether it was packed."""
    packed = False
    with monkeypatch.context() as patch:
        patch.setattr(source, "SMALL", 0)
        patch.setattr(source, "_MANY", 2)
        patch.setattr(templates, "LARGE", least)
        try:
            spec = parse(data, directory="/base")
            packed = isinstance(spec.tasks, PackedTemplates)
            made = plan(spec)
        except SpecError as error:
            return [(problem.path, problem.message) for problem in error.problems], packed
    blocks = [
        [[*block.templates], [*block.rows], block.policies, np.asarray(block.policy_of).tolist()]
        for block in made.blocks
    ]
    return ([*spec.tasks], spec.warnings, made.digest, blocks), packed


@given(SPECS)
def test_columns_mean_what_templates_mean(document: Any) -> None:
    data = json.dumps(document).encode()
    with pytest.MonkeyPatch.context() as monkeypatch:
        one, is_packed = read(data, 1, monkeypatch)
        other, is_made = read(data, 1 << 30, monkeypatch)
    assert one == other
    assert not is_made
    event("packed" if is_packed else "made")


def test_many_plain_tasks_are_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = {name: {"details": {"command": ["x"]}, "parents": ["t0"] if name != "t0" else []} for name in NAMES}
    _, packed = read(json.dumps({"tasks": tasks}).encode(), len(NAMES), monkeypatch)
    assert packed
    _, packed = read(json.dumps({"tasks": tasks}).encode(), len(NAMES) + 1, monkeypatch)
    assert not packed

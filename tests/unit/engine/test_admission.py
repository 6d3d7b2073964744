"""Plans that a pool may not run are refused, also where one task of very many is the reason."""

from __future__ import annotations

import json
from typing import Any

import pytest

from daggy.cli.dry import OfflinePools
from daggy.engine.admission import MOST_TEMPLATES, check_generated, check_needs
from daggy.engine.dispatch import PoolLink
from daggy.engine.pool import Pool
from daggy.errors import SpecError
from daggy.plan import plan
from daggy.spec import parse

POOLS = OfflinePools({"a": PoolLink(Pool("a")), "b": PoolLink(Pool("b"), evals=True)}, "a")
CALL = {"details": {"function": "m:f"}}


def spec(tasks: dict[str, Any]) -> Any:
    return parse(json.dumps({"tasks": tasks}).encode(), directory="/")


@pytest.mark.parametrize("others", [1, MOST_TEMPLATES + 1])
def test_source_is_refused_however_many_tasks_there_are_beside_it(others: int) -> None:
    tasks = {f"t{number}": CALL for number in range(others)}
    good = spec({**tasks, "source": {"details": {"eval": "1"}, "pool": "b"}})
    check_needs(plan(good), POOLS)
    check_generated(good, POOLS)
    bad = spec({**tasks, "source": {"details": {"eval": "1"}}})
    with pytest.raises(SpecError, match="executes no Python source") as error:
        check_needs(plan(bad), POOLS)
    assert [problem.path for problem in error.value.problems] == ["tasks.source.details.eval"]
    with pytest.raises(SpecError, match="executes no Python source"):
        check_generated(bad, POOLS)

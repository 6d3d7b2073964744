"""Causes of tasks that run again name parents that do."""

import re
from collections import defaultdict

import numpy as np
from hypothesis import assume, given, strategies as st

from daggy.plan import plan
from daggy.run import states
from daggy.run.causes import SEPARATE, invalidations
from daggy.run.commands import on_requeue
from daggy.run.downstream import downstream
from daggy.run.run import Run, moves_of
from daggy.spec.model import RunSpec
from tests.unit.plan.naive import edges_in, edges_of, expand, lacking, specs
from tests.unit.run.kit import answer, begun, drain, now, take, tasks


def completed(spec: RunSpec) -> Run:
    run = Run(1, plan(spec), created=0.0, epoch=1)
    run.frontier.state[:] = states.COMPLETED
    run.frontier.recount()
    run.begin()
    return run


@given(specs(), st.data())
def test_a_cause_names_a_parent_that_runs_again(spec: RunSpec, data: st.DataObject) -> None:
    written = expand(spec)
    assume(not lacking(spec, written, edges_of(spec, written)))
    run = completed(spec)
    parents = defaultdict(set)
    for child, parent, _ in edges_in(run.plan):
        parents[child].add(parent)
    chosen = np.array(sorted(data.draw(st.sets(st.integers(0, run.plan.size - 1), min_size=1))), np.int64)
    again = downstream(run, chosen)
    built_on = np.setdiff1d(again, chosen)
    causes = invalidations(run, again, built_on)
    assert sorted(index for indexes in causes.values() for index in indexes.tolist()) == built_on.tolist()
    running = set(run.plan.names(again.tolist()))
    for cause, indexes in causes.items():
        for index in indexes.tolist():
            mine = running & parents[run.plan.name(index)]
            one, template = (
                re.fullmatch("invalidated: (.+) runs again", cause, re.DOTALL),
                re.fullmatch(r"invalidated: (?:[\d,]+ tasks of|its parents in) '(.+)' run again", cause),
            )
            assert (one and one[1] in mine) or (
                template and template[1] in {run.plan.template_name(run.plan.index(name)) for name in mine}
            ), (cause, mine)


def cause_of(run: Run, name: str) -> str:
    return next(moves_of(run, run.plan.index(name))).cause


def test_what_is_not_upstream_is_not_named() -> None:
    run = begun(tasks(a=[], b=[], c=[], after_a=["a"], after_b=["b"], end=["after_a"]))
    drain(run)
    on_requeue(run, np.array([run.plan.index(name) for name in ("a", "b", "c")], np.int64), now())
    assert cause_of(run, "after_a") == "invalidated: a runs again"
    assert cause_of(run, "after_b") == "invalidated: b runs again"
    assert cause_of(run, "end") == "invalidated: after_a runs again"


def test_generators_and_what_they_generated_are_named() -> None:
    run = begun(tasks(make={"is_generator": True}, after=["make"]))
    take(run)
    answer(run, "make", inner=[])
    drain(run)
    on_requeue(run, np.array([run.plan.index("make/inner")], np.int64), now())
    assert cause_of(run, "after") == "invalidated: make/inner runs again"
    drain(run)
    on_requeue(run, np.array([run.plan.index("make")], np.int64), now())
    assert cause_of(run, "make/inner") == "invalidated: its generator make runs again"
    assert cause_of(run, "after") == "invalidated: make runs again"


def test_very_many_parents_are_named_together() -> None:
    names = [f"t{number}" for number in range(SEPARATE + 1)]
    run = begun(tasks(**{name: [] for name in names}, end=names))
    drain(run)
    on_requeue(run, np.arange(len(names), dtype=np.int64), now())
    assert cause_of(run, "end") == "invalidated: tasks that it waits for run again"

"""Rows of a scheduler's choice alone: every machine of a pool is full, one task ends, and its place is given away."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from daggy.engine.pool import Candidate, Grant, Pool
from daggy.executor import Machine
from daggy.plan import plan
from daggy.run.run import Run
from daggy.run.states import Now
from daggy.spec.model import Details, Policy, RunSpec, Template
from daggy.spec.parameters import RangeValues
from tests.bench.goals import Measured
from tests.bench.sizes import Sizes

CORES = 16

KINDS = 10
"""Kinds of needs that have ready tasks."""

ENDS = 60


def choose(sizes: Sizes, _: Path) -> Iterator[tuple[str, Measured]]:
    """Measure a choice in a pool that packs, and in one that spreads."""
    machines = 256 if sizes.unit >= 1_000_000 else 4
    for name, is_spread in (("pack", False), ("spread", True)):
        seconds = [_choice(machines, is_spread=is_spread) for _ in range(sizes.repeats)]
        told = f"{machines} machines of {CORES} cores; median of {ENDS} ends, the best of {sizes.repeats} times"
        yield f"choose.{name}", Measured(min(seconds), told)


def _choice(machines: int, *, is_spread: bool) -> float:
    """Return the CPU seconds of one choice after one task has ended, everything being full; the median of some."""
    needs = [(("cores", 1.0), (f"r{kind}", 1.0)) for kind in range(KINDS)]
    pool = Pool("p", is_spread=is_spread)
    totals = {"cores": float(CORES), **{f"r{kind}": 1000.0 for kind in range(KINDS)}}
    pool.set_capacity([Machine(f"m{number}", totals) for number in range(machines)])
    run = Run(
        1, plan(RunSpec(tuple(map(_template, needs)), parameters={"N": RangeValues.of(0, 1)})), created=0, epoch=1
    )
    run.begin()
    candidates = [Candidate(run, run.frontier.queues[number]) for number in run.frontier.ready]
    running: list[Grant] = []
    while True:
        granted = _turn(pool, candidates, running)
        if not granted:
            break
    times = []
    for number in range(ENDS):
        ended = running.pop(number * 7919 % len(running))
        ended.share.running -= 1
        pool.changed(ended.machine)
        began = time.process_time()
        granted = _turn(pool, candidates, running)
        times.append(time.process_time() - began)
        assert granted == 1
    return median(times)


def _template(needs: tuple[tuple[str, float], ...]) -> Template:
    every = RangeValues.of(0, 100_000)
    name = needs[1][0]
    return Template(name, Details(("true",)), Policy(resources=needs), parameters={"N": every}, uses=("N",))


def _turn(pool: Pool, candidates: list[Candidate], running: list[Grant]) -> int:
    """Hand out what there is room for, as if it started at once; return how many tasks that was."""
    count = 0
    for grant in pool.choose(candidates, Now(0.0, 0.0)):
        grant.share.running += grant.tasks
        pool.changed(grant.machine)
        running += [grant] * grant.tasks
        count += grant.tasks
    return count

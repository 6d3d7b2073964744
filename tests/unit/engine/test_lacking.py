"""Who waits for a machine is told what each lacks, machines that lack the same in one line."""

from __future__ import annotations

import pytest

from daggy.cli.explain import lines
from daggy.engine.lacking import lacking
from daggy.engine.pool import Pool
from daggy.engine.shares import Needs
from daggy.executor import Machine

ABSENCE = "it has none"
WALL = 1000.0
CORES: Needs = (("cores", 4.0),)


def used(*machines: Machine, cores: float = 6.0) -> Pool:
    """Return a pool of machines that run one task each."""
    pool = Pool("lab")
    pool.set_capacity(machines)
    for machine in pool.machines.values():
        pool.share(machine, (("cores", cores),)).running = 1
    return pool


def told(pool: Pool, needs: Needs = CORES, longest: float = 600.0) -> list[str]:
    return list(lines("queued", list(lacking(pool, needs, longest, WALL, ABSENCE))))


def large(name: str, *, until: float | None = None, labels: tuple[str, ...] = (), slots: int | None = None) -> Machine:
    return Machine(name, {"cores": 8.0}, until=until, labels=frozenset(labels), slots=slots)


def test_machines_that_lack_the_same_are_one_line() -> None:
    small, away = Machine("d", {"cores": 7.0, "gpus": 1.0}), Machine("e", {"cores": 64.0}, open=False)
    assert told(used(large("a"), large("b"), small, large("c"), large("f"), away)) == [
        "5 machines of pool 'lab' (a, b, d, …): at most 2 of 8 cores free, 4 needed",
        "1 machine of pool 'lab' (e): away",
    ]


@pytest.mark.parametrize(
    ("machines", "needs", "line"),
    [
        ([large("a", until=WALL + 60)], (("cores", 1.0),), "(a): there for 1 min 0 s, and it may take 10 min 0 s"),
        ([large("a", slots=1)], (("cores", 1.0),), "(a): 0 of 1 slots free, 1 needed"),
        ([large("a")], (("cores", 1.0), ("ssd", 1.0)), "(a): 0 of 0 ssd free, 1 needed"),
        ([large("a", labels=("ssd",))], (("cores", 3.0), ("ssd", 1.0)), "(a): 2 of 8 cores free, 3 needed"),
        ([large("a")], (("cores", 3.0), ("gpus", 2.0)), "(a): 2 of 8 cores free, 3 needed; 0 of 0 gpus free, 2 needed"),
    ],
)
def test_each_way_of_not_fitting_is_told(machines: list[Machine], needs: Needs, line: str) -> None:
    assert told(used(*machines), needs) == [f"1 machine of pool 'lab' {line}"]


def test_a_drained_machine_is_told_apart() -> None:
    pool = used(large("a"), large("b", until=WALL + 3600))
    pool.drained.add("a")
    pool.set_capacity([machine.machine for machine in pool.machines.values()])
    assert told(pool, (("cores", 3.0),)) == [
        "1 machine of pool 'lab' (b): 2 of 8 cores free, 3 needed",
        "1 machine of pool 'lab' (a): drained",
    ]


def test_nothing_is_told_if_one_machine_would_take_it_unless_it_is_kept_for_another() -> None:
    pool = used(large("a"), large("b"), cores=4.0)
    assert list(lacking(pool, CORES, 1.0, WALL, ABSENCE)) == []
    pool.machines["b"].held = True
    assert told(pool) == ["pool 'lab' keeps b free for a task that waited longer"]


def test_a_pool_without_machines_says_so() -> None:
    assert told(Pool("lab")) == [ABSENCE]

"""How much is measured: enough for figures that mean something, or just enough to see that the benches work."""

from __future__ import annotations

from attrs import frozen


@frozen
class Sizes:
    """Tasks, rounds and bytes of each bench.

    Args:
        processes: Processes of one run.
        links: Tasks of a chain of `true`.
        naps: Tasks of a chain whose machine is idle in between.
        rounds: How often a thing and what it is compared with are run in turn.
        repeats: How often a thing that is compared with nothing is run.
        large: Bytes of the large main process.
        unit: What 1M means.
        engine: Tasks of a drain through the whole engine.
        runs: Runs that a server has kept.
        small: Small runs that are submitted at once.
        followed: Tasks of a run that is followed.
        day: Runs of a day.
    """

    processes: int
    links: int
    naps: int
    rounds: int
    repeats: int
    large: int
    unit: int
    engine: int
    runs: int
    small: int
    followed: int
    day: int


FULL = Sizes(
    processes=6_000,
    links=500,
    naps=200,
    rounds=3,
    repeats=3,
    large=3 << 30,
    unit=1_000_000,
    engine=1_000_000,
    runs=100_000,
    small=1_000,
    followed=100_000,
    day=100_000,
)
QUICK = Sizes(
    processes=40,
    links=10,
    naps=5,
    rounds=1,
    repeats=1,
    large=1 << 26,
    unit=2_000,
    engine=2_000,
    runs=300,
    small=30,
    followed=3_000,
    day=50,
)

"""How long whoever asks a server waits while it is at work: a million tasks drain, or come in."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import cycle, islice
from pathlib import Path

from attrs import define, field

from tests.bench import specs
from tests.bench.asking import Asker, quantile, spread
from tests.bench.fresh import BenchError
from tests.bench.goals import Measured
from tests.bench.machine import load
from tests.bench.service import Service, service
from tests.bench.sizes import Sizes

KINDS = {"run": "", "page": "/tasks?limit=100", "page by state": "/tasks?limit=100&state=completed&state=errored"}
"""What is asked about a run."""

HEAD = '{"directory": "/", "tasks": {'


@define
class Waits:
    """Seconds that whoever asked has waited, by what was asked for."""

    seconds: dict[str, list[float]] = field(factory=lambda: {kind: [] for kind in KINDS})

    def ask(self, asker: Asker, run: int, is_over: Callable[[], bool]) -> None:
        """Ask about a run in turn, without a pause, until it is over, and at least once each."""
        for count, (kind, path) in enumerate(cycle(KINDS.items())):
            if count >= len(KINDS) and is_over():
                return
            self.seconds[kind].append(asker.timed(f"/runs/{run}{path}"))

    def worst(self) -> float:
        """Return the highest p99 of any kind."""
        return max(quantile(each, 0.99) for each in self.seconds.values())


def waits(sizes: Sizes, directory: Path) -> Iterator[tuple[str, Measured]]:
    """Measure what answers take while a diamond of no-ops drains, and while processes run."""
    for row, kept, executor, count in (
        ("answer.memory", False, "noop", sizes.unit),
        ("answer.sqlite", True, "noop", sizes.unit),
        ("answer.processes", True, "fork", sizes.processes),
    ):
        with service(directory / "state", kept=kept, executor=executor) as server:
            windows = [_while_draining(server, count) for _ in range(sizes.repeats)]
        shutil.rmtree(directory / "state")
        yield row, best(windows)


def _while_draining(server: Service, count: int) -> Waits:
    """Submit a diamond, and ask about it until it has ended."""
    with server.asking() as asker:
        run = asker.submit(specs.placed(specs.diamond(count)))
    return _about(server, run)


def _about(server: Service, run: int) -> Waits:
    """Ask about a run until it has ended."""
    found = Waits()
    with server.asking() as asker, server.asking() as other:
        found.ask(asker, run, lambda: has_ended(other, run))
        require_completed(asker, run)
    return found


def written(sizes: Sizes, directory: Path) -> Iterator[tuple[str, Measured]]:
    """Measure what answers take while a million hand-written tasks come in, and while they drain."""
    spec = "".join([HEAD, *islice(specs.explicit(sizes.unit), 1, None)]).encode()
    coming, draining = [], []
    for _ in range(min(2, sizes.repeats)):
        with service(directory / "state", kept=True) as server, server.asking() as asker:
            known = asker.submit(specs.placed(specs.diamond(sizes.unit // 10)))
            require_completed(asker, known)
            coming.append(Waits())
            run = _submitted(server, spec, partial(coming[-1].ask, asker, known))
            draining.append(_about(server, run))
        shutil.rmtree(directory / "state")
    yield "answer.coming", best(coming, f"; {len(spec) / 1e6:.0f} MB")
    yield "answer.written", best(draining)


def _submitted(server: Service, spec: bytes, meanwhile: Callable[[Callable[[], bool]], None]) -> int:
    """Submit a spec, and do something else until that is done; return the run's id."""
    runs: list[int] = []

    def submit() -> None:
        with server.asking() as asker:
            runs.append(asker.submit(spec))

    sending = threading.Thread(target=submit)
    sending.start()
    meanwhile(lambda: not sending.is_alive())
    sending.join()
    if not runs:
        raise BenchError("the submission failed")
    return runs[0]


def best(windows: Sequence[Waits], more: str = "") -> Measured:
    """Return the window that others on the machine disturbed least, and how the others compare."""
    least = min(windows, key=Waits.worst)
    asked = sum(map(len, least.seconds.values()))
    worst = max(one.worst() for one in windows) * 1e3
    told = f"{spread(least.seconds)}; {asked} requests; best of {len(windows)}, worst {worst:.1f}"
    return Measured(least.worst(), f"{told}; load {load():.1f}{more}")


def has_ended(asker: Asker, run: int) -> bool:
    """Return whether a run has."""
    return asker.get(f"/runs/{run}")["ended"] is not None


def require_completed(asker: Asker, run: int) -> None:
    """Wait for a run's end.

    Raises:
        BenchError: not everything completed.
    """
    while not has_ended(asker, run):
        time.sleep(0.01)
    told = asker.get(f"/runs/{run}")
    if told["state"] != "completed":
        raise BenchError(f"run {run} ended {told['state']}: {told['counts']}")

"""An executor that runs nothing: every launch is finished at once. For benches, docs and tests of what is above it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import itemgetter
from typing import ClassVar

import numpy as np
import trio
from attrs import frozen

from daggy.errors import Problem
from daggy.executor import REPORT, Executor, Kind, Launches, Machine, Reports, Request, Rows, Site, Stop, Work

_INDEX = itemgetter(0)
_ATTEMPT = itemgetter(1)


@frozen
class NoopSettings:
    """Settings of `NoopExecutor`: it says that it has so many machines, each with `workers` cores."""

    workers: int = 1_000_000
    machines: int = 1


class NoopExecutor(Executor):
    """Finishes every launch with reason OK, without output, as soon as it is asked; reports come one a wake-up."""

    Settings: ClassVar[type] = NoopSettings

    def __init__(self, settings: NoopSettings, site: Site) -> None:
        """Keep what is given; start nothing."""
        names = [site.pool, *(f"{site.pool}-{number}" for number in range(1, settings.machines))]
        self._machines = [Machine(name, {"cores": float(settings.workers)}) for name in names]
        self._places = {name: place for place, name in enumerate(names)}

    def capacity(self) -> Sequence[Machine]:
        """Return its machines, the first named as the pool."""
        return self._machines

    @property
    def fixed(self) -> bool:
        """Return True: the machines never go."""
        return True

    def check(self, work: Work) -> Iterable[Problem]:  # noqa: ARG002 - the protocol's
        """Return nothing: all can be done by not doing it."""
        return ()

    async def recover(self, epoch: int) -> Reports:  # noqa: ARG002 - the protocol's
        """Return no reports: nothing outlives this executor."""
        await trio.lowlevel.checkpoint()
        return Reports(np.zeros(0, REPORT))

    async def run(
        self,
        requests: trio.MemoryReceiveChannel[Request],
        report: Callable[[Reports], None],
        changed: Callable[[], None],  # noqa: ARG002 - the protocol's
    ) -> None:
        """Report every launch as finished until the channel ends or a Stop comes."""
        async for first in requests:
            stopped = False
            finished: list[Rows] = []
            for request in _arrived(first, requests):
                if isinstance(request, Launches):
                    finished.append(finish(request, time.time(), self._places[request.machine]))
                elif isinstance(request, Stop):
                    stopped = True
            if finished:
                data = bytearray().join(rows.tobytes() for rows in finished)  # far cheaper than joining field by field
                report(Reports(np.frombuffer(data, REPORT)))
            if stopped:
                return

    async def read_log(self, run: int, version: int, row: Rows, stream: str, offset: int, limit: int) -> bytes:  # noqa: ARG002
        """Return nothing: nothing was written."""
        await trio.lowlevel.checkpoint()
        return b""


def finish(batch: Launches, now: float, place: int = 0) -> Rows:
    """Return a FINISHED report, reason OK, for each launch of a batch: an array of REPORT of the same length.

    Args:
        batch: What was to be launched.
        now: Wall clock, seconds; both start and end of each attempt.
        place: The machine's.
    """
    count = len(batch.launches)
    rows = np.zeros(count, REPORT)
    rows["kind"] = Kind.FINISHED
    rows["run"] = batch.run
    rows["version"] = batch.version
    rows["epoch"] = batch.epoch
    row = rows["row"]
    row["index"] = np.fromiter(map(_INDEX, batch.launches), np.uint32, count)
    row["attempt"] = np.fromiter(map(_ATTEMPT, batch.launches), np.uint32, count)
    row["place"] = place
    row["started"] = now
    row["ended"] = now
    return rows


def _arrived(first: Request, requests: trio.MemoryReceiveChannel[Request]) -> Iterator[Request]:
    yield first
    while True:
        try:
            yield requests.receive_nowait()
        except (trio.WouldBlock, trio.EndOfChannel):
            return

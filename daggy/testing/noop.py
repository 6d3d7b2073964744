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
    """Settings of `NoopExecutor`: `workers` is how many tasks it says it can run at once, as `cores`."""

    workers: int = 1_000_000


class NoopExecutor(Executor):
    """Finishes every launch with reason OK, without output, as soon as it is asked; reports come one a wake-up."""

    Settings: ClassVar[type] = NoopSettings

    def __init__(self, settings: NoopSettings, site: Site) -> None:
        """Keep what is given; start nothing."""
        self._machine = Machine(site.pool, {"cores": float(settings.workers)})

    def capacity(self) -> Sequence[Machine]:
        """Return one machine, named as the pool."""
        return (self._machine,)

    @property
    def fixed(self) -> bool:
        """Return True: the machine never goes."""
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
                    finished.append(finish(request, time.time()))
                elif isinstance(request, Stop):
                    stopped = True
            if finished:
                report(Reports(finished[0] if len(finished) == 1 else np.concatenate(finished)))
            if stopped:
                return

    async def read_log(self, run: int, version: int, row: Rows, stream: str, offset: int, limit: int) -> bytes:  # noqa: ARG002
        """Return nothing: nothing was written."""
        await trio.lowlevel.checkpoint()
        return b""


def finish(batch: Launches, now: float) -> Rows:
    """Return a FINISHED report, reason OK, for each launch of a batch: an array of REPORT of the same length.

    Args:
        batch: What was to be launched.
        now: Wall clock, seconds; both start and end of each attempt.
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

"""Keeps a pool's executor at work: makes it, takes what it recovers, runs it, and makes it again whenever it fails."""

from __future__ import annotations

import logging
from collections.abc import Callable

import trio
from attrs import define, field

from daggy.attempt import Reports
from daggy.engine.batches import checked, fault
from daggy.engine.demands import Demands
from daggy.engine.dispatch import PoolLink
from daggy.executor import Executor, Request
from daggy.seldom import Seldom

LOG = logging.getLogger("daggy.engine")

FIRST_PAUSE = 0.1
"""Half of the seconds before an executor that failed is made again; doubled each time."""

LONGEST_PAUSE = 10.0
"""Seconds before an executor that keeps failing is made again."""


@define(eq=False)
class Supervisor:
    """Runs a link's executor until it is told to stop.

    Args:
        link: The pool, and the way to its executor.
        make: Makes an executor.
        epoch: The engine's.
        stop_asked: Set when executors are told to stop.
        recovered: Takes what the first executor recovered.
        succeeded: Takes what a later one recovered, and why its predecessor has gone.
        report: Takes each batch of reports.
        changed: Called when the pool's machines may be others.
    """

    link: PoolLink
    make: Callable[[], Executor]
    epoch: int
    stop_asked: trio.Event
    recovered: Callable[[Reports], None]
    succeeded: Callable[[Reports, str], None]
    report: Callable[[Reports], None]
    changed: Callable[[], None]
    _seldom: Seldom = field(factory=Seldom)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run it; `started` once the first one is at work.

        Raises:
            Exception: whatever the first one raised before it was at work.
        """
        link, message, pause = self.link, "", FIRST_PAUSE
        name, is_last = link.pool.name, False
        while not is_last:
            began = trio.current_time()
            is_last = self.stop_asked.is_set()  # then it is made only to end what its predecessor left running
            try:
                await self._run_one(message, task_status)
                message = f"the executor of pool '{name}' ended unexpectedly"
                is_last = self.stop_asked.is_set()
            except Exception as error:  # a plug-in is isolated: whatever it raises, the runs survive it
                if link.executor is None:
                    raise
                message = f"the executor of pool '{name}' failed: {fault(error)}"
                if is_last:
                    LOG.warning("%s; Daggy stops, and what runs there may go on", message)
            finally:
                link.requests = None
            if not self.stop_asked.is_set():
                link.fault = message
                if said := self._seldom.of(message, trio.current_time()):
                    LOG.warning("%s; starting another one", said)
                lasted = trio.current_time() - began > LONGEST_PAUSE
                pause = FIRST_PAUSE if lasted else min(LONGEST_PAUSE, pause * 2)
                with trio.move_on_after(pause):
                    await self.stop_asked.wait()

    async def _run_one(self, message: str, task_status: trio.TaskStatus[None]) -> None:
        link, executor = self.link, self.make()
        known = checked(await executor.recover(self.epoch), recovered=True)
        link.pool.is_spread = executor.placement == "spread"
        link.pool.set_capacity(executor.capacity())
        is_first, link.executor = link.executor is None, executor
        send, receive = trio.open_memory_channel[Request](float("inf"))
        link.requests, link.demands = send, Demands()
        if is_first:
            self.recovered(known)
        else:
            self.succeeded(known, message)
        if is_first:
            task_status.started()
        if link.stop is not None:
            send.send_nowait(link.stop)
        await executor.run(receive, self.report, self.changed)

"""The fork executor: carries launches to launchers on this machine, as many of them as it takes to keep up."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import ClassVar

import numpy as np
import trio

from daggy.errors import Problem
from daggy.executor import (
    REPORT,
    Ack,
    Executor,
    Kill,
    Launches,
    Machine,
    Recall,
    Reports,
    Request,
    Rows,
    Site,
    Stop,
    Work,
)
from daggy.launcher import logs
from daggy.launcher.connection import Met
from daggy.launcher.recovery import Remains, acknowledge, recover
from daggy_fork.launchers import LocalLaunchers, greeting
from daggy_fork.settings import ForkSettings


class ForkExecutor(Executor):
    """Runs tasks as processes on this machine, each in a session of its own."""

    Settings: ClassVar[type] = ForkSettings

    def __init__(self, settings: ForkSettings, site: Site) -> None:
        """Keep what is given; start nothing."""
        self._settings = settings
        self._site = site
        totals = {**settings.resources, "cores": float(settings.workers), "memory_mb": float(settings.memory_mb)}
        self._machine = Machine(socket.gethostname(), totals)
        self._epoch = 0
        self._remains: dict[int, Remains] = {}
        self._met: list[Met] = []
        self._launchers: LocalLaunchers | None = None

    def capacity(self) -> Sequence[Machine]:
        """Return this machine."""
        return (self._machine,)

    @property
    def fixed(self) -> bool:
        """Return True: this machine is all there is."""
        return True

    @property
    def trouble(self) -> str:
        """Why no task can be started at this moment; empty if all is well."""
        return self._launchers.trouble if self._launchers else ""

    def check(self, work: Work) -> Iterable[Problem]:
        """Return what this executor does not know: options, and ways of running that are not a process."""
        if work.options not in (None, {}):
            yield Problem("details.options.fork", "the executor 'fork' has no options", "remove them")
        if work.kind not in ("command", "shell"):
            yield Problem(
                f"details.{work.kind}", f"the executor 'fork' cannot run a '{work.kind}'", "use 'command' or 'shell'"
            )

    async def recover(self, epoch: int) -> Reports:
        """Return what earlier launchers of this directory finished, what those that live on still run, and what dead
        ones did not finish as LOST.
        """
        self._epoch = epoch
        site = self._site
        dead, self._met = await recover(site, epoch, partial(greeting, self._settings, site, epoch))
        self._remains = {one.launcher: one for one in dead}
        known = [*(one.reports for one in dead), *(one.reports for one in self._met)]
        messages: dict[int, str] = {}
        start = 0
        for reports in known:
            messages.update({start + at: text for at, text in reports.messages.items()})
            start += len(reports.rows)
        return Reports(np.concatenate([np.zeros(0, REPORT), *(reports.rows for reports in known)]), messages)

    async def run(
        self,
        requests: trio.MemoryReceiveChannel[Request],
        report: Callable[[Reports], None],
        changed: Callable[[], None],  # noqa: ARG002 - this machine does not change
    ) -> None:
        """Carry out requests until the channel ends or a Stop is done."""
        async with trio.open_nursery() as nursery:
            launchers = LocalLaunchers(self._settings, self._site, self._epoch, nursery, report, self._remains)
            self._launchers = launchers
            try:
                for one in self._met:
                    launchers.elders.take(one, nursery)
                self._met = []
                await launchers.start_one()
                await self._listen(requests, launchers)
            finally:
                launchers.dismiss()
                self._launchers = None
            await launchers.gone.wait()

    async def _listen(self, requests: trio.MemoryReceiveChannel[Request], launchers: LocalLaunchers) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._until_idle, launchers, nursery.cancel_scope)
            async for request in requests:
                self._obey(request, launchers)
            nursery.cancel_scope.cancel()

    async def _until_idle(self, launchers: LocalLaunchers, scope: trio.CancelScope) -> None:
        await launchers.idle.wait()
        scope.cancel()

    def _obey(self, request: Request, launchers: LocalLaunchers) -> None:
        match request:
            case Launches():
                launchers.on_launches(request)
            case Recall(tickets):
                launchers.on_recall(tickets)
            case Kill(tickets, message):
                launchers.on_kill(tickets, message)
            case Ack(launcher, seq):
                self._acknowledge(launchers, launcher, seq)
            case Stop(immediate, leave):
                if leave and self._site.linger:
                    launchers.on_leave()
                else:
                    launchers.on_stop(immediate=immediate)

    def _acknowledge(self, launchers: LocalLaunchers, launcher: int, seq: int) -> None:
        """Let a launcher forget; for one that is dead, remove its spool once all of it is kept."""
        remains = self._remains.get(launcher)
        if remains is None:
            launchers.on_ack(launcher, seq)
        elif acknowledge(self._site.directory, remains, seq):
            del self._remains[launcher]

    async def read_log(self, run: int, version: int, row: Rows, stream: str, offset: int, limit: int) -> bytes:
        """Return a part of an attempt's output: from its launcher while it runs, else from where it was kept."""
        if self._launchers is not None and not row["ended"]:
            data = await self._launchers.read(run, version, row, stream, offset, limit)
            if data is not None:
                return data
        read = partial(logs.read, self._site.directory, run, version, row, stream, offset, limit)
        return await trio.to_thread.run_sync(read)

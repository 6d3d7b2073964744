"""An executor of launchers at work, for tests: what it was asked, and everything that it reported."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import trio
import trio.testing

from daggy.executor import REPORT, Kind, Launch, Launches, Reports, Request, Site, Ticket
from daggy.launcher.fleet import Fleet
from daggy_fork import ForkExecutor, ForkSettings

DEADLINE = 20.0


class Rig:
    """An executor at work, and everything that it reported."""

    def __init__(self, executor: Fleet, directory: Path, send: trio.MemorySendChannel[Request]) -> None:
        self.executor, self.directory, self.send = executor, directory, send
        self.recovered = Reports(np.zeros(0, REPORT))
        self.finished: dict[int, Any] = {}  # rows of ATTEMPT
        self.messages: dict[int, str] = {}
        self.recalled: list[int] = []
        self.started: dict[int, Any] = {}
        self.sequence: list[tuple[Kind, int]] = []
        self._news = trio.Condition()
        self._bell = trio.Event()

    def report(self, reports: Reports) -> None:
        for at, row in enumerate(reports.rows):
            index, kind = int(row["row"]["index"]), Kind(int(row["kind"]))
            self.sequence.append((kind, index))
            if kind is Kind.FINISHED:
                assert index not in self.finished
                self.finished[index] = row["row"]
                self.messages[index] = reports.messages.get(at, "")
            elif kind is Kind.RECALLED:
                self.recalled.append(index)
            else:
                self.started[index] = row["row"]
        self._bell.set()
        self._bell = trio.Event()

    def launch(self, *launches: Launch, width: int = 4, lane: int = 0) -> None:
        machine = self.executor.capacity()[0].name
        self.send.send_nowait(Launches(7, 1, 1, machine, lane, width, launches))

    async def until(self, condition: Callable[[], Any]) -> None:
        with trio.fail_after(DEADLINE):
            while not condition():
                await self._bell.wait()

    async def until_obeyed(self) -> None:
        """Return when the executor has taken every request."""
        with trio.fail_after(DEADLINE):
            while self.send.statistics().current_buffer_used:
                await trio.lowlevel.checkpoint()
            await trio.testing.wait_all_tasks_blocked()

    async def run(self, *argv: str, index: int = 0, width: int = 4, **more: Any) -> Any:
        """Run one task to its end and return its row."""
        self.launch(self.task(*argv, index=index, **more), width=width)
        await self.until(lambda: index in self.finished)
        return self.finished[index]

    def task(self, *argv: str, index: int = 0, environment: dict[str, str | None] | None = None, **more: Any) -> Launch:
        return Launch(index, 1, list(argv), environment or {}, str(more.pop("directory", self.directory)), **more)

    async def output(self, index: int, stream: str = "stdout") -> bytes:
        row = self.finished.get(index, self.started.get(index))
        assert row is not None
        return await self.executor.read_log(7, 1, row, stream, 0, 1 << 30)

    def ticket(self, index: int) -> Ticket:
        return Ticket(7, 1, index, 1, 1)


def site(directory: Path, *, durable: bool, **more: Any) -> Site:
    """Return a site of this directory; its instance is its own, for launchers kill whatever carries their tickets."""
    return Site(more.pop("pool", "default"), directory, f"tests-{directory.name}-{os.getpid()}", durable, **more)


@asynccontextmanager
async def rig(directory: Path, *, durable: bool = False, **settings: Any) -> AsyncIterator[Rig]:
    executor = ForkExecutor(ForkSettings(**{"workers": 4, **settings}), site(directory, durable=durable))
    async with at_work_with(executor, directory) as at_work:
        yield at_work


@asynccontextmanager
async def at_work_with(executor: Fleet, directory: Path, epoch: int = 1) -> AsyncIterator[Rig]:
    recovered = await executor.recover(epoch)
    send, receive = trio.open_memory_channel[Request](1000)
    at_work = Rig(executor, directory, send)
    at_work.recovered = recovered
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(executor.run, receive, at_work.report, lambda: None)
            yield at_work
            send.close()


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", "-c", code)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


async def becomes(condition: Callable[[], Any]) -> None:
    """Wait for what other processes do."""
    with trio.fail_after(DEADLINE):
        while not condition():  # noqa: ASYNC110 - there is no event of ours to wait for
            await trio.sleep(0.01)


async def gone(pid: int) -> None:
    await becomes(lambda: not alive(pid))


async def appears(path: Path) -> str:
    """Wait for a file with a whole line; return it."""
    await becomes(lambda: path.exists() and path.read_text().endswith("\n"))
    return await trio.to_thread.run_sync(path.read_text)

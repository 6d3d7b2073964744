"""A machine elsewhere, for tests: this one, reached through a relay, with a directory of its own."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from daggy.errors import Problem
from daggy.executor import Machine, Site, Work
from daggy.launcher import bundle, command_line
from daggy.launcher.far_host import FarHost
from daggy.launcher.fleet import Fleet
from daggy.launcher.host import Terms
from daggy.launcher.line import Line, Way
from tests.integration.fork_rig import Rig, at_work_with, becomes, site

NAME = "elsewhere"


class LocalWay(Way):
    """Starts a relay on this machine."""

    def __init__(self, directory: Path) -> None:
        self.directory = str(directory)
        self.lines: list[command_line.CommandLine] = []
        self.python = sys.executable
        self.boot: Callable[[bytes], list[str]] = lambda program: bundle.boot(self.python, program)

    async def dial(self) -> Line:
        program = bundle.relay(self.directory)
        line = await command_line.start(self.boot(program), program)
        self.lines.append(line)
        return line

    @property
    def relay(self) -> int:
        """The process id of the last relay."""
        return self.lines[-1]._process.pid

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(self.relay, number)


class FarFleet(Fleet):
    """A fleet of one machine elsewhere."""

    def __init__(self, place: Site, way: LocalWay, *, lease: float, cores: float) -> None:
        machine = Machine(NAME, {"cores": cores})
        self.host = FarHost(machine, place, Terms(), way.directory, way, lease)
        super().__init__(place, [self.host])

    @property
    def fixed(self) -> bool:
        return True

    def check(self, work: Work) -> Iterable[Problem]:
        del work
        return ()


@asynccontextmanager
async def remote(
    directory: Path, *, durable: bool = True, lease: float = 60.0, cores: float = 4.0, epoch: int = 1
) -> AsyncIterator[tuple[Rig, LocalWay]]:
    """Run a fleet of one machine elsewhere; it is up."""
    state, far = directory / "state", directory / "far"
    (state / "runs" / "7" / "packs").mkdir(parents=True, exist_ok=True)  # as an engine does
    way = LocalWay(far)
    fleet = FarFleet(site(state, durable=durable), way, lease=lease, cores=cores)
    async with at_work_with(fleet, directory, epoch) as at_work:
        await becomes(fleet.capacity)
        yield at_work, way


def spools(directory: Path) -> list[Path]:
    """Return what launchers have left elsewhere."""
    return [path for path in (directory / "far").glob("*/*/*/launchers/*") if any(path.iterdir())]

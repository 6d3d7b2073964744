"""The fork executor: a fleet of one host, this machine."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from typing import ClassVar

from daggy.errors import Problem
from daggy.executor import Machine, Site, Work
from daggy.launcher.checks import no_options, only_processes
from daggy.launcher.fleet import Fleet
from daggy.launcher.host import Terms
from daggy.launcher.local_host import LocalHost
from daggy_fork.settings import ForkSettings


class ForkExecutor(Fleet):
    """Runs tasks as processes on this machine, each in a session of its own."""

    Settings: ClassVar[type] = ForkSettings
    reads_state = True

    def __init__(self, settings: ForkSettings, site: Site) -> None:
        """Keep what is given; start nothing."""
        totals = {**settings.resources, "cores": float(settings.workers), "memory_mb": float(settings.memory_mb)}
        terms = Terms(settings.environment, settings.inherit, settings.output_bytes)
        launchers = min(len(os.sched_getaffinity(0)), settings.workers)
        super().__init__(site, [LocalHost(site, Machine(socket.gethostname(), totals), terms, launchers)])

    @property
    def fixed(self) -> bool:
        """Return True: this machine is all there is."""
        return True

    def check(self, work: Work) -> Iterable[Problem]:
        """Return what this executor does not know: options, and ways of running that are not a process."""
        yield from no_options(work, "fork")
        yield from only_processes(work, "fork")

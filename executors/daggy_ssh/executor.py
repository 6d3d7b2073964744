"""The ssh executor: a fleet of the hosts that its settings name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

from daggy.errors import Problem
from daggy.executor import Machine, Site, Work
from daggy.launcher.checks import no_options, only_processes
from daggy.launcher.far_host import FarHost
from daggy.launcher.fleet import Fleet
from daggy.launcher.host import Terms
from daggy.validators import seconds
from daggy_ssh.settings import SshHost, SshSettings
from daggy_ssh.way import SshWay


class SshExecutor(Fleet):
    """Runs tasks on machines that SSH reaches."""

    Settings: ClassVar[type] = SshSettings

    def __init__(self, settings: SshSettings, site: Site) -> None:
        """Keep what is given; connect to nothing."""
        self._settings = settings
        super().__init__(site, [self._host(host, site) for host in settings.machines], settings.at_once)

    def _host(self, host: SshHost, site: Site) -> FarHost:
        settings = self._settings
        return FarHost(
            Machine(host.called, host.resources, labels=frozenset(host.labels)),
            site,
            Terms(settings.environment, settings.inherit, settings.output_bytes),
            settings.directory,
            SshWay(settings, host),
            seconds(settings.lease),
            settings.fetch_bytes,
            settings.work,
        )

    @property
    def fixed(self) -> bool:
        """Return False: hosts come and go, and what they have is measured."""
        return False

    @property
    def placement(self) -> Literal["pack", "spread"]:
        """Return what the pool says."""
        return "pack" if self._settings.place == "pack" else "spread"

    def check(self, work: Work) -> Iterable[Problem]:
        """Return what this executor does not know: options, and ways of running that are not a process."""
        yield from no_options(work, "ssh")
        yield from only_processes(work, "ssh")

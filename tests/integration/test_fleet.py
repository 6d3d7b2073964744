"""A fleet of several hosts keeps every promise of an executor, on each of its machines."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

import trio
from attrs import evolve

from daggy.errors import Problem
from daggy.executor import Machine, Site, Work
from daggy.launcher.fleet import Fleet
from daggy.launcher.host import Channel, Terms
from daggy.launcher.local_host import LocalHost
from daggy.testing import check_executor


class Elsewhere(LocalHost):
    """A machine with a directory of its own."""

    async def start(self, number: int, epoch: int) -> Channel:
        (self._home / str(number)).mkdir(parents=True)
        (self._home / str(number) / "lock").touch(0o600)
        return await super().start(number, epoch)


class Hosts(Fleet):
    Settings: ClassVar[type] = dict

    def __init__(self, site: Site) -> None:
        far = evolve(site, directory=site.directory / "far")
        totals = {"cores": 2.0}
        hosts = [
            LocalHost(site, Machine("near", totals), Terms(), 2),
            Elsewhere(far, Machine("far", totals), Terms(), 2),
        ]
        super().__init__(site, hosts)

    @property
    def fixed(self) -> bool:
        return True

    def check(self, work: Work) -> Iterable[Problem]:
        return ()


def test_a_fleet_of_two_hosts_is_an_executor(tmp_path: Path) -> None:
    trio.run(lambda: check_executor(Hosts, tmp_path, durable=True, linger=True))

"""The Slurm executor: a fleet of the allocations that tasks want."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from daggy.errors import Problem
from daggy.executor import Site, Work
from daggy.launcher.checks import only_processes
from daggy.launcher.host import Terms
from daggy.launcher.pilots.autoscaler import LAST
from daggy.launcher.pilots.fleet import PilotFleet
from daggy.launcher.pilots.plan import Size
from daggy.validators import seconds
from daggy_slurm.arrays import SlurmArrayExecutor
from daggy_slurm.pilots import SlurmQueue
from daggy_slurm.settings import SlurmSettings


class SlurmExecutor(PilotFleet):
    """Runs tasks in allocations of a Slurm cluster; with the mode "arrays" it is a SlurmArrayExecutor."""

    Settings: ClassVar[type] = SlurmSettings

    def __new__(cls, settings: SlurmSettings, site: Site) -> Any:
        """Return an executor of the mode."""
        return SlurmArrayExecutor(settings, site) if settings.mode == "arrays" else super().__new__(cls)

    def __init__(self, settings: SlurmSettings, site: Site) -> None:
        """Keep what is given; ask for nothing."""
        self._settings = settings
        size = Size(settings.at_once, settings.totals, settings.seconds - LAST, seconds(settings.idle))
        super().__init__(
            site,
            Terms(settings.environment, settings.inherit, settings.output_bytes),
            seconds(settings.lease),
            size,
            SlurmQueue(settings, site),
            seconds(settings.interval),
            settings.untimed,
            settings.fetch_bytes,
        )

    def check(self, work: Work) -> Iterable[Problem]:
        """Return what no allocation of the pool can do."""
        settings = self._settings
        if work.options:
            yield Problem("details.options.slurm", "pilots have no options of a task", "give them to the pool")
        yield from only_processes(work, "slurm")
        for name, amount in work.resources.items():
            has = settings.totals.get(name)
            if has is None:
                known = ", ".join(settings.totals)
                yield Problem(f"resources.{name}", f"no allocation of this pool has '{name}'", f"there are: {known}")
            elif amount > has:
                yield Problem(
                    f"resources.{name}",
                    f"needs {amount:g}, an allocation of this pool has {has:g}",
                    f"ask for less, or give the pool more {name}",
                )
        if work.timeout > settings.seconds - LAST:
            yield Problem(
                "details.timeout",
                f"is longer than an allocation of {settings.time}, of which the last {LAST:.0f} s are for its end",
                "shorten it, or give the pool a longer 'time'",
            )

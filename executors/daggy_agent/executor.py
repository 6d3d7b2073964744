"""The agent executor: a fleet of the machines whose agents have joined."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

from daggy.errors import Problem
from daggy.executor import Site, Work
from daggy.launcher.checks import no_options, only_processes
from daggy.launcher.host import Terms
from daggy.launcher.open_fleet import OpenFleet
from daggy.validators import seconds
from daggy_agent.settings import AgentSettings


class AgentExecutor(OpenFleet):
    """Runs tasks on machines that call in."""

    Settings: ClassVar[type] = AgentSettings

    def __init__(self, settings: AgentSettings, site: Site) -> None:
        """Keep what is given; the agents come by themselves."""
        self._settings = settings
        terms = Terms(settings.environment, settings.inherit, settings.output_bytes)
        super().__init__(site, terms, seconds(settings.lease), settings.fetch_bytes)

    @property
    def placement(self) -> Literal["pack", "spread"]:
        """Return what the pool says."""
        return "pack" if self._settings.place == "pack" else "spread"

    def check(self, work: Work) -> Iterable[Problem]:
        """Return what no machine of the pool can do."""
        yield from no_options(work, "agent")
        yield from only_processes(work, "agent")
        known = self._settings.resources
        for name in work.resources:
            if known and name not in known:
                listed = ", ".join(known)
                yield Problem(
                    f"resources.{name}",
                    f"no machine of this pool has '{name}'",
                    f'its pool\'s "resources" are: {listed}',
                )

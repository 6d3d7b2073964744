"""An executor whose machines are at the other end of a command: containers, pods, sandboxes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

from attrs import field, frozen

from daggy.errors import Problem
from daggy.executor import Machine, Site, Work
from daggy.launcher import bundle, command_line
from daggy.launcher.far_host import FarHost
from daggy.launcher.fleet import Fleet
from daggy.launcher.host import Terms
from daggy.launcher.line import Line, Way


@frozen
class ContainersSettings:
    """Settings of a pool.

    Args:
        containers: By name, the command that runs another command there: `["docker", "exec", "-i", "box"]`.
        resources: What each of them has in all; what is not said is measured there.
        python: The interpreter there, 3.8 or newer.
        directory: Where Daggy keeps things there.
        lease: Seconds without a word from Daggy after which tasks there are ended.
    """

    containers: Mapping[str, Sequence[str]]
    resources: Mapping[str, float] = field(factory=dict)
    python: str = "python3"
    directory: str = "/tmp/daggy"  # noqa: S108 - in the container, where nobody else is
    lease: float = 900.0


@frozen
class Command(Way):
    """Starts a relay in a container."""

    command: Sequence[str]
    settings: ContainersSettings

    async def dial(self) -> Line:
        """Run the command with a Python behind it, which reads the relay from its standard input."""
        program = bundle.relay(self.settings.directory)
        return await command_line.start([*self.command, *bundle.boot(self.settings.python, program)], program)


class ContainersExecutor(Fleet):
    """Runs tasks in containers that are there already."""

    Settings: ClassVar[type] = ContainersSettings

    def __init__(self, settings: ContainersSettings, site: Site) -> None:
        """Keep what is given; start nothing."""
        hosts = [
            FarHost(
                Machine(name, settings.resources),
                site,
                Terms(),
                settings.directory,
                Command(command, settings),
                settings.lease,
            )
            for name, command in settings.containers.items()
        ]
        super().__init__(site, hosts)

    @property
    def fixed(self) -> bool:
        """Return False: what a container has is known once it has answered."""
        return False

    def check(self, work: Work) -> Iterable[Problem]:
        """Return what no container can do."""
        if work.kind not in ("command", "shell"):
            yield Problem(f"details.{work.kind}", f"a container cannot run a '{work.kind}'", "use 'command' or 'shell'")

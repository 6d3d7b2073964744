"""Slurm as a place that runs arrays: each task is a job, or a part of one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from attrs import define, field, fields, frozen

from daggy.errors import PluginError, Problem
from daggy.executor import Site, Work
from daggy.launcher import bundle
from daggy.launcher.checks import only_processes
from daggy.launcher.host import Terms
from daggy.launcher.parcels.executor import ParcelExecutor
from daggy.launcher.parcels.folder import LOG, Parcel
from daggy.launcher.parcels.place import Order, Seen
from daggy.launcher.program.store import OVER_NETWORK, filesystem
from daggy.launcher.queues import Fate
from daggy.settings import structure
from daggy.validators import duration, least, one_line, seconds
from daggy_slurm import script, states
from daggy_slurm.cluster import NAMED, Cluster
from daggy_slurm.settings import SlurmSettings, refuse_own

SPARE = 60.0
"""Seconds of a job beyond what its tasks may take: the launcher keeps the time, Slurm's limit has minutes."""

SETTLE, SETTLE_LOCAL = 60.0, 3.0
"""Seconds after which a file that is not seen is not there: network filesystems keep old listings for so long."""

LARGEST = 10_000
"""Elements of an array, whatever the cluster allows: what is lost of a parcel is looked up one by one."""

OWN_DISK = ("ext2", "ext3", "ext4", "xfs", "btrfs", "tmpfs", "zfs", "overlay")
"""Filesystems that no other machine sees, unless it is exported."""


@frozen
class ArrayOptions:
    """What `details.options.slurm` says of a task.

    Args:
        partition, account, qos, constraint: In place of the pool's.
        time: Its limit, in place of one that follows from `timeout`; a job of several tasks has as many times that.
        nodes: How many nodes its job has, each with what `resources` asks for; the task itself runs on the first.
        sbatch: More arguments for `sbatch`.
    """

    partition: str = field(default="", validator=one_line)
    account: str = field(default="", validator=one_line)
    qos: str = field(default="", validator=one_line)
    constraint: str = field(default="", validator=one_line)
    time: str = ""
    nodes: int = field(default=1, validator=least(1))
    sbatch: tuple[str, ...] = ()

    def __attrs_post_init__(self) -> None:
        """Refuse what Daggy says itself."""
        refuse_own(self.sbatch, "sbatch")
        if self.time:
            duration(self, fields(ArrayOptions).time, self.time)


@define(eq=False)
class SlurmArrays(Cluster):
    """Runs parcels as Slurm's arrays."""

    mend: str = "see that nodes find the pool's 'python', can run its 'setup', and see 'shared'"
    program: Path = field(init=False)  # the folder of the program of elements, as nodes see it

    async def open(self) -> None:
        """Find out whether this site can serve the pool; as `Cluster.open`."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.program = bundle.install(self.folder.parent)
        except OSError as error:
            raise self.unusable(error) from None
        kind = filesystem(str(self.folder))
        if kind in OWN_DISK and kind not in OVER_NETWORK and not self.settings.shared_is_local:
            raise PluginError(
                f"pool '{self.site.pool}': shared: '{self.settings.shared}' is on this machine's own disk ({kind}); "
                'nodes cannot see it (say "shared_is_local": true for a cluster of one machine)'
            )
        await super().open()

    def named(self, batch: int) -> str:
        """Return what the jobs of a parcel are called."""
        return f"{self.name}.{batch}"

    @property
    def largest(self) -> int:
        """Return how many elements an array may have."""
        return int(min(self.limits.array, LARGEST))

    def longest(self, order: Order) -> tuple[float, float]:
        """Return for how long a task of an order may run, and what a job has beyond that: seconds."""
        wanted = structure(order.options, ArrayOptions, "details.options.slurm")
        if wanted.time:
            return seconds(wanted.time), 0.0
        return (order.seconds, SPARE) if order.seconds else (self.settings.seconds, 0.0)

    def each(self, order: Order) -> int:
        """Return how many tasks a job runs: as many as the pool says, if the partition allows their time."""
        each, spare = self.longest(order)
        allowed = self.limits_in(order.options.get("partition", "")).seconds
        most = self.settings.tasks_per_job
        return max(1, int(min(most, (allowed - spare) // each))) if allowed < math.inf else most

    async def submit(self, parcel: Parcel, order: Order) -> str:
        """Submit a parcel as one array."""
        settings, wanted = self.settings, structure(order.options, ArrayOptions, "details.options.slurm")
        needs = dict(order.needs)
        each = needs.pop("cores", 1.0), needs.pop("memory_mb", 0.0), needs.pop("gpus", 0.0)
        size = self.options(*each, nodes=wanted.nodes)
        said = [settings.resources[name].format(n=f"{amount:g}") for name, amount in needs.items() if amount]
        each_takes, spare = self.longest(order)
        limit = min(each_takes * parcel.each + spare, self.limits_in(wanted.partition).seconds)
        own = [f"--{name}={value}" for name in NAMED if (value := getattr(wanted, name, ""))]
        argv = [
            "--parsable", f"--array=0-{parcel.elements - 1}", f"--job-name={self.named(parcel.number)}",
            *size, f"--time={states.minutes_of(limit)}", f"--output={states.pattern_of(parcel.folder / LOG)}",
            "--open-mode=append", "--chdir=/", "--export=ALL", "--no-requeue", *said, *own,
            *settings.sbatch, *wanted.sbatch,
        ]  # fmt: skip
        text = script.element(settings, self.program, parcel.folder, parcel.each)
        return await self.ask(argv, text)

    async def look(self) -> list[Seen]:
        """Return the elements of this pool that wait or run."""
        printed = await self.client.call("squeue", "--me", "-h", "-o", states.FORMAT)
        found = []
        for one in states.jobs_of(printed):
            name, _, batch = one.name.rpartition(".")
            if name == self.name and batch.isdigit() and one.element is not None:
                found.append(Seen(int(batch), one.id, one.element, one.said, one.stuck))
        return found

    async def cancel(self, batch: int, jobs: Sequence[str]) -> None:
        """Cancel some: their tasks were taken back, so that nothing that runs is hit."""
        await self.signal(jobs, self.named(batch))

    async def tell(self, batch: int, jobs: Sequence[str]) -> None:
        """Have elements look at what is to be ended."""
        await self.signal(jobs, self.named(batch), "--batch", "--signal=USR1")

    async def fate(self, batch: int, job: str) -> Fate:
        """Return how an element ended."""
        return await self.told(job, self.named(batch), self.folder / str(batch) / LOG)


class SlurmArrayExecutor(ParcelExecutor):
    """Runs tasks as elements of Slurm's arrays."""

    def __init__(self, settings: SlurmSettings, site: Site) -> None:
        """Keep what is given; submit nothing."""
        self._settings = settings
        self._cluster = SlurmArrays(settings, site)
        super().__init__(
            site,
            Terms(settings.environment, settings.inherit, settings.output_bytes),
            self._cluster,
            self._cluster.folder,
            most=settings.at_once,
            interval=seconds(settings.interval),
            settle=SETTLE_LOCAL if settings.shared_is_local else SETTLE,
            machine=settings.partition or "slurm",
        )

    def check(self, work: Work) -> Iterable[Problem]:
        """Return what no job of the pool can do."""
        try:
            options = structure(work.options or {}, ArrayOptions, "details.options.slurm")
        except PluginError as error:
            yield Problem("details.options.slurm", str(error).removeprefix("details.options.slurm: "))
            return
        yield from only_processes(work, "slurm")
        limits = self._cluster.limits_in(options.partition)
        if limits.others and not limits.partition:
            there = f"there are: {', '.join(limits.others)}"
            yield Problem("details.options.slurm.partition", f"there is no '{options.partition}'", there)
            return
        if options.nodes > limits.nodes:
            yield Problem(
                "details.options.slurm.nodes",
                f"needs {options.nodes}, '{limits.partition}' has {limits.nodes:.0f}",
                "ask for fewer, or name another partition",
            )
        known = {"cores": limits.cores, "memory_mb": limits.memory_mb - self._settings.own_mb, "gpus": float("inf")}
        for name, amount in work.resources.items():
            if name not in known and name not in self._settings.resources:
                yield Problem(
                    f"resources.{name}",
                    f"this pool does not know how to ask Slurm for '{name}'",
                    f'say so in its "resources", such as {{"{name}": "--licenses={name}:{{n}}"}}',
                )
            elif amount > known.get(name, float("inf")):
                yield Problem(
                    f"resources.{name}",
                    f"needs {amount:g}, no node of '{limits.partition}' has more than {known[name]:g}",
                    "ask for less, or name another partition",
                )
        asked = seconds(options.time) if options.time else work.timeout
        if asked > limits.seconds:
            yield Problem(
                "details.options.slurm.time" if options.time else "details.timeout",
                f"{asked:.0f} s is more than partition '{limits.partition}' allows ({limits.printed})",
                "shorten it, or name another partition",
            )

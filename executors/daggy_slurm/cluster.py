"""A cluster, as both ways of using it see it: whether it serves a pool, what its jobs are called, what it remembers."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from attrs import define, field

from daggy.attempt import Reason
from daggy.errors import PluginError
from daggy.executor import Site
from daggy.launcher.queues import Fate, QueueError, RefusedError
from daggy.validators import seconds
from daggy_slurm import states
from daggy_slurm.client import Client, FailedError, MissingError
from daggy_slurm.settings import SlurmSettings

LAST_WORDS = 1 << 16
"""Bytes at the end of a log in which last words are looked for."""

NAMED = ("partition", "account", "qos", "constraint", "reservation")
"""Settings that are options of sbatch, by the same names."""


@define(eq=False)
class Cluster:
    """A cluster.

    Args:
        settings: A pool's.
        site: Whose.
        client: Runs Slurm's programs.
        limits: What the pool's partitions have.
    """

    settings: SlurmSettings
    site: Site
    client: Client = field(init=False)
    noun: str = "Slurm job"
    limits: states.Limits = field(factory=states.Limits)
    _has_accounting: bool = False
    _said: tuple[str, str, str] = ("", "", "")  # partitions, nodes, configuration, as Slurm prints them
    _others: dict[str, states.Limits] = field(factory=dict)  # of other partitions

    def __attrs_post_init__(self) -> None:
        """Have jobs started in the environment of the pool."""
        self.client = Client(self.settings.environment)

    @property
    def name(self) -> str:
        """What all jobs of this pool are called: an id alone is not believed, as Slurm may give it twice."""
        return f"daggy-{self.site.instance}.{quote(self.site.pool, '')}"

    @property
    def folder(self) -> Path:
        """Where nodes find what they need of this pool, and leave their logs."""
        return self.settings.place / self.site.instance / quote(self.site.pool, "")

    async def open(self) -> None:
        """Find out whether this site can serve the pool.

        Raises:
            PluginError: it cannot.
            QueueError: Slurm cannot be asked.
        """
        try:
            await self.client.call("sbatch", "--version")
            partitions = await self.client.call("sinfo", "-h", "-o", "%P|%l")
            nodes = await self.client.call("sinfo", "-h", "-N", "-o", "%P|%c|%m")
            configured = await self.client.call("scontrol", "show", "config")
        except MissingError as error:
            raise PluginError(f"pool '{self.site.pool}': {error}") from None
        self._has_accounting = "AccountingStorageType" in configured and "accounting_storage/none" not in configured
        self._said = partitions, nodes, configured
        self._others.clear()
        self.limits = states.limits_of(*self._said, self.settings.partition)
        if wrong := unfit(self.settings, self.limits):
            raise PluginError(f"pool '{self.site.pool}': {wrong}")

    def limits_in(self, partition: str) -> states.Limits:
        """Return the limits of a task that names its partition; empty: it does not."""
        if not partition or not self._said[0]:
            return self.limits
        if partition not in self._others:
            self._others[partition] = states.limits_of(*self._said, partition)
        return self._others[partition]

    def unusable(self, error: OSError) -> PluginError:
        """Return the error that the shared directory cannot be used."""
        return PluginError(
            f"pool '{self.site.pool}': shared: '{self.folder}' cannot be used: "
            f"{(error.strerror or str(error)).lower()}; name a directory that this machine and all nodes see"
        )

    def options(self, cores: float, memory_mb: float, gpus: float, nodes: int = 1) -> list[str]:
        """Return what sbatch is told of a job's place, and of its size on each of its nodes."""
        memory = [f"--mem={math.ceil(memory_mb) + self.settings.own_mb}"] if memory_mb else []
        graphics = [f"--gres=gpu:{math.ceil(gpus)}"] if gpus else []
        told = [f"--{name}={value}" for name in NAMED if (value := getattr(self.settings, name))]
        tasks = "--ntasks=1" if nodes == 1 else "--ntasks-per-node=1"  # of fewer tasks than nodes it takes fewer nodes
        return [f"--nodes={nodes}", tasks, f"--cpus-per-task={max(1, math.ceil(cores))}", *memory, *graphics, *told]

    def close(self) -> None:
        """Remove the pool's files, once no job is left, unless the server keeps its state and may come back."""
        if not self.site.durable:
            shutil.rmtree(self.folder.parent, ignore_errors=True)

    async def ask(self, order: Sequence[str], text: str) -> str:
        """Submit a script by an order of sbatch; return the job's id.

        Raises:
            RefusedError: nothing of it was started.
            QueueError: that is not certain.
        """
        try:
            printed = await self.client.call("sbatch", *order, stdin=text)
        except FailedError as error:
            raise (QueueError if states.is_uncertain(str(error)) else RefusedError)(str(error)) from None
        return printed.strip().splitlines()[-1].partition(";")[0]

    async def signal(self, jobs: Sequence[str], name: str, *how: str) -> None:
        """Cancel or signal jobs, arrays or elements of arrays; those of these ids with other names are left alone.

        The names are looked up first: scancel itself, told of a name, cancels all elements of an array that wait.
        """
        printed = await self.client.call("squeue", "--me", "-h", f"--name={name}", "-o", states.FORMAT)
        there = {one.id for one in states.jobs_of(printed) if one.name == name}
        there |= {one.partition("_")[0] for one in there}
        if ours := [job for job in jobs if job in there]:
            with contextlib.suppress(FailedError):  # one has just ended
                await self.client.call("scancel", "--quiet", *how, *ours)

    async def remembered(self, job: str, name: str) -> states.Job | None:
        """Return what Slurm remembers of a job that has ended; None: nothing."""
        try:
            printed = await self.client.call("squeue", "-h", "-t", "all", "-j", job, "-o", states.FORMAT)
        except FailedError:
            printed = ""
        found = [one for one in states.jobs_of(printed) if one.id == job and one.name == name]
        if not found and self._has_accounting:
            order = ("sacct", "-X", "-P", "-n", "-j", job, f"--name={name}", states.ACCOUNTED)
            printed = await self.client.call(*order)
            found = [one for one in states.jobs_of(printed) if one.id == job and one.name == name]
        return found[0] if found else None

    async def told(self, job: str, name: str, log: Path) -> Fate:
        """Return how a job ended: as Slurm remembers it, and by its log."""
        try:
            found = await self.remembered(job, name)
        except QueueError:
            found = None
        words = end_of(log)
        lines = words.strip().splitlines()
        last = lines[-1].strip() if lines else ""
        if found is None:
            return Fate(words=last)
        memory = states.ran_out(found, words)
        reason = Reason.MEMORY if memory else Reason.LOST
        said, is_over = states.meaning_of(found, memory=memory), found.state in states.OVER
        is_ending = found.state == states.ENDING
        return Fate(said, is_over, reason, "" if memory else last, found.state == "CANCELLED", is_ending)


def end_of(log: Path) -> str:
    """Return the end of a log."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - LAST_WORDS))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def unfit(settings: SlurmSettings, limits: states.Limits) -> str:
    """Return what a site cannot serve of a pool; empty: nothing."""
    name = limits.partition
    if not name:
        there = ", ".join(limits.others) or "none"
        if settings.partition:
            return f"partition: there is no '{settings.partition}'; there are: {there}"
        return f"partition: the cluster has no default; name one of: {there}"
    if seconds(settings.time) > limits.seconds:
        return f"time: {settings.time} is more than partition '{name}' allows ({limits.printed})"
    for key, asked, most in (
        ("cores", settings.cores, limits.cores),
        ("memory_mb", settings.memory_mb, limits.memory_mb - settings.own_mb),
    ):
        if asked > most:
            beside = f", beside {settings.own_mb} for Daggy's own processes" if key == "memory_mb" else ""
            return f"{key}: {asked} is more than any node of '{name}' has ({most:.0f}{beside})"
    if settings.mode == "pilots" and settings.at_once > limits.array:
        return (
            f"most: {settings.most} is more than arrays of this cluster may have (MaxArraySize {limits.array + 1:.0f})"
        )
    return ""

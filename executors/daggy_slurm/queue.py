"""Slurm as a place that starts pilots."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from attrs import define, field

from daggy.errors import DaggyError, PluginError
from daggy.executor import Entrance, Site
from daggy.launcher.pilot_fleet import Fate, QueueError, RefusedError
from daggy.launcher.pilots import Pilot
from daggy.validators import seconds
from daggy_slurm import script, states
from daggy_slurm.client import Client, FailedError, MissingError
from daggy_slurm.settings import LAST, SlurmSettings

LAST_WORDS = 4096
"""Bytes at the end of a log in which the last words of a pilot are looked for."""


@define(eq=False)
class SlurmQueue:
    """Starts pilots as elements of Slurm's arrays.

    Args:
        settings: The pool's.
        site: Whose.
        client: Runs Slurm's programs.
    """

    settings: SlurmSettings
    site: Site
    client: Client = field(init=False)
    noun: str = "Slurm job"
    _has_accounting: bool = False

    def __attrs_post_init__(self) -> None:
        """Have jobs started in the environment of the pool."""
        self.client = Client(self.settings.environment)

    @property
    def name(self) -> str:
        """What all jobs of this pool are called: an id alone is not believed, as Slurm may give it twice."""
        return f"daggy-{self.site.instance}.{quote(self.site.pool, '')}"

    @property
    def folder(self) -> Path:
        """Where nodes find the token, and leave their logs."""
        return self.settings.place / self.site.instance / quote(self.site.pool, "")

    def _entrance(self) -> Entrance:
        if self.site.entrance is None:
            raise PluginError(
                f"pool '{self.site.pool}': pilots cannot reach this machine; set agents.ip to an address that nodes see"
            )
        return self.site.entrance

    async def open(self) -> None:
        """Find out whether this site can serve the pool.

        Raises:
            PluginError: it cannot.
            QueueError: Slurm cannot be asked.
        """
        self._prepare()
        try:
            await self.client.call("sbatch", "--version")
            partitions = await self.client.call("sinfo", "-h", "-o", "%P|%l|%c|%m|%a")
            configured = await self.client.call("scontrol", "show", "config")
        except MissingError as error:
            raise PluginError(f"pool '{self.site.pool}': {error}") from None
        self._has_accounting = "AccountingStorageType" in configured and "accounting_storage/none" not in configured
        if wrong := unfit(self.settings, partitions, configured):
            raise PluginError(f"pool '{self.site.pool}': {wrong}")

    def _prepare(self) -> None:
        """Write down the token, and make place for logs.

        Raises:
            PluginError: that cannot be done.
        """
        path = self.folder / "token"
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            before = path.read_text().strip() if path.exists() else ""
            token = self._entrance().token(self.site.pool, before)
            with open(path.with_suffix(".new"), "w", opener=_private) as file:
                file.write(token + "\n")
            path.with_suffix(".new").replace(path)
            if (certificate := self._entrance().certificate) is not None:
                self._certificate.write_bytes(certificate.read_bytes())
        except OSError as error:
            raise PluginError(
                f"pool '{self.site.pool}': shared: '{self.folder}' cannot be used: "
                f"{(error.strerror or str(error)).lower()}; name a directory that this machine and all nodes see"
            ) from None
        except DaggyError as error:
            raise PluginError(f"pool '{self.site.pool}': {error}") from None

    @property
    def _certificate(self) -> Path:
        return self.folder / "certificate.pem"

    def _script(self) -> str:
        entrance = self._entrance()
        seen = Entrance(entrance.url, self._certificate if entrance.certificate else None, entrance.token)
        return script.pilot(self.settings, seen, self.site.pool, self.site.instance, self.folder / "token")

    async def submit(self, slots: Sequence[int]) -> list[Pilot]:
        """Ask for pilots, all in one array."""
        settings = self.settings
        memory = [f"--mem={settings.memory_mb}"] if settings.memory_mb else []
        gpus = [f"--gres=gpu:{settings.gpus}"] if settings.gpus else []
        named = ("partition", "account", "qos", "constraint", "reservation")
        told = [f"--{name}={value}" for name in named if (value := getattr(settings, name))]
        elements = ",".join(map(str, slots))
        order = [
            "sbatch", "--parsable", f"--array={elements}", f"--job-name={self.name}", "--nodes=1", "--ntasks=1",
            f"--cpus-per-task={settings.cores}", *memory, *gpus, f"--time={states.minutes_of(settings.seconds)}",
            f"--output={self.folder}/%A_%a.log", "--open-mode=append", "--chdir=/", "--export=ALL", "--no-requeue",
            f"--signal=B:TERM@{LAST:.0f}", *told, *settings.sbatch,
        ]  # fmt: skip
        try:
            printed = await self.client.call(*order, stdin=self._script())
        except FailedError as error:
            raise RefusedError(str(error)) from None
        job = printed.strip().splitlines()[-1].partition(";")[0]
        return [Pilot(f"{job}_{slot}", slot, is_queued=True, said="PENDING") for slot in slots]

    async def look(self) -> list[Pilot]:
        """Return the pilots of this pool that wait or run."""
        printed = await self.client.call("squeue", "--me", "-h", f"--name={self.name}", "-o", states.FORMAT)
        return [
            Pilot(one.id, one.element, one.state in states.QUEUED, one.said, one.nodes, one.end)
            for one in states.jobs_of(printed)
            if one.name == self.name and one.element is not None and one.state != states.ENDING
        ]

    async def cancel(self, jobs: Sequence[str]) -> None:
        """Cancel some; of jobs of other names with these ids, none."""
        if jobs:
            await self.client.call("scancel", "--quiet", f"--name={self.name}", *jobs)

    async def cancel_all(self) -> None:
        """Cancel all."""
        await self.client.call("scancel", "--quiet", "--me", f"--name={self.name}")

    async def fate(self, pilot: Pilot) -> Fate:
        """Return how one ended: as Slurm remembers it, and by its log."""
        job = None
        with contextlib.suppress(QueueError):
            job = await self._remembered(pilot.job)
        if job is None:
            return Fate(words=self._words(pilot))
        is_over = job.state in states.OVER
        return Fate(states.meaning_of(job), is_over, states.reason_of(job), self._words(pilot))

    async def _remembered(self, job: str) -> states.Job | None:
        """Return what Slurm remembers of a job that has ended; None: nothing."""
        try:
            printed = await self.client.call("squeue", "-h", "-t", "all", "-j", job, "-o", states.FORMAT)
        except FailedError:
            printed = ""
        for one in states.jobs_of(printed):
            if one.id == job and one.name == self.name:
                return one
        if not self._has_accounting:
            return None
        columns = "--format=JobID,State,Reason,JobName%200,End,NodeList"
        printed = await self.client.call("sacct", "-X", "-P", "-n", "-j", job, f"--name={self.name}", columns)
        for one in states.jobs_of(printed):
            if one.id == job and one.name == self.name:
                return one
        return None

    def _log(self, pilot: Pilot) -> Path:
        return self.folder / f"{pilot.job}.log"

    def _words(self, pilot: Pilot) -> str:
        """Return the last line of a pilot's log."""
        try:
            with self._log(pilot).open("rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - LAST_WORDS))
                lines = file.read().decode(errors="replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1].strip() if lines else ""

    def forget(self, pilot: Pilot) -> None:
        """Remove the log of a pilot that has ended as it should."""
        with contextlib.suppress(OSError):
            self._log(pilot).unlink()

    def close(self) -> None:
        """Remove the token of a server that has no directory to come back to."""
        if not self.site.durable:
            shutil.rmtree(self.folder.parent, ignore_errors=True)


def unfit(settings: SlurmSettings, partitions: str, configured: str) -> str:
    """Return what a site cannot serve; empty: nothing.

    Args:
        settings: A pool's.
        partitions: What sinfo prints: "partition|limit|cores|megabytes|state" a line, `*` after the default's name.
        configured: What scontrol prints of the configuration.
    """
    longest = re.search(r"^MaxArraySize\s*=\s*(\d+)", configured, re.MULTILINE)
    if longest is not None and settings.most >= int(longest[1]):
        return f"most: {settings.most} is more than arrays of this cluster may have (MaxArraySize {longest[1]})"
    found = []
    for line in partitions.splitlines():
        name, limit, cores, memory, _ = line.strip().split("|")
        is_default = name.endswith("*")
        name = name.rstrip("*")
        if name in settings.partition.split(",") or (is_default and not settings.partition):
            found.append((name, limit, _number(cores), _number(memory)))
    if not found:
        names = ", ".join(sorted({line.split("|")[0].rstrip("*") for line in partitions.splitlines()})) or "none"
        if settings.partition:
            return f"partition: there is no '{settings.partition}'; there are: {names}"
        return f"partition: the cluster has no default; name one of: {names}"
    name, limit, _, _ = max(found, key=lambda one: states.span_of(one[1]))
    if seconds(settings.time) > states.span_of(limit):
        return f"time: {settings.time} is more than partition '{name}' allows ({limit})"
    for key, asked, most in (
        ("cores", settings.cores, max(one[2] for one in found)),
        ("memory_mb", settings.memory_mb, max(one[3] for one in found)),
    ):
        if asked > most:
            return f"{key}: {asked} is more than any node of '{name}' has ({most:.0f})"
    return ""


def _number(printed: str) -> float:
    """Return a number of sinfo's, of which "+" says that some nodes have more."""
    return float("inf") if printed.endswith("+") else float(printed)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)

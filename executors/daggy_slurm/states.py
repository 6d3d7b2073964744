"""What Slurm's words mean. Pure."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from attrs import frozen

FORMAT = "%i|%T|%r|%j|%e|%N|%A"
"""Of squeue: id, state, reason, name, end, nodes, number."""

ACCOUNTED = "--format=JobID,State,Reason,JobName%200,End,NodeList,JobIDRaw"
"""The same of sacct."""

QUEUED = frozenset(
    {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD"}
)
"""States in which a job has not begun and may."""

OVER = frozenset(
    {
        "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED",
        "REVOKED", "TIMEOUT",
    }
)  # fmt: skip
"""States in which nothing of a job runs any more."""

ENDING = "COMPLETING"
"""The state of a job that is on its way out, of which something may still run; it may last."""

STUCK = {
    "PartitionConfig": "the partition does not allow what it asks for; change it, or cancel it and ask for less",
    "PartitionNodeLimit": "it asks for more nodes than the partition allows; cancel it and ask for fewer",
    "PartitionTimeLimit": "it asks for more time than the partition allows; cancel it and ask for less",
    "BadConstraints": "no node has what it must have; change 'constraint', or cancel it and ask for less",
    "JobHeldUser": "it is held; release it with 'scontrol release'",
    "JobHeldAdmin": "an administrator holds it; ask for its release",
    "DependencyNeverSatisfied": "what it depends on has failed; cancel it",
}
"""Reasons for which a job waits until somebody does something, and what."""

HELD = {"REQUEUE_HOLD": "JobHeldUser", "SPECIAL_EXIT": "JobHeldUser", "RESV_DEL_HOLD": "JobHeldAdmin"}
"""States that mean the same, and with which reason."""


def is_uncertain(said: str) -> bool:
    """Return whether sbatch has failed in a way in which what it submitted may have arrived."""
    return re.search(r"timed out|send/recv|transmitted or received", said, re.IGNORECASE) is not None


@frozen
class Limits:
    """What a pool's partitions have, and its cluster.

    Args:
        partition: The one with the longest time; empty: there is none of that name.
        printed: Its time, as Slurm prints it.
        seconds: Its time.
        cores: Of the largest node.
        memory_mb: Of the largest node, MiB.
        nodes: How many nodes the one with the most has.
        array: The most elements of an array.
        others: All partitions of the cluster.
    """

    partition: str = ""
    printed: str = ""
    seconds: float = math.inf
    cores: float = math.inf
    memory_mb: float = math.inf
    nodes: float = math.inf
    array: float = math.inf
    others: tuple[str, ...] = ()


def limits_of(partitions: str, nodes: str, configured: str, wanted: str) -> Limits:
    """Return the limits of a pool, or of a task.

    Args:
        partitions: What sinfo prints: "partition|limit" a line, `*` after the default's name.
        nodes: What it prints of nodes: "partition|cores|megabytes" a line, one for each node and partition.
        configured: What scontrol prints of the configuration.
        wanted: Its partitions, with commas; empty: the default.
    """
    listed = [line.strip().split("|") for line in partitions.splitlines()]
    times = {name.rstrip("*"): limit for name, limit in listed}
    default = [name[:-1] for name, _ in listed if name.endswith("*")]
    found = [name for name in times if name in (wanted.split(",") if wanted else default)]
    longest = re.search(r"^MaxArraySize\s*=\s*(\d+)", configured, re.MULTILINE)
    array = float(longest[1]) - 1 if longest else math.inf
    others = tuple(sorted(times))
    if not found:
        return Limits(array=array, others=others)
    there = [line.strip().split("|") for line in nodes.splitlines()]
    there = [one for one in there if one[0].rstrip("*") in found]
    count = Counter(one[0] for one in there)
    cores = max((_number(one[1]) for one in there), default=math.inf)
    memory_mb = max((_number(one[2]) for one in there), default=math.inf)
    most = max(count.values(), default=math.inf)
    name = max(found, key=lambda one: span_of(times[one]))
    return Limits(name, times[name], span_of(times[name]), cores, memory_mb, most, array, others)


def _number(printed: str) -> float:
    """Return a number of sinfo's; infinite if it says that there may be more."""
    return math.inf if printed.endswith("+") else float(printed)


_ARRAY = re.compile(r"(\d+)_\[([^%\]]+)(?:%\d+)?\]")


@frozen
class Job:
    """A job, or an element of an array, as squeue prints it.

    Args:
        id: As Slurm prints it: "51", or "51_3" of an array.
        state: Slurm's word.
        reason: Why it waits, Slurm's word; "None" if it does not.
        name: As it was submitted.
        end: When it ends at the latest, seconds since 1970; None: that is not known.
        nodes: Where it runs; empty: nowhere yet.
        number: What its steps are called by: of an element of an array it is another than the array's.
    """

    id: str
    state: str
    reason: str
    name: str
    end: float | None
    nodes: str
    number: str = ""

    @property
    def element(self) -> int | None:
        """Its number in its array; None: it is in none."""
        _, mark, number = self.id.partition("_")
        return int(number) if mark and number.isdigit() else None

    @property
    def stuck(self) -> str:
        """What somebody has to do before it begins; empty: nothing."""
        return STUCK.get(HELD.get(self.state, self.reason), "") if self.state in QUEUED else ""

    @property
    def said(self) -> str:
        """Its state and reason, for people."""
        return self.state if self.reason in ("", "None") else f"{self.state}, {self.reason}"


def jobs_of(printed: str) -> Iterator[Job]:
    """Yield what squeue prints in `FORMAT`; a line may stand for many elements of an array that wait."""
    for line in printed.splitlines():
        fields = line.strip().split("|")
        if len(fields) != FORMAT.count("|") + 1:
            continue
        listed, state, reason, name, end, nodes, number = fields
        for job in _ids(listed):
            yield Job(job, state.partition(" ")[0], reason, name, time_of(end), nodes, number)


def _ids(listed: str) -> Iterator[str]:
    found = _ARRAY.fullmatch(listed)
    if found is None:
        yield listed
        return
    for part in found[2].split(","):
        first, _, last = part.partition("-")
        last, _, step = (last or first).partition(":")
        for number in range(int(first), int(last) + 1, int(step or 1)):
            yield f"{found[1]}_{number}"


def time_of(printed: str) -> float | None:
    """Return a time as Slurm prints it, in this machine's zone; None: there is none."""
    try:
        return datetime.fromisoformat(printed).timestamp()
    except ValueError:
        return None


def span_of(printed: str) -> float:
    """Return the seconds of a limit as Slurm prints it: [days-]hours:minutes:seconds; infinite if it is none."""
    days, mark, rest = printed.strip().rpartition("-")
    try:
        parts = [float(part) for part in rest.split(":")]
        day = float(days) if mark else 0.0
    except ValueError:
        return float("inf")
    if mark:
        parts += [0.0] * (3 - len(parts))
    elif len(parts) == 1:
        parts += [0.0]
    hours, minutes, seconds = [0.0] * (3 - len(parts)) + parts
    return day * 86400 + hours * 3600 + minutes * 60 + seconds


def pattern_of(path: Path) -> str:
    """Return a path as Slurm takes it where it expands `%`."""
    return str(path).replace("%", "%%")


def minutes_of(seconds: float) -> str:
    """Return a limit as Slurm takes it: whole minutes, no fewer than asked."""
    return str(max(1, math.ceil(seconds / 60)))


_MEANINGS = {
    "TIMEOUT": "its time was over",
    "DEADLINE": "its deadline was over",
    "NODE_FAIL": "its node failed",
    "BOOT_FAIL": "its node did not start",
    "PREEMPTED": "another job took its place",
    "REVOKED": "another cluster took it",
    "CANCELLED": "it was cancelled",
    "OUT_OF_MEMORY": "it used more memory than it had",
}


def meaning_of(job: Job, *, memory: bool = False) -> str:
    """Return how a job ended, for people: Slurm's word, what it means, and where it was; `memory`: it ran out of it."""
    where = f" on {job.nodes}" if job.nodes else ""
    means = _MEANINGS.get("OUT_OF_MEMORY" if memory else job.state, "")
    return f"{job.said}{where}" + (f" ({means})" if means else "")


def ran_out(job: Job, log: str) -> bool:
    """Return whether a job was killed for want of memory: by Slurm's word, or by what its steps have said."""
    if job.state == "OUT_OF_MEMORY":
        return True
    step = rf"StepId={re.escape(job.number)}\.\S+"
    said = rf"{step} exceeded memory limit|oom[- ]kill event\S* in {step}"
    return job.state == "FAILED" and bool(job.number) and re.search(said, log, re.IGNORECASE) is not None

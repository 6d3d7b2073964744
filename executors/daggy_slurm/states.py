"""What Slurm's words mean. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime

from attrs import frozen

from daggy.attempt import Reason

FORMAT = "%i|%T|%r|%j|%e|%N"
"""Of squeue: id, state, reason, name, end, nodes."""

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
"""The state of a job that takes no more part in anything, of which something may still run; it may last."""

STUCK = frozenset({"PartitionConfig", "BadConstraints", "JobHeldUser", "JobHeldAdmin", "DependencyNeverSatisfied"})
"""Reasons for which a job waits until somebody does something."""

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
    """

    id: str
    state: str
    reason: str
    name: str
    end: float | None
    nodes: str

    @property
    def element(self) -> int | None:
        """Its number in its array; None: it is in none."""
        _, mark, number = self.id.partition("_")
        return int(number) if mark and number.isdigit() else None

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
        listed, state, reason, name, end, nodes = fields
        for job in _ids(listed):
            yield Job(job, state, reason, name, time_of(end), nodes)


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


def minutes_of(seconds: float) -> str:
    """Return a limit as Slurm takes it: whole minutes, no fewer than asked."""
    return str(max(1, -int(-seconds // 60)))


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


def meaning_of(job: Job) -> str:
    """Return how a job ended, for people: Slurm's word, what it means, and where it was."""
    where = f" on {job.nodes}" if job.nodes else ""
    means = _MEANINGS.get(job.state, "")
    return f"{job.said}{where}" + (f" ({means})" if means else "")


def reason_of(job: Job) -> Reason:
    """Return why what a job ran ended, if that has left no word of its own."""
    return Reason.MEMORY if job.state == "OUT_OF_MEMORY" else Reason.LOST

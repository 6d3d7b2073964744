"""Settings of the Slurm executor."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from string import Formatter

from attrs import field, frozen

from daggy.launcher.homecoming import FETCH_BYTES
from daggy.launcher.pilots.autoscaler import LAST
from daggy.validators import absolute, duration, least, one_line, one_of, seconds

OWN = (
    "array", "chdir", "D", "cpus-per-task", "c", "error", "e", "export", "gres", "job-name", "J", "mem", "mem-per-cpu",
    "nodes", "N", "ntasks", "n", "no-requeue", "requeue", "open-mode", "output", "o", "parsable", "signal", "time", "t",
    "wait", "W", "wrap", "a", "input", "i", "test-only", "dependency", "d", "quiet", "Q", "clusters", "M", "help", "h",
    "usage", "version", "V",
)  # fmt: skip
"""Options of sbatch that Daggy gives itself, or that would break what it does."""

OWN_MB = {"pilots": 128, "arrays": 32}
"""MiB that jobs are asked for beyond what tasks have, by mode: an agent, its relay and its launcher take 72 when they
have little to do; what runs elements of arrays takes 11."""


@frozen
class SlurmSettings:
    """Settings of a pool of the Slurm executor.

    Args:
        mode: "pilots": allocations that take one task after the other; "arrays": each task is a job, or a part of one.
        partition: Where jobs go; empty: the cluster's default.
        account: Who pays.
        qos: Quality of service.
        constraint: What nodes must have.
        reservation: What was reserved.
        time: How long an allocation lasts, such as "4h".
        cores: Of each allocation, for tasks.
        memory_mb: Of each allocation, for tasks, MiB; 0: tasks cannot ask for any.
        gpus: Of each allocation.
        most: How many allocations there may be at once, waiting ones included; of arrays how many tasks. 0: 10, or
            1,000 of arrays.
        idle: How long one without a task is kept.
        task_time: What a task is taken to need of which nothing is known; empty: a tenth of `time`.
        tasks_per_job: Of arrays, how many tasks one job runs at most, one after the other: fewer where the limit of so
            many is more than the partition allows.
        resources: Of arrays, how sbatch is told of other needs: {"licences": "--licenses=lic:{n}"}.
        shared_is_local: That nodes are this machine: they see its own disk, and reach 127.0.0.1.
        setup: Lines of shell that each allocation begins with, such as "module load gcc".
        environment: Variables of every task, under those of its spec.
        inherit: Whether tasks get the environment of their allocation (less DAGGY_*) too.
        output_bytes: The most that an attempt may write; 0: no limit.
        fetch_bytes: The most that an attempt may have written for its output to be copied here once it has ended.
        python: Of pilots the Python that has Daggy, as nodes see it, else any of 3.8 or newer; empty: the one that runs
            here, or "python3".
        shared: A directory that this machine and all nodes see, for tokens and the logs of allocations.
        sbatch: More arguments for `sbatch`, such as ["--nice=100"].
        interval: How often Slurm is asked what has become of jobs.
        lease: How long tasks go on there without a word from here.
    """

    mode: str = field(default="pilots", validator=one_of("pilots", "arrays"))
    partition: str = field(default="", validator=one_line)
    account: str = field(default="", validator=one_line)
    qos: str = field(default="", validator=one_line)
    constraint: str = field(default="", validator=one_line)
    reservation: str = field(default="", validator=one_line)
    time: str = field(default="1h", validator=duration)
    cores: int = field(default=1, validator=least(1))
    memory_mb: int = field(default=0, validator=least(0))
    gpus: int = field(default=0, validator=least(0))
    most: int = field(default=0, validator=least(0))
    idle: str = field(default="2m", validator=duration)
    task_time: str = ""
    tasks_per_job: int = field(default=1, validator=least(1))
    resources: Mapping[str, str] = field(factory=dict)
    shared_is_local: bool = False
    setup: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(factory=dict)
    inherit: bool = True
    output_bytes: int = field(default=0, validator=least(0))
    fetch_bytes: int = field(default=FETCH_BYTES, validator=least(0))
    python: str = field(default="", validator=one_line)
    shared: str = field(default="~/.cache/daggy/slurm", validator=absolute)
    sbatch: tuple[str, ...] = ()
    interval: str = field(default="10s", validator=duration)
    lease: str = field(default="15m", validator=duration)

    def __attrs_post_init__(self) -> None:
        """Refuse what Daggy says itself, and times that leave none for tasks."""
        refuse_own(self.sbatch, "sbatch")
        for name, text in self.resources.items():
            refuse_need(name, text)
        if self.mode == "arrays":
            return
        if self.seconds <= LAST:
            raise ValueError(f"time: {self.time} is too short; the last {LAST:.0f} s of an allocation are for its end")
        if self.task_time and seconds(self.task_time) > self.seconds - LAST:
            raise ValueError(f"task_time: {self.task_time} does not fit in an allocation of {self.time}")

    @property
    def seconds(self) -> float:
        """How long an allocation lasts."""
        return seconds(self.time)

    @property
    def untimed(self) -> float:
        """Seconds that a task is taken to need of which nothing is known."""
        return seconds(self.task_time) if self.task_time else min(self.seconds / 10, self.seconds - LAST)

    @property
    def totals(self) -> dict[str, float]:
        """What an allocation has for tasks."""
        return {"cores": float(self.cores), "memory_mb": float(self.memory_mb), "gpus": float(self.gpus)}

    @property
    def own_mb(self) -> int:
        """MiB of a job for Daggy's own processes."""
        return OWN_MB[self.mode]

    @property
    def interpreter(self) -> str:
        """The Python of jobs, as nodes see it."""
        return self.python or ("python3" if self.mode == "arrays" else sys.executable)

    @property
    def at_once(self) -> int:
        """How many allocations, or tasks, there may be at once."""
        return self.most or (1000 if self.mode == "arrays" else 10)

    @property
    def place(self) -> Path:
        """The directory that all see."""
        return Path(os.path.expanduser(self.shared))  # noqa: PTH111 - without a home it stays as it is


def refuse_own(arguments: Iterable[str], place: str) -> None:
    """Refuse arguments of sbatch that Daggy gives itself, also in short; ValueError."""
    for argument in arguments:
        name = option_of(argument)
        dashes = "--" if argument.startswith("--") else "-"
        if name in OWN:
            raise ValueError(f"{place}: {dashes}{name} is Daggy's own; remove it")
        meant = [one for one in OWN if len(one) > 1 and one.startswith(name)] if name and dashes == "--" else []
        if meant:
            raise ValueError(f"{place}: --{name} is short for --{meant[0]}, which is Daggy's own; remove it")


def refuse_need(name: str, text: str) -> None:
    """Refuse what does not tell sbatch of a need: anything but an option with `{n}` for the amount; ValueError."""
    place = f"resources.{name}"
    if name in ("cores", "memory_mb", "gpus"):
        raise ValueError(f"{place}: Daggy asks for {name} itself; remove it")
    try:
        fields = [one for _, one, *rest in Formatter().parse(text) if one is not None or any(rest)]
        is_plain = set(fields) <= {"n"} and text.format(n="1") is not None
    except (ValueError, LookupError):
        is_plain = False
    if not is_plain:
        raise ValueError(
            f"{place}: {text!r} must have {{n}} for the amount, and no other braces (as text: {{{{ and }}}})"
        )
    if not option_of(text):
        raise ValueError(f"{place}: {text!r} is no option of sbatch; write one such as '--licenses={name}:{{n}}'")
    refuse_own([text], place)


def option_of(argument: str) -> str:
    """Return the name of the option that an argument of sbatch gives; empty if it gives none."""
    if argument.startswith("--"):
        return argument[2:].partition("=")[0]
    return argument[1:2] if argument.startswith("-") else ""

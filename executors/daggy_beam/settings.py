"""Settings of the Beam executor."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import Attribute, field, frozen

from daggy.validators import absolute, least, one_line
from daggy_beam.kind import DOWNLOADS, short, wrong_option


def _staging(instance: object, attribute: Attribute[str], value: str) -> None:
    """Refuse what is no directory."""
    if "://" in value:
        raise ValueError(
            f"staging: '{value}' is not a directory; tasks are claimed by creating files exclusively, which object "
            "stores do not offer: name a directory that this machine and all workers see"
        )
    absolute(instance, attribute, value)


def _options(_: object, __: Attribute[Mapping[str, Any]], value: Mapping[str, Any]) -> None:
    """Refuse what no runner takes."""
    for name, option in value.items():
        for wrong, mend in wrong_option(name, option):
            raise ValueError(f"options.{name}: {wrong}; {mend}")


@frozen
class BeamPoolSettings:
    """Settings of a pool of the Beam executor.

    Args:
        runner: Name of one of Beam's runners, or a class in full.
        options: Beam's pipeline options by name.
        staging: A directory that this machine and all workers see.
        python: An interpreter on this machine that has Apache Beam; empty: the one that runs here.
        workers: Of FnApiRunner, how many tasks of a job run at once; 0: as many as this machine has cores.
        jobs: How many jobs of the runner there may be at once. Each has a process here.
        tasks_per_shard: How many tasks an element of a pipeline runs, one after the other.
        most: How many tasks there may be at once.
        environment: Variables of every task, under those of its spec.
        inherit: Whether tasks get the environment of their worker (less DAGGY_*) too.
        output_bytes: The most that an attempt may write; 0: no limit.
    """

    runner: str = field(default="FnApiRunner", validator=one_line)
    options: Mapping[str, Any] = field(factory=dict, validator=_options)
    staging: str = field(default="~/.cache/daggy/beam", validator=_staging)
    python: str = field(default="", validator=one_line)
    workers: int = field(default=0, validator=least(0))
    jobs: int = field(default=4, validator=least(1))
    tasks_per_shard: int = field(default=20, validator=least(1))
    most: int = field(default=1000, validator=least(1))
    environment: Mapping[str, str] = field(factory=dict)
    inherit: bool = True
    output_bytes: int = field(default=0, validator=least(0))

    def __attrs_post_init__(self) -> None:
        """Refuse runners that are none, and workers of others than FnApiRunner."""
        if not self.runner:
            raise ValueError("runner: is empty; name one of Beam's runners, such as FnApiRunner")
        if short(self.runner) == "direct":
            raise ValueError(f"runner: '{self.runner}' {DOWNLOADS}; name FnApiRunner")
        if self.workers and not self.is_local:
            raise ValueError(
                f"workers: {self.runner} decides itself how many workers it has; remove it, or say so in `options`"
            )

    @property
    def is_local(self) -> bool:
        """Whether the runner's workers are threads of the process that submits to it."""
        return short(self.runner) == "fnapi"

    @property
    def pipeline_options(self) -> dict[str, Any]:
        """The options of each pipeline."""
        if not self.is_local:
            return dict(self.options)
        workers = self.workers or len(os.sched_getaffinity(0))
        return {"direct_num_workers": workers, "direct_running_mode": "multi_threading", **self.options}

    @property
    def interpreter(self) -> str:
        """The Python that has Beam."""
        return self.python or sys.executable

    @property
    def place(self) -> Path:
        """The directory that all see."""
        return Path(os.path.expanduser(self.staging))  # noqa: PTH111 - without a home it stays as it is

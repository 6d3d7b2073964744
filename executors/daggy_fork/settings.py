"""Settings of the fork executor."""

from __future__ import annotations

import os
from collections.abc import Mapping

from attrs import field, frozen

from daggy.validators import least


def default_workers() -> int:
    """Return the cores that this process may use less two, or all of them where there are two or fewer."""
    cores = len(os.sched_getaffinity(0))
    return cores - 2 if cores > 2 else cores


def default_memory_mb() -> float:
    """Return the machine's memory, MiB."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // (1 << 20)


@frozen
class ForkSettings:
    """Settings of a pool of the fork executor.

    Args:
        workers: Tasks at once, and the machine's `cores`.
        memory_mb: The machine's `memory_mb`, MiB.
        resources: Whatever else the machine is said to have, by name.
        output_bytes: The most that an attempt may write; 0: no limit.
        environment: Variables of every task, under those of its spec.
        inherit: Whether tasks get the environment of this process (less DAGGY_*) too.
    """

    workers: int = field(factory=default_workers, validator=least(1))
    memory_mb: float = field(factory=default_memory_mb, validator=least(0))
    resources: Mapping[str, float] = field(factory=dict)
    output_bytes: int = field(default=0, validator=least(0))
    environment: Mapping[str, str] = field(factory=dict)
    inherit: bool = True

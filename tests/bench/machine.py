"""The machine that figures belong to, in one line."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def machine() -> str:
    """Return cores, processor, kernel and Python."""
    cores = len(os.sched_getaffinity(0))
    processor = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return f"{cores} cores ({processor}), Linux {platform.release()}, Python {platform.python_version()}"


def load() -> float:
    """Return how many processes wanted to run in the last minute: figures of a busy machine say little."""
    return os.getloadavg()[0]

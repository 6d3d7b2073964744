"""Measuring in a fresh process: memory counts from nothing, and no figure depends on what was measured before it."""

from __future__ import annotations

import gc
import importlib
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

HERE = Path(__file__).parent
FRESH = "--fresh"
"""The argument that makes `python tests/bench` such a process."""

PATIENCE = 600.0
"""Seconds for any measurement: one that takes longer is a failure, not a figure."""

Figures = dict[str, float]


class BenchError(Exception):
    """A measurement could not be made; the message has the last lines of what the process said."""


def fresh(function: str, **arguments: object) -> Figures:
    """Call `module.function(**arguments)` of this folder in a fresh process; return the figures that it returns.

    Raises:
        BenchError: it failed, or takes too long.
    """
    command = fresh_command(function, arguments)
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{function}: not done after {PATIENCE:.0f} s") from error
    if done.returncode:
        said = done.stderr.strip().splitlines()[-3:]
        raise BenchError(f"{function}: exit code {done.returncode}: {' | '.join(said)}")
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def fresh_command(function: str, arguments: Mapping[str, object]) -> list[str]:
    """Return the command of such a process."""
    return [sys.executable, str(HERE), FRESH, function, json.dumps(arguments)]


def answer(function: str, arguments: str) -> None:
    """Be the fresh process: call, and print the figures."""
    module, _, name = function.partition(".")
    call = getattr(importlib.import_module(f"{__package__}.{module}"), name)
    tune_collector()
    print(json.dumps(call(**json.loads(arguments))))


def tune_collector() -> None:
    """Set the collector as `daggy run` does."""
    gc.set_threshold(100_000, 50, 1_000)
    gc.freeze()


def resident(key: str = "VmRSS", process: str = "self") -> int:
    """Return a process's resident bytes; `VmHWM`: at its peak. Not ru_maxrss, which has the parent's in it."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0]) * 1024
    raise BenchError(f"no {key} in /proc/{process}/status")


def cpu(process: int) -> float:
    """Return the seconds of CPU that a process has used, without those of its children, to the nanosecond."""
    return time.clock_gettime((~process << 3) | 2)  # its clock's number, as clock_getcpuclockid(3) makes it

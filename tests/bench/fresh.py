"""Measuring in a fresh process: memory counts from nothing, and no figure depends on what was measured before it."""

from __future__ import annotations

import gc
import importlib
import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
FRESH = "--fresh"
"""The argument that makes `python tests/bench` such a process."""

Figures = dict[str, float]


class BenchError(Exception):
    """A measurement could not be made; the message has the last lines of what the process said."""


def fresh(function: str, **arguments: object) -> Figures:
    """Call `module.function(**arguments)` of this folder in a fresh process; return the figures that it returns.

    Raises:
        BenchError: it failed.
    """
    command = [sys.executable, str(HERE), FRESH, function, json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines()[-3:]
        raise BenchError(f"{function}: exit code {done.returncode}: {' | '.join(said)}")
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


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


def resident(key: str = "VmRSS") -> int:
    """Return this process's resident bytes; `VmHWM`: at its peak. Not ru_maxrss, which has the parent's in it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0]) * 1024
    raise BenchError(f"no {key} in /proc/self/status")

"""Rows of Beam: a program as a task and by hand, and tasks that FnApiRunner carries, in turn with processes here."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from tests.bench.agents import run
from tests.bench.fresh import BenchError
from tests.bench.goals import Measured
from tests.bench.service import started
from tests.bench.sizes import Sizes
from tests.integration.serve_rig import DAGGY

WORKERS, SHARD = 2, 200
LEAST = 1e-3
"""A difference that is too small to be told from none."""

FEW = 40
"""Tasks, where only that it works is to be seen."""

PROGRAM = """\
import apache_beam as beam
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

with beam.Pipeline(runner=FnApiRunner()) as pipeline:
    pipeline | beam.Create([1]) | beam.Map(lambda element: element + 1)
"""


def _python() -> str:
    if importlib.util.find_spec("apache_beam") is not None:
        return sys.executable
    if found := os.environ.get("DAGGY_BEAM_PYTHON"):
        return found
    raise BenchError("no Beam: pip install 'daggy[beam]', or name an interpreter that has it in DAGGY_BEAM_PYTHON")


def beam(sizes: Sizes, directory: Path) -> Iterator[tuple[str, Measured]]:
    """Measure a pipeline of one element, then `true` in a pool of two workers."""
    python, state = _python(), directory / "state"
    flow = {
        "executor": "beam",
        "python": python,
        "staging": str(directory / "staging"),
        "workers": WORKERS,
        "tasks_per_shard": SHARD,
    }
    pools = {"here": {"executor": "fork", "workers": WORKERS}, "flow": {**flow, "most": 10_000}}
    config, program = directory / "daggy.json", directory / "program.py"
    config.write_text(json.dumps({"pools": pools, "default_pool": "here"}))
    program.write_text(PROGRAM)
    command = [*DAGGY, "serve", "--port", "0", "--config", str(config), "--dir", str(state)]
    step: dict[str, object] = {"one": {"details": {"beam": {"file": str(program), "python": python}}}}
    count = min(sizes.processes, FEW) if sizes.rounds == 1 else sizes.processes
    with started(command, state) as server, server.asking() as asker:
        bare, own, found, local = [], [], [], []
        for _ in range(sizes.rounds):
            bare.append(_by_hand(python, program))
            own.append(run(asker, step)[1])
        above = max(min(own) - min(bare), LEAST)
        yield "beam.step", Measured(above, f"{min(own):.2f} s, of {min(bare):.2f} by hand, the best of {len(own)} each")
        for _ in range(sizes.rounds):
            found.append(count / run(asker, _nothing(count, "flow"))[1])
            local.append(count / run(asker, _nothing(count, "here"))[1])
    ratio = median(far / near for far, near in zip(found, local, strict=True))
    yield (
        "beam.bundles",
        Measured(ratio, f"{median(found):,.0f} tasks/s, of {median(local):,.0f} here; {SHARD} a shard"),
    )


def _nothing(count: int, pool: str) -> dict[str, object]:
    details = {"command": ["/bin/true", "{{ N }}"]}
    return {"many": {"details": details, "parameters": {"N": {"range": [0, count]}}, "pool": pool}}


def _by_hand(python: str, program: Path) -> float:
    """Return the seconds that a program takes without Daggy."""
    began = time.perf_counter()
    done = subprocess.run([python, str(program)], capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise BenchError(f"the program fails: {done.stderr[-500:]}")
    return time.perf_counter() - began

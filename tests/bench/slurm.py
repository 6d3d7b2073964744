"""Rows of a Slurm cluster of four nodes, all of them this machine: pilots, arrays, and what Slurm does by itself."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.agents import flat, run
from tests.bench.asking import Asker
from tests.bench.fresh import BenchError
from tests.bench.goals import Measured
from tests.bench.service import started
from tests.bench.sizes import Sizes
from tests.integration.agent_rig import free_port
from tests.integration.serve_rig import DAGGY
from tests.integration.slurm_rig import PROGRAMS, Slurm

JOBS, PACKED, PENDING = 200, 2_000, 1_000
"""Jobs of one task each; tasks of which 20 are a job; elements that wait while Slurm is asked for all."""

LOOK = 0.02
NOTHING = "#!/bin/sh\nexec true\n"


@contextlib.contextmanager
def _cluster() -> Iterator[Slurm]:
    missing = [name for name in PROGRAMS if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None]
    if missing:
        raise BenchError(f"no {missing[0]}: install slurm-wlm and munge")
    found = Slurm()
    try:
        found.start()
        os.environ["SLURM_CONF"] = str(found.configuration)
        yield found
    finally:
        os.environ.pop("SLURM_CONF", None)
        found.stop()


@contextlib.contextmanager
def _serving(directory: Path, **settings: Any) -> Iterator[Asker]:
    directory.mkdir()
    slurm = {"executor": "slurm", "shared": str(directory / "shared"), "shared_is_local": True, **settings}
    pools = {"here": {"executor": "fork", "workers": 2}, "hpc": slurm}
    agents = {"ip": "127.0.0.1", "port": free_port()}
    config = directory / "daggy.json"
    config.write_text(json.dumps({"pools": pools, "default_pool": "hpc", "agents": agents}))
    state = directory / "state"
    command = [*DAGGY, "serve", "--port", "0", "--config", str(config), "--dir", str(state)]
    with started(command, state) as server, server.asking() as asker:
        yield asker


def slurm(sizes: Sizes, directory: Path) -> Iterator[tuple[str, Measured]]:
    """Measure `echo`, captured, in two pilots and, in turn, in processes of the server itself; then arrays."""
    with _cluster() as cluster:
        yield from _pilots(sizes, directory)
        yield from _arrays(sizes, directory, cluster)
        yield "slurm.poll", _poll(sizes, cluster)


def _pilots(sizes: Sizes, directory: Path) -> Iterator[tuple[str, Measured]]:
    with _serving(directory / "pilots", cores=2, most=1, idle="10m") as asker:
        _, first = run(asker, flat(1, "hpc"))
        found, local = [], []
        for _ in range(sizes.rounds):
            found.append(sizes.processes / run(asker, flat(sizes.processes, "hpc"))[1])
            local.append(sizes.processes / run(asker, flat(sizes.processes, "here"))[1])
    ratio = median(far / near for far, near in zip(found, local, strict=True))
    yield "slurm.pilots", Measured(ratio, f"{median(found):,.0f} tasks/s, of {median(local):,.0f} here")
    yield "slurm.pilots.first", Measured(first, "with the two seconds for which tasks find no room")


def _arrays(sizes: Sizes, directory: Path, cluster: Slurm) -> Iterator[tuple[str, Measured]]:
    few = sizes.processes < JOBS
    jobs, packed = (10, 40) if few else (JOBS, PACKED)
    settings = {"mode": "arrays", "most": 10_000, "interval": "2s", "python": sys.executable}
    bare = [_bare(cluster, jobs) for _ in range(sizes.rounds)]
    with _serving(directory / "arrays", **settings) as asker:
        own = [run(asker, flat(jobs, "hpc"))[1] for _ in range(sizes.rounds)]
    loop = _loop(cluster, min(jobs, 50))
    said = f"{jobs / median(own):.0f} jobs/s; the bare array {jobs / median(bare):.0f}, `sbatch --wrap` {loop:.0f}"
    yield "slurm.arrays", Measured(median(bare) / median(own), said)
    with _serving(directory / "packed", **settings, tasks_per_job=20) as asker:
        rates = [packed / run(asker, flat(packed, "hpc"))[1] for _ in range(sizes.rounds)]
    yield "slurm.arrays.packed", Measured(median(rates))


def _bare(cluster: Slurm, jobs: int) -> float:
    """Return the seconds that an array of `exec true` takes."""
    began = time.perf_counter()
    cluster.call("sbatch", "--parsable", f"--array=0-{jobs - 1}", "--output=/dev/null", stdin=NOTHING)
    while cluster.jobs():
        time.sleep(LOOK)
    return time.perf_counter() - began


def _loop(cluster: Slurm, jobs: int) -> float:
    """Return how many jobs a second go through that are submitted one by one."""
    began = time.perf_counter()
    for _ in range(jobs):
        cluster.call("sbatch", "--output=/dev/null", "--wrap=true")
    while cluster.jobs():
        time.sleep(LOOK)
    return jobs / (time.perf_counter() - began)


def _poll(sizes: Sizes, cluster: Slurm) -> Measured:
    cluster.call("scontrol", "update", "PartitionName=main", "State=DOWN")
    cluster.call("sbatch", f"--array=0-{PENDING - 1}", "--output=/dev/null", stdin=NOTHING)
    took = []
    for _ in range(5 * sizes.rounds):
        began = time.perf_counter()
        cluster.call("squeue", "--me", "-h", "-o", "%i|%T|%r|%j|%e|%N|%A")
        took.append(time.perf_counter() - began)
    return Measured(median(took), f"{PENDING:,} elements that wait, one line")

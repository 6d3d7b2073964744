"""Rows of machines that are reached: an SSH server on loopback, in turn with processes started here."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from tests.bench.fresh import fresh
from tests.bench.goals import Measured
from tests.bench.sizes import Sizes
from tests.integration.sshd_rig import PROGRAM, sshd


def ssh(sizes: Sizes, directory: Path) -> Iterator[tuple[str, Measured]]:
    """Measure `echo`, captured, two at once, on a machine that is connected and on this one."""
    if not all(map(shutil.which, (PROGRAM, "ssh", "ssh-keygen"))):
        yield from ((row, Measured(None, "no sshd")) for row in ("ssh.rate", "ssh.cpu"))
        return
    arguments = {"spec": "flat", "count": sizes.processes, "directory": str(directory)}
    ratios, rates, cpu = [], [], []
    with sshd(directory / "sshd") as server:
        pool = server.settings(hosts=[server.host(resources={"cores": 2})])
        for _ in range(sizes.rounds):
            local = fresh("drive.drive", **arguments)
            far = fresh("drive.drive", **arguments, executor="ssh", settings=pool)
            ratios.append(local["run"] / far["run"])
            rates.append(sizes.processes / far["run"])
            cpu.append(far["cpu"] / local["cpu"])
    shutil.rmtree(directory / "sshd")
    yield "ssh.rate", Measured(median(ratios), f"{median(rates):,.0f} tasks/s; {_range(ratios)}")
    yield "ssh.cpu", Measured(median(cpu), _range(cpu))


def _range(ratios: list[float]) -> str:
    return f"{min(ratios):.2f}…{max(ratios):.2f}"

"""Rows of machines that are reached: an SSH server on loopback, in turn with processes started here."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.fresh import fresh
from tests.bench.goals import Measured
from tests.bench.sizes import Sizes
from tests.integration.sshd_rig import PROGRAM, sshd


def ssh(sizes: Sizes, directory: Path) -> Iterator[tuple[str, Measured]]:
    """Measure `echo`, captured, two at once, on machines that are connected and on this one."""
    if not all(map(shutil.which, (PROGRAM, "ssh", "ssh-keygen"))):
        yield from ((row, Measured(None, "no sshd")) for row in ("ssh.rate", "ssh.cpu", "ssh.4"))
        return
    with sshd(directory / "sshd0") as server:
        pool = server.settings(hosts=[server.host(resources={"cores": 2})])
        ratios, rates, cpu = _beside(sizes, directory, pool)
    yield "ssh.rate", Measured(median(ratios), f"{median(rates):,.0f} tasks/s; {_range(ratios)}")
    yield "ssh.cpu", Measured(median(cpu), _range(cpu))
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(sshd(directory / f"sshd{number}")) for number in range(1, 5)]
        hosts = [server.host(f"m{number}", resources={"cores": 1}) for number, server in enumerate(servers)]
        known = directory / "known"
        known.write_text("".join(server.known.read_text() for server in servers))
        ways = ["-F", "none", "-o", f"UserKnownHostsFile={known}"]
        ratios, rates, cpu = _beside(sizes, directory, servers[0].settings(hosts=hosts, ssh=ways))
        known.unlink()
    shown = f"{median(rates):,.0f} tasks/s; {_range(ratios)}; CPU {median(cpu):.2f} of here"
    yield "ssh.4", Measured(median(ratios), shown)
    for place in directory.glob("sshd*"):
        shutil.rmtree(place)


def _beside(sizes: Sizes, directory: Path, pool: dict[str, Any]) -> tuple[list[float], list[float], list[float]]:
    """Return ratios of rates, rates, and ratios of CPU of the main process: there and here in turn."""
    arguments = {"spec": "flat", "count": sizes.processes, "directory": str(directory)}
    ratios, rates, cpu = [], [], []
    for _ in range(sizes.rounds):
        local = fresh("drive.drive", **arguments)
        far = fresh("drive.drive", **arguments, executor="ssh", settings=pool)
        ratios.append(local["run"] / far["run"])
        rates.append(sizes.processes / far["run"])
        cpu.append(far["cpu"] / local["cpu"])
    return ratios, rates, cpu


def _range(ratios: list[float]) -> str:
    return f"{min(ratios):.2f}…{max(ratios):.2f}"

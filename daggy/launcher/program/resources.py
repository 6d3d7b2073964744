"""What a machine has for tasks: the cores and the memory that this process may use, and its GPUs."""

from __future__ import annotations

import os

from daggy.launcher.program.light import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Iterator


MIB = 1 << 20
CGROUPS = "/sys/fs/cgroup"


def measured() -> dict[str, int]:
    """Return `cores`, `memory_mb` (MiB) and, if there are any, `gpus`."""
    found = {"cores": cores(), "memory_mb": memory() // MIB}
    gpus = count_gpus()
    return {**found, "gpus": gpus} if gpus else found


def cores() -> int:
    """Return the cores that this process may use, at least one."""
    count = len(os.sched_getaffinity(0))
    for line in limits("cpu.max"):
        quota, _, period = line.partition(" ")
        if quota.isdigit() and period.isdigit():
            count = min(count, int(quota) // int(period))
    return max(1, count)


def memory() -> int:
    """Return the bytes of memory that this process may use."""
    count = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([count, *(int(line) for line in limits("memory.max") if line.isdigit())])


def limits(name: str) -> Iterator[str]:
    """Yield a setting of the control group (version 2) of this process, and of those around it."""
    try:
        with open("/proc/self/cgroup") as file:
            paths = [line.strip()[3:] for line in file if line.startswith("0::")]
    except OSError:
        return
    path = paths[0].rstrip("/") if paths else ""
    while True:
        try:
            with open("%s%s/%s" % (CGROUPS, path, name)) as file:
                yield file.read().strip()
        except OSError:
            pass
        if not path:
            return
        path = path.rpartition("/")[0]


def count_gpus() -> int:
    """Return how many GPUs `nvidia-smi` lists; none if it is not there."""
    for folder in os.environ.get("PATH", os.defpath).split(":"):
        program = folder + "/nvidia-smi"
        if folder and os.access(program, os.X_OK):
            return sum(line.startswith(b"GPU ") for line in output_of([program, "-L"]))
    return 0


def output_of(command: list[str]) -> list[bytes]:
    """Return the lines that a program writes to its standard output."""
    source, sink = os.pipe()
    nothing = os.open(os.devnull, os.O_RDWR)
    files = [(os.POSIX_SPAWN_DUP2, nothing, 0), (os.POSIX_SPAWN_DUP2, sink, 1), (os.POSIX_SPAWN_DUP2, nothing, 2)]
    pid = os.posix_spawn(command[0], command, os.environ, file_actions=files)
    os.close(nothing)
    os.close(sink)
    with open(source, "rb") as file:
        lines = file.read().splitlines()
    os.waitpid(pid, 0)
    return lines

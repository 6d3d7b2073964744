"""The C loop that real processes are measured against: compiled here, run in the same minute."""

from __future__ import annotations

import resource
import shutil
import subprocess
import time
from pathlib import Path

from attrs import frozen

SOURCE = Path(__file__).with_name("baseline.c")


@frozen
class Limit:
    """What the loop came to: processes a second, and seconds of CPU a process, the loop's own share in it."""

    rate: float
    cpu: float


@frozen
class Baseline:
    """The compiled loop.

    Args:
        program: Where it is.
        segment: The file that its children's output goes to, on the filesystem where ours goes.
    """

    program: Path
    segment: Path

    def run(self, command: list[str], count: int, slots: int) -> Limit:
        """Run `count` processes, `slots` at once; the loop's own start counts."""
        self.segment.unlink(missing_ok=True)
        began, cpu = time.perf_counter(), _cpu_of_children()
        subprocess.run([self.program, str(slots), str(count), self.segment, *command], check=True)
        return Limit(count / (time.perf_counter() - began), (_cpu_of_children() - cpu) / count)


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def compiled(directory: Path) -> Baseline | None:
    """Compile the loop into a directory; None where there is no gcc."""
    gcc = shutil.which("gcc")
    if gcc is None:
        return None
    program = directory / "baseline"
    subprocess.run([gcc, "-O2", "-Wall", "-Wextra", "-Werror", "-o", program, SOURCE], check=True)
    return Baseline(program, directory / "segment")

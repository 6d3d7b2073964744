"""Rows of the command line: whole processes, from their start to their exit."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from tests.bench.fresh import BenchError
from tests.bench.goals import Measured
from tests.bench.sizes import Sizes

TIMES = 5
ONE_TASK = '{"tasks": {"one": {"details": {"command": ["/bin/true"]}}}}'


def cli(sizes: Sizes, directory: Path) -> Iterator[tuple[str, Measured]]:
    """Measure `daggy run` of one task and `daggy --help`."""
    spec = directory / "one.json"
    spec.write_text(ONE_TASK)
    for name, arguments in (("cli.help", ["--help"]), ("cli.run", ["run", str(spec)])):
        yield name, _measure(arguments, directory, sizes.repeats * TIMES)


def _measure(arguments: list[str], directory: Path, times: int) -> Measured:
    command, environment = [*program(), *arguments], _environment(directory)
    seconds = []
    for _ in range(1 + times):
        began = time.perf_counter()
        done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
        seconds.append(time.perf_counter() - began)
        if done.returncode:
            said = (done.stderr.strip().splitlines() or [""])[-1]
            raise BenchError(f"daggy {arguments[0]}: exit code {done.returncode}: {said}")
    del seconds[0]  # compiled the modules, as an installer does
    return Measured(median(seconds), f"{min(seconds):.2f}…{max(seconds):.2f} s; median of {times}")


def _environment(directory: Path) -> dict[str, str]:
    """Return ours, less what changes what Daggy does, and with compiled modules whatever ours says of them."""
    ours = {key: value for key, value in os.environ.items() if not key.startswith("DAGGY_")}
    ours.pop("PYTHONDONTWRITEBYTECODE", None)
    return {**ours, "PYTHONPYCACHEPREFIX": str(directory / "pycache")}


def program() -> list[str]:
    """Return the installed script, or what it would do where there is none."""
    script = Path(sys.executable).with_name("daggy")
    if script.exists():
        return [str(script)]
    return [sys.executable, "-c", "import sys; from daggy.cli import main; sys.exit(main())"]

"""The command: stories one after the other until the time is up, then what they survived."""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import mkdtemp

from tests.chaos import faults
from tests.chaos.engine import warm_up
from tests.chaos.show import BROKEN, Show, in_processes

DEATHS = (
    ("engine", "engines killed"),
    ("launcher", "launchers killed"),
    ("both", "both killed"),
    ("power", "power cuts"),
    ("named boundary", "killed at a named boundary"),
    ("full", "full disks"),
    ("clock jumps", "clock jumps"),
    ("leave", "ended in order"),
)
"""What stories count, and how it is told."""


def main(arguments: Sequence[str]) -> int:
    """Play stories; return the exit code."""
    asked = _parser().parse_args(arguments)
    home = asked.dir or Path(mkdtemp(prefix="daggy-chaos-"))
    home.mkdir(parents=True, exist_ok=True)
    (home / BROKEN).unlink(missing_ok=True)
    preloaded = os.environ.pop("LD_PRELOAD", "")
    if not preloaded.endswith(f"/{faults.LIBRARY}"):
        library = faults.build(home)
        words = [sys.executable, str(Path(__file__).parent), *arguments, "--dir", str(home)]
        sys.stdout.flush()
        os.execve(sys.executable, words, {**os.environ, "LD_PRELOAD": str(library)})
    warm_up()
    return _play(Show(home, Path(preloaded)), asked)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python tests/chaos", description="Kill Daggy anywhere, and check what it says.")
    parser.add_argument("--seconds", type=float, default=120.0, help="for how long (120)")
    parser.add_argument("--seed", type=int, help="one story again: the same specs, commands and faults, timed anew")
    parser.add_argument("--first", type=int, help="the first seed, the others follow it (any)")
    parser.add_argument("--jobs", type=int, choices=range(1, 65), metavar="N", default=2, help="stories at a time (2)")
    parser.add_argument("--dir", type=Path, help="where stories are played, and what is broken is kept")
    return parser


def _play(show: Show, asked: argparse.Namespace) -> int:
    began = time.monotonic()
    if asked.seed is not None:
        is_well = show.tell(asked.seed)
        counts = show.counts
    else:
        first = asked.first if asked.first is not None else random.randrange(1 << 30)
        print(f"stories from seed {first} on, {asked.jobs} at a time, in {show.home}", flush=True)
        counts = in_processes(show, first, asked.jobs, began + asked.seconds)
        is_well = not (show.home / BROKEN).exists()
    print(_summary(counts, time.monotonic() - began))
    return 0 if is_well and counts["stories"] else 1


def _summary(counts: Counter[str], seconds: float) -> str:
    """Return what was survived, in a few lines."""
    whole = [
        f"{counts[name]:,} {name}" for name in ("stories", "runs", "tasks", "attempts", "attempts lost", "commands")
    ]
    deaths = [f"{counts[name]:,} {told}" for name, told in DEATHS]
    places = [f"{name[3:]} {count}" for name, count in sorted(counts.items()) if name.startswith("at ")]
    lines = [
        f"survived in {seconds:.0f} s: {', '.join(whole)}",
        f"with {', '.join(deaths)}",
        f"at boundaries: {', '.join(places) or 'none'}",
    ]
    return "\n".join(lines)

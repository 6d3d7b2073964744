"""The command: which rows, how large, and where the table goes. Nothing here ever asserts a time."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench import table
from tests.bench.agents import across, agents, idle
from tests.bench.beam import beam
from tests.bench.choose import choose
from tests.bench.cli import cli
from tests.bench.crowd import behind, follow, small
from tests.bench.day import day
from tests.bench.drains import drains
from tests.bench.engine import engine, pools
from tests.bench.fresh import FRESH, BenchError, answer
from tests.bench.goals import GOALS, Measured
from tests.bench.kept import kept, lists
from tests.bench.machine import load, machine
from tests.bench.plans import explicit, memory, plans
from tests.bench.processes import calls, chain, latency, processes
from tests.bench.reach import ssh
from tests.bench.sizes import FULL, QUICK, Sizes
from tests.bench.slurm import slurm
from tests.bench.stops import stops
from tests.bench.waits import waits, written

Bench = Callable[[Sizes, Path], Iterator[tuple[str, Measured]]]

BENCHES: Mapping[Bench, Sequence[str]] = {
    processes: ("processes.",),
    calls: ("calls.",),
    chain: ("chain",),
    ssh: ("ssh.",),
    agents: ("agents.1", "agents.4", "agents.64", "agents.cpu"),
    across: ("agents.gap", "agents.large"),
    idle: ("agents.idle", "agents.back"),
    slurm: ("slurm.",),
    beam: ("beam.",),
    latency: ("latency",),
    plans: ("plan.", "fan"),
    memory: ("memory.",),
    drains: ("drain.",),
    engine: ("engine.",),
    pools: ("pool.",),
    choose: ("choose.",),
    explicit: ("explicit.",),
    stops: ("stop.",),
    waits: ("answer.memory", "answer.sqlite", "answer.processes"),
    written: ("answer.coming", "answer.written"),
    kept: ("start", "history"),
    lists: ("lists",),
    behind: ("behind",),
    small: ("small.",),
    follow: ("follow.",),
    day: ("day.",),
    cli: ("cli.",),
}
"""Each bench and what the names of its rows begin with: one bench measures rows that share runs."""

QUICKLY = "; sizes of --quick: figures and verdicts mean nothing"


def main(arguments: Sequence[str]) -> int:
    """Measure what is asked for and print the table; return the exit code."""
    if arguments[:1] == [FRESH]:
        answer(*arguments[1:])
        return 0
    asked = _parser().parse_args(arguments)
    unknown = [name for name in asked.rows if not _chosen([name])]
    if unknown:
        print(f"no row '{unknown[0]}'; there are: {', '.join(GOALS)}", file=sys.stderr)
        return 2
    rows = _chosen(asked.rows) or [name for name, goal in GOALS.items() if not goal.by_name]
    began = time.perf_counter()
    with TemporaryDirectory(prefix="daggy-bench-", dir=asked.dir) as directory:
        measured, whole = _measure(rows, QUICK if asked.quick else FULL, Path(directory))
    show = table.markdown if asked.markdown else table.lines
    print("\n".join(show({name: measured[name] for name in rows if name in measured})))
    said = [machine(), f"load {load():.1f} at the end", f"{time.perf_counter() - began:.0f} s in all"]
    print(f"\n{'; '.join(said)}{QUICKLY if asked.quick else ''}")
    return 0 if whole else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python tests/bench", description="Measure; print figures beside goals.")
    parser.add_argument(
        "rows",
        nargs="*",
        metavar="ROW",
        help=f"a row, or what rows begin with: {', '.join(GOALS)}; default: all but day",
    )
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes: shows that the benches work, and nothing else"
    )
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--dir", type=Path, help="where state directories and segments go (default: the temporary one)")
    return parser


def _chosen(asked: Sequence[str]) -> list[str]:
    """Return the rows whose names are, or begin with, what is asked for."""
    return [name for name in GOALS if any(name == one or name.startswith(f"{one.rstrip('.')}.") for one in asked)]


def _measure(rows: Sequence[str], sizes: Sizes, directory: Path) -> tuple[dict[str, Measured], bool]:
    """Return what was measured, and whether all of it could be."""
    measured: dict[str, Measured] = {}
    whole = True
    for bench, names in BENCHES.items():
        if not any(row.startswith(name) for row in rows for name in names):
            continue
        print(f"{bench.__name__} …", file=sys.stderr, flush=True)
        try:
            measured.update(bench(sizes, directory))
        except BenchError as error:
            whole = False
            print(error, file=sys.stderr)
            mine = [row for row in rows if row.startswith(tuple(names)) and row not in measured]
            measured.update(dict.fromkeys(mine, Measured(None, "failed, see above")))
    return measured, whole

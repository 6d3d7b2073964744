"""The command line of the simulation: so many seeds, on all cores; a seed that fails prints its story."""

from __future__ import annotations

import logging
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import click
import trio
from trio._core import _run as scheduler
from trio.testing import MockClock

from daggy.engine import ended_runs
from tests.simulation.checks import BrokenError, Checks
from tests.simulation.report import report, unended
from tests.simulation.story import Story

CHUNK = 50
T = TypeVar("T")


def play(seed: int) -> tuple[str, Counter[str]]:
    """Play one seed; return what is wrong, with the story of the task concerned (empty: nothing), and some counts."""
    story, said = played(seed)
    return said, _counts(story)


def played(seed: int) -> tuple[Story, str]:
    """Play one seed; return its story, and what is wrong."""
    with _as_chance_has_it(seed), tempfile.TemporaryDirectory(prefix="daggy-simulation-", dir=_memory()) as path:
        story = Story(seed, Path(path))
        said = ""
        try:
            trio.run(story.play, Checks, clock=MockClock(autojump_threshold=0))
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is to be told
            said = _told(story, error)
    return story, said


@contextmanager
def _as_chance_has_it(seed: int) -> Iterator[None]:
    """Let trio's order come from the seed, as its own tests do; let runs that have ended leave memory soon."""
    settings = _settings(seed)
    before = [(place, {name: place[name] for name in given}) for place, given in settings]
    log = logging.getLogger("daggy")
    level = log.level
    log.setLevel(logging.CRITICAL)
    for place, given in settings:
        place.update(given)
    try:
        yield
    finally:
        for place, was in before:
            place.update(was)
        log.setLevel(level)


def _settings(seed: int) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    return [
        (vars(scheduler), {"_ALLOW_DETERMINISTIC_SCHEDULING": True, "_r": Random(seed)}),
        (vars(ended_runs), {"MOST_RUNS": 1, "LEAST_SECONDS": 0.001}),
        (vars(trio.to_thread), {"run_sync": partial(_in_no_thread, Random(seed))}),
    ]


async def _in_no_thread(rng: Random, call: Callable[..., T], *arguments: Any, **how: Any) -> T:
    """Do what an engine leaves to a thread: it takes its time, nobody can stop it, and others go on meanwhile."""
    del how
    with trio.CancelScope(shield=True):
        await trio.sleep(rng.choice([0.0, 0.001, 0.005, 0.05]))
    return call(*arguments)


def _memory() -> str | None:
    """Return where files cost no disk, if there is such a place."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def main(arguments: Sequence[str]) -> int:
    """Play seeds; return 0 if nothing was wrong."""
    try:
        return int(run.main(list(arguments), standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        return error.exit_code


def _told(story: Story, error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, trio.TooSlowError) and story.life is not None:
        error = next((BrokenError("ends", what, run, name) for what, run, name in unended(story.life.engine)), error)
    if not isinstance(error, BrokenError):
        return "".join(traceback.format_exception(error))
    lines = [f"invariant '{error.invariant}': {error.said}"]
    return "\n".join([*lines, *report(story, error.run, error.name)])


def _counts(story: Story) -> Counter[str]:
    log = story.world.log
    return Counter(
        stories=1, runs=len(story.acknowledged), tasks=sum(one.what == "start" for one in log),
        engines=story.deaths, launchers=story.world.kills, held=story.world.held, commands=len(story.asked),
    )  # fmt: skip


def _several(seeds: range) -> list[tuple[int, str, Counter[str]]]:
    return [(seed, *play(seed)) for seed in seeds]


def _chunks(first: int, count: int) -> Iterator[range]:
    for start in range(first, first + count, CHUNK):
        yield range(start, min(start + CHUNK, first + count))


@click.command()
@click.option("--seeds", type=click.IntRange(1), default=1000, show_default=True, help="How many stories.")
@click.option("--first", default=0, show_default=True, help="The first seed.")
@click.option("--seed", type=int, help="Play this one only, and say what happens.")
@click.option("--most", default=5, show_default=True, help="Stop after so many that fail.")
def run(seeds: int, first: int, seed: int | None, most: int) -> int:
    """Play random stories on the real engine in simulated time, and check what must hold."""
    if seed is not None:
        first, seeds = seed, 1
    began = time.monotonic()
    totals: Counter[str] = Counter()
    failed = 0
    with ProcessPoolExecutor() as workers:
        for results in workers.map(_several, _chunks(first, seeds)):
            for number, said, counts in results:
                totals += counts
                if said:
                    failed += 1
                    click.echo(f"seed {number}: {said}\n  again: python tests/simulation --seed {number}\n")
            if failed >= most:
                workers.shutdown(cancel_futures=True)
                break
    seconds = time.monotonic() - began
    rate = totals["stories"] / seconds * 60
    click.echo(
        f"{totals['stories']:,} stories ({rate:,.0f} a minute), {failed} failed: {totals['runs']:,} runs, "
        f"{totals['tasks']:,} attempts, {totals['commands']:,} commands; killed: {totals['engines']:,} engines, "
        f"{totals['launchers']:,} launchers; {totals['held']:,} held by a place"
    )
    sys.stdout.flush()
    return 1 if failed else 0

"""`daggy logs`: what tasks wrote."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

import click
from attrs import frozen

from daggy.cli import text
from daggy.cli.options import json_option, narrowing_options, run_argument, selectors_argument
from daggy.cli.target import Target, target_options
from daggy.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from daggy.cli.source import Json, RunSource

MOST = 20
"""Tasks shown without --all."""

RANK = {"errored": 0, "killed": 1, "running": 2, "completed": 3}
"""Failures first."""

INCOMPLETE = 1
"""Exit code where some output is gone."""


@frozen
class Request:
    """What the command line asks for: which tasks, and what of their output."""

    selectors: tuple[str, ...]
    where: Mapping[str, str]
    states: tuple[str, ...]
    stream: str | None
    attempt: int | None
    tail: int | None
    everything: bool


@click.command()
@run_argument
@selectors_argument
@narrowing_options
@click.option("--stream", type=click.Choice(["stdout", "stderr"]), help="Print only this stream, not both.")
@click.option("--attempt", type=click.IntRange(1), metavar="N", help="Print the N-th attempt, not the last one.")
@click.option("--tail", type=click.IntRange(0), metavar="N", help="Print only the last N lines of each stream.")
@click.option("-f", "--follow", is_flag=True, help="Print output as it is written, until the run has ended.")
@click.option("--all", "everything", is_flag=True, help=f"Print all tasks, not only the first {MOST}.")
@target_options
@json_option
def logs(
    target: Target,
    which: str,
    selectors: tuple[str, ...],
    where: dict[str, str],
    states: tuple[str, ...],
    stream: str | None,
    attempt: int | None,
    tail: int | None,
    follow: bool,
    everything: bool,
    as_json: bool,
) -> int:
    """Print what tasks of RUN, an id or 'last', wrote to standard output and standard error.

    Without a SELECTOR, prints all tasks. If there are several, each has a header, and failed tasks come first.
    """
    import trio  # help must not wait for it

    wanted = Request(selectors, where, states, stream, attempt, tail, everything)
    source = target.source()
    if follow:
        from daggy.cli.logs_follow import Follower

        if as_json:
            raise UsageError("--follow and --json exclude each other; leave one out")
        return trio.run(Follower(source, which, wanted).follow)
    run = source.open(which)
    return trio.run(_print_json if as_json else _print, run, wanted)


async def _print(run: RunSource, wanted: Request) -> int:
    from daggy.cli.transcript import Transcript

    tasks, more = chosen(run, wanted)
    transcript = Transcript(wanted.stream, wanted.tail, headers=len(tasks) > 1)
    for task in tasks:
        attempt = _attempt(run, task, wanted, is_alone=len(tasks) == 1)
        if attempt is not None:
            await transcript.write(run, task, attempt)
    if more:
        click.echo("there are more tasks: --all", err=True)
    if not tasks:
        click.echo("no tasks match", err=True)
    return 0 if transcript.is_whole else INCOMPLETE


async def _print_json(run: RunSource, wanted: Request) -> int:
    from daggy.cli.outputs import STREAMS
    from daggy.cli.transcript import read_whole

    code, shown = 0, []
    tasks, _ = chosen(run, wanted)
    for task in tasks:
        attempt = _attempt(run, task, wanted, is_alone=len(tasks) == 1)
        if attempt is None:
            continue
        outputs: dict[str, str] = {}
        for stream in STREAMS if wanted.stream is None else (wanted.stream,):
            try:
                data = await read_whole(run, task, attempt, stream, wanted.tail)
            except NotFoundError as error:
                data, code = b"", INCOMPLETE
                click.echo(f"{stream} of {task['name']}: {error}", err=True)
            outputs[stream] = data.decode(errors="replace")
        shown.append({"index": task["index"], "name": task["name"], "attempt": attempt["attempt"], **outputs})
    text.print_json(shown)
    return code


def chosen(run: RunSource, wanted: Request) -> tuple[list[Json], bool]:
    """Return the tasks to show, those that failed first, and whether there are more."""
    found = run.chosen(wanted.selectors, wanted.where, wanted.states)
    if wanted.everything:
        tasks, more = list(found), False
    else:
        tasks = list(islice(found, MOST + 1))
        more = len(tasks) > MOST
        if more and not wanted.states:  # the failures may be further on
            failed = list(islice(run.chosen(wanted.selectors, wanted.where, ["errored", "killed"]), MOST))
            known = {task["index"] for task in failed}
            tasks = failed + [task for task in tasks if task["index"] not in known]
        tasks = tasks[:MOST]
    if len(tasks) > 1:
        tasks = [task for task in tasks if task["attempts"]]
    return sorted(tasks, key=lambda task: RANK.get(task["state"], 2)), more


def _attempt(run: RunSource, task: Json, wanted: Request, *, is_alone: bool) -> Mapping[str, Any] | None:
    """Return the attempt to show: the one wanted, else the last; None if one of several tasks has none.

    Raises:
        UsageError: the only task has none.
    """
    from daggy.cli.transcript import running

    if task["state"] == "running" and wanted.attempt in (None, task["attempts"]):
        return running(task["attempts"])
    ended = [one for one in run.attempts(task["index"]) if wanted.attempt in (None, one["attempt"])]
    if ended:
        last: Mapping[str, Any] = ended[-1]
        return last
    if not is_alone:
        return None
    number = "" if wanted.attempt is None else f" {wanted.attempt}"
    raise UsageError(f"task '{task['name']}' has no attempt{number} to show; 'daggy explain' says why")

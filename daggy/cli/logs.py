"""`daggy logs`: what tasks wrote."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click
from attrs import frozen

from daggy.cli import text
from daggy.cli.options import json_option, narrowing_options, run_argument
from daggy.cli.where import Where, where_options
from daggy.errors import UsageError

if TYPE_CHECKING:
    from daggy.attempt import Rows
    from daggy.cli.look import Kept
    from daggy.run.run import Run

MOST = 20
"""Tasks shown unless all are asked for."""

PAUSE = 0.3
"""Seconds between two looks at a directory that is followed."""


@frozen(eq=False)
class Output:
    """One ended attempt whose output is to be shown."""

    index: int
    version: int
    row: Rows
    message: str


@click.command()
@run_argument
@click.argument("selectors", metavar="[SELECTOR]...", nargs=-1)
@narrowing_options
@click.option("--stream", type=click.Choice(["stdout", "stderr"]), help="Only this one; both otherwise.")
@click.option("--attempt", type=click.IntRange(1), help="This attempt; the last one otherwise.")
@click.option("--tail", type=click.IntRange(0), metavar="N", help="Only the last N lines.")
@click.option("-f", "--follow", is_flag=True, help="Go on, with each task as it ends, until the run has ended.")
@click.option("--all", "everything", is_flag=True, help=f"More than {MOST} tasks too.")
@where_options
@json_option
def logs(
    place: Where,
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
) -> None:
    """Print what tasks wrote: standard output, then standard error. RUN is an id, or 'last'.

    Several tasks have a header each, those that failed first. Without a SELECTOR: all tasks.
    """
    from daggy.cli.served import Served  # help must not wait for these
    from daggy.cli.unserved import Directory

    source = place.source()
    if isinstance(source, Served):
        from daggy.cli.served_logs import Asked, logs_as_json, print_logs

        asked = Asked(stream, attempt, tail, follow, None if everything else MOST)
        if as_json:
            text.print_json(logs_as_json(source, which, selectors, where, states, asked))
        else:
            print_logs(source, which, selectors, where, states, asked)
        return
    assert isinstance(source, Directory)
    wanted = Wanted(which, selectors, where, states, stream, attempt, tail, follow, everything, as_json)
    _of_directory(source.kept, wanted)


@frozen
class Wanted:
    """What the command line asks for."""

    which: str
    selectors: tuple[str, ...]
    where: dict[str, str]
    states: tuple[str, ...]
    stream: str | None
    attempt: int | None
    tail: int | None
    follow: bool
    everything: bool
    as_json: bool


def _of_directory(kept: Kept, asked: Wanted) -> None:
    """Print what tasks of a run in a directory wrote."""
    from daggy.cli.outputs import Reader
    from daggy.view.selectors import select

    shown: set[tuple[int, int]] = set()
    while True:
        run = kept.run(asked.which)
        chosen = _in_order(run, select(run, asked.selectors, asked.where, asked.states).tolist())
        most = len(chosen) if asked.everything or asked.follow else MOST
        wanted = [output for index in chosen[:most] for output in _outputs(kept, run, index, asked.attempt)]
        fresh = [output for output in wanted if (output.index, int(output.row["attempt"])) not in shown]
        reader = Reader(kept, run.id)
        if asked.as_json:
            text.print_json([_as_json(run, reader, output, asked.stream, asked.tail) for output in fresh])
            return
        for output in fresh:
            if len(chosen) > 1:
                click.echo(header(run, output))
            reader.write(output.version, output.row, asked.stream, asked.tail)
            shown.add((output.index, int(output.row["attempt"])))
        if not asked.follow or run.is_ended:
            break
        time.sleep(PAUSE)  # a directory tells nobody that it changed
    _say_what_is_left(run, chosen, most, shown, asked.attempt)


def _say_what_is_left(run: Run, chosen: list[int], most: int, shown: set[tuple[int, int]], attempt: int | None) -> None:
    if len(chosen) > most:
        click.echo(f"and {len(chosen) - most:,} more tasks: --all", err=True)
    if len(chosen) == 1 and not shown:
        name = run.plan.name(chosen[0])
        number = "ended attempt" if attempt is None else f"ended attempt {attempt}"
        raise UsageError(f"task '{name}' has no {number}; 'daggy explain' says why")
    if not chosen:
        click.echo("no tasks match", err=True)


def _in_order(run: Run, indexes: list[int]) -> list[int]:
    """Return tasks that have ended an attempt, those that failed first; one task alone stays whatever it has."""
    from daggy.run.states import COMPLETED, ERRORED, KILLED

    rank = {ERRORED: 0, KILLED: 1, COMPLETED: 3}
    if len(indexes) > 1:
        indexes = [index for index in indexes if run.frontier.last[index]]
    return sorted(indexes, key=lambda index: rank.get(int(run.frontier.state[index]), 2))


def _outputs(kept: Kept, run: Run, index: int, attempt: int | None) -> Iterator[Output]:
    """Yield the attempt of a task that is to be shown, if it has ended."""
    from daggy.engine.archive import attempts_of
    from daggy.view.shapes import version_of

    number, row = int(run.frontier.last[index]) - 1, run.last_row(index)
    if row is not None and attempt in (None, int(row["attempt"])):
        yield Output(index, version_of(run, number), row, run.ledger.messages.get(number, ""))
    elif attempt is not None:
        chosen = [one for one in attempts_of(run, index, kept.tracker) if int(one[1]["attempt"]) == attempt]
        for version, earlier, message in chosen[-1:]:
            yield Output(index, version, earlier, message)


def header(run: Run, output: Output) -> str:
    """Return the line before a task's output: `==> name attempt exit <==`."""
    from daggy.view.shapes import attempt

    told = attempt(output.row, output.message, {})
    ended = "exit 0" if told.reason == "ok" else told.outcome()
    return f"==> {run.plan.name(output.index)} attempt {told.attempt} {ended} <=="


def _as_json(run: Run, reader: object, output: Output, stream: str | None, tail: int | None) -> dict[str, object]:
    from daggy.cli.outputs import Reader

    assert isinstance(reader, Reader)
    name, number = run.plan.name(output.index), int(output.row["attempt"])
    read = {
        one: reader.read(output.version, output.row, one, tail).decode(errors="replace")
        for one in ("stdout", "stderr")
        if stream in (None, one)
    }
    return {"index": output.index, "name": name, "attempt": number, **read}

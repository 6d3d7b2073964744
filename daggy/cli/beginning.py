"""How `daggy run` begins: a first run, a resume, an edit, or nothing to do."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import click
import numpy as np
import trio
from attrs import frozen

from daggy.cli import text
from daggy.cli.document import Call, plan_of
from daggy.cli.origin import Origin
from daggy.engine.engine import Engine
from daggy.errors import Problem, SpecError, UsageError
from daggy.plan import Plan, difference
from daggy.run.edit import replan
from daggy.run.indexes import Indexes
from daggy.run.run import Run
from daggy.spec import RunSpec
from daggy.tracker import RunFilter, RunRecord, RunState, Tracker
from daggy.view.preview import DifferenceShape, shape
from daggy.view.selectors import select


@frozen
class Beginning:
    """How a run was taken up.

    Args:
        run: The run.
        how: "new", "resumed", "edited", or "done" if all of it was completed before.
        source: What the spec's file is called.
        difference: What the edit did.
        elsewhere: Where relative directories start, if that is not the current directory.
        is_kept: Whether a later call can continue it.
    """

    run: Run
    how: str
    source: str
    difference: DifferenceShape | None = None
    elsewhere: str = ""
    is_kept: bool = True

    @property
    def is_done(self) -> bool:
        """Return whether there is nothing to do."""
        return self.how == "done"

    @property
    def title(self) -> str:
        """Return what the run is called: by its spec, or else by its file."""
        return self.run.plan.spec.name or self.source


async def begin(
    engine: Engine, tracker: Tracker, call: Call, rerun: tuple[str, ...], *, assume_yes: bool = False
) -> Beginning:
    """Submit a run, or take up the one that the directory holds.

    Raises:
        SpecError: everything that is wrong with the spec; nothing has changed.
        UsageError: the directory holds another run, or there is nothing that `rerun` names.
    """
    try:
        records = tracker.runs(RunFilter(limit=1))
        if records:
            return await _take_up(engine, tracker, records[0], call, rerun, assume_yes=assume_yes)
        spec, raw = call.spec(call.origin(engine.directory.path) if tracker.durable else None)
        _check_name(spec, tracker)
        made = plan_of(spec, call.document.source)
        chosen_of(made, rerun)
        run_id = await engine.commands.submit(spec, raw, made=made)
    except SpecError as error:
        raise SpecError(error.problems, error.source or call.document.source) from None
    return Beginning(engine.runs[run_id], "new", call.document.source, is_kept=tracker.durable)


def _check_name(spec: RunSpec, tracker: Tracker) -> None:
    """Refuse to keep a run without a name: nothing would tell another spec from an edit of this one."""
    if tracker.durable and not spec.name:
        raise SpecError(
            [Problem("name", "a spec from standard input has no file's name", "give it a 'name' to keep it")]
        )


def refuse_other(record: RunRecord, spec: RunSpec, directory: Path) -> None:
    """Refuse a spec that is not that of the directory's run: a directory holds one run.

    Raises:
        UsageError: its name is another.
    """
    if record.name != spec.name:
        there, here = record.name or "(without a name)", spec.name or "(without a name)"
        raise UsageError(
            f"directory '{directory}' holds the run '{there}', and this spec is '{here}'; "
            "keep it in another one with --dir, or name it the same to make it an edit"
        )


def origin_of(stored: bytes, call: Call, state: Path) -> Origin | None:
    """Return where a kept run was started, moved with its project.

    Raises:
        UsageError: its parts have moved apart, or it does not exist any more.
    """
    origin = Origin.kept(stored)
    return None if origin is None else origin.moved(state, call.path)


async def _confirm_removal(before: Plan, after: Plan, *, assume_yes: bool) -> None:
    """Ask on a terminal before an edit removes tasks: the caller may have forgotten a `-p` of the previous call.

    Raises:
        UsageError: the answer is no.
    """
    rows = [row for row in await trio.to_thread.run_sync(lambda: difference(before, after).rows()) if row.removed]
    if not rows:
        return
    count = sum(row.removed for row in rows)
    removed = f"this edit removes {text.plural(count, 'task')} of {', '.join(repr(row.name) for row in rows[:3])}"
    if assume_yes or not (sys.stdin.isatty() and sys.stderr.isatty()):
        click.echo(f"{removed}; was a parameter (-p) forgotten?", err=True)
        return
    ask = partial(click.confirm, f"{removed}; continue?", err=True)
    if not await trio.to_thread.run_sync(ask, abandon_on_cancel=True):
        raise UsageError("the run is left as it was; -y edits without asking")


async def _take_up(
    engine: Engine, tracker: Tracker, record: RunRecord, call: Call, rerun: tuple[str, ...], *, assume_yes: bool
) -> Beginning:
    stored = tracker.history(record.run).versions[-1].spec
    origin = origin_of(stored, call, engine.directory.path)
    elsewhere = "" if origin is None or origin.is_here() else str(origin.path)
    spec, raw = call.spec(origin)
    _check_name(spec, tracker)
    refuse_other(record, spec, engine.directory.path)
    is_edit = raw != stored
    made = plan_of(spec, call.document.source) if is_edit else None  # before anything is taken up: it may be refused
    run = await engine.runs.load(record.run, hold=True)
    after = run.plan if made is None else replan(run, spec, made)
    again = chosen_of(after, rerun)
    if not is_edit and run.state is RunState.COMPLETED and not len(again):
        return Beginning(run, "done", call.document.source, elsewhere=elsewhere)
    changed = None
    if is_edit:
        await _confirm_removal(run.plan, after, assume_yes=assume_yes)
        known = len(run.moves)
        changes = await engine.commands.edit(record.run, spec, raw, made=made)
        changed = shape(run, changes, run.moves[known:])
    else:
        await engine.commands.resume(record.run)
    if len(again):
        await engine.commands.requeue(record.run, again)
    if run.state is RunState.COMPLETED:
        return Beginning(run, "done", call.document.source, changed, elsewhere)
    return Beginning(run, "edited" if is_edit else "resumed", call.document.source, changed, elsewhere)


def chosen_of(plan: Plan, rerun: tuple[str, ...]) -> Indexes:
    """Return the tasks to run again."""
    if not rerun:
        return np.empty(0, np.int64)
    return select(Run(0, plan, created=0.0, epoch=0), rerun)

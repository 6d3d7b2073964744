"""`daggy run -n`: the plan, or what an edit of a kept run would do; nothing is run."""

from __future__ import annotations

import time
from pathlib import Path

import click

from daggy.cli import text
from daggy.cli.beginning import chosen_of, origin_of, refuse_other
from daggy.cli.document import Call, plan_of
from daggy.cli.kept import Kept
from daggy.cli.planned import difference_lines, show_plan, show_warnings, to_run_line
from daggy.errors import DirectoryError
from daggy.plan import plan_as_json
from daggy.run.states import Now
from daggy.tracker import RunFilter, RunRecord
from daggy.view.preview import preview
from daggy.view.shapes import as_json as shape_as_json


def dry(call: Call, directory: Path | None, config: Path | None, rerun: tuple[str, ...], *, as_json: bool) -> None:
    """Print what `daggy run` would do: the plan, with a kept run the difference to it.

    Raises:
        SpecError: everything that is wrong with the spec.
        UsageError: the directory holds another run, or there is nothing that `rerun` names.
    """
    opened = _kept(directory, config)
    if opened is None:
        made = plan_of(call.spec()[0], call.document.source)
        chosen_of(made, rerun)
        if as_json:
            text.print_json(plan_as_json(made))
        else:
            show_plan(made, call.document.source)
            click.echo(to_run_line(made.size))
        return
    kept, record = opened
    stored = kept.tracker.history(record.run).versions[-1].spec
    spec, raw = call.spec(origin_of(stored, call, kept.directory.path))
    refuse_other(record, spec, kept.directory.path)
    made = plan_of(spec, call.document.source)
    show_warnings(made, call.document.source)
    run = kept.rebuilt(record, {record.version: made} if raw == stored else {})
    shape = preview(run, spec, Now(time.time(), 0.0), rerun=lambda plan: chosen_of(plan, rerun), made=made)
    if as_json:
        text.print_json(shape_as_json(shape))
        return
    again = "the same spec" if raw == stored else f"an edit, to version {shape.version}"
    click.echo(f"{call.document.source}: {again} of run {record.run}, which is {record.state.name.lower()}")
    for line in difference_lines(shape):
        click.echo(line)
    click.echo(to_run_line(shape.to_run))


def _kept(directory: Path | None, config: Path | None) -> tuple[Kept, RunRecord] | None:
    """Return the directory and its run, if there is one already."""
    if directory is None or not directory.exists():
        return None
    try:
        kept = Kept.look(directory, config)
    except DirectoryError:
        if any(directory.iterdir()):
            raise
        return None
    records = kept.tracker.runs(RunFilter(limit=1))
    return (kept, records[0]) if records else None

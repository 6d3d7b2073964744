"""`daggy run -n`: the plan, or what an edit of a kept run would do; nothing is run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import click
from attrs import frozen

from daggy.cli import text
from daggy.cli.beginning import chosen_of, origin_of, refuse_other
from daggy.cli.document import Call, plan_of
from daggy.cli.kept import Kept
from daggy.cli.planned import difference_lines, show_plan, show_warnings, to_run_line
from daggy.engine.admission import check_needs
from daggy.engine.configuration import Configuration
from daggy.engine.dispatch import PoolLink
from daggy.engine.pool import Pool
from daggy.errors import DirectoryError, SpecError
from daggy.executor import Site
from daggy.plan import Plan, plan_as_json
from daggy.run.states import Now
from daggy.tracker import RunFilter, RunRecord
from daggy.view.preview import preview
from daggy.view.shapes import as_json as shape_as_json


@frozen
class OfflinePools:
    """The pools of an engine that does not run."""

    links: Mapping[str, PoolLink]
    default_pool: str


def dry(
    call: Call, directory: Path | None, configuration: Configuration, rerun: tuple[str, ...], *, as_json: bool
) -> None:
    """Print what `daggy run` would do: the plan, with a kept run the difference to it.

    Raises:
        SpecError: everything that is wrong with the spec.
        UsageError: the directory holds another run, or there is nothing that `rerun` names.
    """
    opened = _kept(directory, configuration)
    if opened is None:
        made = plan_of(call.spec()[0], call.document.source)
        _check_needs(made, configuration, call)
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
    _check_needs(made, configuration, call)
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


def _check_needs(plan: Plan, configuration: Configuration, call: Call) -> None:
    """Refuse what `daggy run` would refuse: tasks that no machine could ever run."""
    links = {}
    for name, make in configuration.executors().items():
        executor = make(Site(name, Path("/"), "", durable=False))
        links[name] = PoolLink(Pool(name), executor, evals=name in configuration.evals)
        links[name].pool.set_capacity(executor.capacity())
    try:
        check_needs(plan, OfflinePools(links, configuration.default_pool))
    except SpecError as error:
        raise SpecError(error.problems, call.document.source) from None


def _kept(directory: Path | None, configuration: Configuration) -> tuple[Kept, RunRecord] | None:
    """Return the directory and its run, if there is one already."""
    if directory is None or not directory.exists():
        return None
    try:
        kept = Kept.look(directory, configuration)
    except DirectoryError:
        if any(directory.iterdir()):
            raise
        return None
    records = kept.tracker.runs(RunFilter(limit=1))
    return (kept, records[0]) if records else None

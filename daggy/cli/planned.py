"""The lines that show a plan by template, and the difference of two plans."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import click

from daggy.cli import text
from daggy.plan import ParentRow, Plan, summary
from daggy.spec import On
from daggy.view.preview import DifferenceShape, TemplateDifference


def show_plan(plan: Plan, source: str) -> None:
    """Print a plan by template with counts and edges; warnings go to standard error."""
    rows = summary(plan)
    click.echo(f"{source}: {text.plural(plan.size, 'task')}, {text.plural(plan.edges(), 'edge')}")
    text.print_columns(
        ("TEMPLATE", "TASKS", "PARAMETERS", "WAITS FOR"),
        ((row.name, row.tasks, ",".join(row.parameters) or "-", _waits(row.parents)) for row in rows),
    )
    show_warnings(plan, source)


def show_warnings(plan: Plan, source: str) -> None:
    """Print what a spec's reader was warned of on standard error."""
    for warning in plan.spec.warnings:
        click.echo(f"{source}: warning: {warning}", err=True)


def _waits(parents: Iterable[ParentRow]) -> str:
    return "; ".join(_wait(parent) for parent in parents) or "-"


def _wait(parent: ParentRow) -> str:
    said = [f"match {','.join(parent.match)}"] if parent.match else []
    said += ["on ended"] if parent.on is On.ENDED else []
    said.append(text.plural(parent.edges, "edge"))
    return f"{parent.task} ({', '.join(said)})"


def difference_lines(shape: DifferenceShape) -> Iterator[str]:
    """Yield what an edit does, by template and why; templates that stay as they are in one line."""
    touched = [row for row in shape.templates if _is_touched(row)]
    if touched:
        yield from text.columns(
            ("TEMPLATE", "KEPT", "ADDED", "REMOVED", "CHANGED", "INVALIDATED", "AGAIN", "WHY"),
            (
                (row.name, row.kept, row.added, row.removed, row.changed, row.invalidated, row.again, _why(row))
                for row in touched
            ),
        )
    same = len(shape.templates) - len(touched)
    if same:
        kept = sum(row.kept for row in shape.templates if not _is_touched(row))
        others = "all templates" if not touched else text.plural(same, "other template")
        yield f"{others}: {text.plural(kept, 'task')} kept"


def to_run_line(count: int) -> str:
    """Return in one line how many tasks have yet to run."""
    return f"{text.plural(count, 'task')} to run" if count else "nothing to run"


def _is_touched(row: TemplateDifference) -> bool:
    return bool(row.added or row.removed or row.changed or row.invalidated or row.why)


def _why(row: TemplateDifference) -> str:
    return "; ".join(f"{why.cause} ({why.tasks:,})" for why in row.why) or "-"

"""`daggy graph`: a spec or a run drawn by template, for mermaid, Graphviz or a program."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from daggy.cli import text
from daggy.cli.options import config_option, directory_option, document_options

if TYPE_CHECKING:
    from daggy.plan import ParentRow, Plan, SummaryRow


@click.command()
@document_options
@click.option("--format", "kind", type=click.Choice(["mermaid", "dot", "json"]), default="mermaid", show_default=True)
@directory_option
@config_option
def graph(
    spec: str,
    parameters: dict[str, str],
    tags: dict[str, str],
    templating: str | None,
    kind: str,
    directory: Path,
    config: Path | None,
) -> None:
    """Draw SPEC by template. Instead of a file: the id of a run in the directory, or 'last'."""
    from daggy.plan import (
        plan_as_json,  # help must not wait for these
        summary,
    )

    plan = _plan(spec, parameters, tags, templating, directory, config)
    if kind == "json":
        text.print_json(plan_as_json(plan))
        return
    rows = summary(plan)
    for line in mermaid(rows) if kind == "mermaid" else dot(rows):
        click.echo(line)


def _plan(
    spec: str,
    parameters: dict[str, str],
    tags: dict[str, str],
    templating: str | None,
    directory: Path,
    config: Path | None,
) -> Plan:
    from daggy.cli.document import read_document

    if (spec == "last" or spec.isdigit()) and not Path(spec).exists():
        from daggy.cli.look import look

        return look(directory, config).run(spec).plan
    return read_document(spec, parameters, tags, templating).planned()


def mermaid(rows: Sequence[SummaryRow]) -> Iterator[str]:
    """Yield a flowchart in mermaid's language."""
    numbers = {row.name: f"t{number}" for number, row in enumerate(rows)}
    yield "flowchart TD"
    for row in rows:
        yield f'    {numbers[row.name]}["{_escaped(_label(row, "<br/>"))}"]'
    for row in rows:
        for parent in row.parents:
            arrow = "-.->" if parent.on else "-->"
            label = f'|"{_escaped(_edge(parent))}"|' if _edge(parent) else ""
            yield f"    {numbers[parent.task]} {arrow}{label} {numbers[row.name]}"


def _escaped(label: str) -> str:
    return label.replace("&", "&amp;").replace('"', "&quot;")


def dot(rows: Sequence[SummaryRow]) -> Iterator[str]:
    """Yield a graph in Graphviz's language."""
    yield "digraph {"
    yield "    node [shape=box];"
    for row in rows:
        yield f"    {_quoted(row.name)} [label={_quoted(_label(row, chr(10)))}];"
    for row in rows:
        for parent in row.parents:
            style = ", style=dashed" if parent.on else ""
            yield f"    {_quoted(parent.task)} -> {_quoted(row.name)} [label={_quoted(_edge(parent))}{style}];"
    yield "}"


def _quoted(label: str) -> str:
    escaped = label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _label(row: SummaryRow, separator: str) -> str:
    count = [] if row.tasks == 1 else [f"{row.tasks:,} tasks"]
    return separator.join([row.name, *count])


def _edge(parent: ParentRow) -> str:
    said = [f"match {','.join(parent.match)}"] if parent.match else []
    return ", ".join([*said, *(["ended"] if parent.on else [])])

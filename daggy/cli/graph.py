"""`daggy graph`: a spec or a run drawn by template, for Mermaid, Graphviz or a program."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from daggy.cli import text
from daggy.cli.options import document_options
from daggy.cli.target import Target, target_options

if TYPE_CHECKING:
    from daggy.plan import ParentRow, SummaryRow


@click.command()
@document_options
@click.option(
    "--format",
    "kind",
    type=click.Choice(["mermaid", "dot", "json"]),
    default="mermaid",
    show_default=True,
    help="The language of the drawing.",
)
@target_options
def graph(
    target: Target,
    spec: str,
    parameters: dict[str, str],
    tags: dict[str, str],
    templating: str | None,
    kind: str,
) -> None:
    """Draw the graph of SPEC, one node a template. SPEC is a file, '-', the id of a run, or 'last'."""
    from daggy.plan import plan_as_json, summary_of  # help must not wait for these

    if (spec == "last" or spec.isdigit()) and not Path(spec).exists():
        plan = target.source().open(spec).graph()
    else:
        from daggy.cli.document import read_document

        plan = plan_as_json(read_document(spec, parameters, tags, templating).planned())
    if kind == "json":
        text.print_json(plan)
        return
    rows = summary_of(plan)
    for line in mermaid(rows) if kind == "mermaid" else dot(rows):
        click.echo(line)


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

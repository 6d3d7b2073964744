"""The table of templates and counts that is redrawn on a terminal while a run is in progress."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from daggy.cli import text

if TYPE_CHECKING:
    from rich.console import Group
    from rich.live import Live


def screen() -> Live:
    """Return what redraws a table on standard error, and takes it away at the end."""
    from rich.console import Console  # only a terminal needs it
    from rich.live import Live

    return Live(console=Console(stderr=True), auto_refresh=False, transient=True)


def drawing(
    title: str,
    counts: Mapping[str, int],
    templates: Sequence[tuple[str, Mapping[str, int]]],
    total: int,
    notes: Iterable[str] = (),
) -> Group:
    """Return what is drawn of a run.

    Args:
        title: The line above the table.
        counts: Tasks by state.
        templates: The names of the templates shown, with their tasks by state.
        total: How many templates there are.
        notes: Lines below the table.
    """
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    shown = [state for state, count in counts.items() if count]
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for state in shown:
        table.add_column(state, justify="right", style=text.COLOURS.get(state))
    for name, of in templates:
        table.add_row(text.group(name), *(f"{of[state]:,}" if of[state] else "" for state in shown))
    if total > len(templates):
        table.add_row(f"… {total - len(templates):,} more templates")
    if total > 1:
        table.add_row("all", *(f"{counts[state]:,}" for state in shown))
    return Group(Text(title), table, *map(Text, notes))

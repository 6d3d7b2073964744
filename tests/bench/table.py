"""The table: goals beside figures, for a terminal or a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.bench.goals import GOALS, Goal, Measured

HEAD = ("row", "what", "goal", "stretch", "measured", "of goal", "", "detail")


def lines(measured: Mapping[str, Measured]) -> list[str]:
    """Return the table in aligned columns, its rows in the order of GOALS."""
    cells = [HEAD, *_cells(measured)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def markdown(measured: Mapping[str, Measured]) -> list[str]:
    """Return the table as Markdown, without the names of its rows."""
    rows = [HEAD[1:], ("---",) * (len(HEAD) - 1), *(row[1:] for row in _cells(measured))]
    return [f"| {' | '.join(row)} |" for row in rows]


def _cells(measured: Mapping[str, Measured]) -> list[Sequence[str]]:
    return [_row(name, goal, measured[name]) for name, goal in GOALS.items() if name in measured]


def _row(name: str, goal: Goal, measured: Measured) -> Sequence[str]:
    text, figure = goal.unit.text, measured.figure
    shown = ("-", "", "") if figure is None else (text(figure), f"{goal.ratio(figure):.2g}", goal.verdict(figure))
    stretch = "" if goal.stretch is None else text(goal.stretch)
    return name, goal.what, text(goal.goal), stretch, *shown, measured.detail

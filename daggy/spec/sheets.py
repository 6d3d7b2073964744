"""Reads sample sheets: files of comma-separated values whose columns are parameters that step together."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from daggy.errors import Problem, SpecError
from daggy.spec.problems import Problems, join, kind, quote

Columns = dict[str, list[str]]
"""The cells of each column, by parameter."""


def read_sheets(groups: list[object], directory: Path, problems: Problems) -> None:
    """Put a `sheet` of values in the place of each `csv` among the groups of `zip`.

    Args:
        groups: As written; changed in place.
        directory: To which names of files are relative.
        problems: Where to report.
    """
    for position, group in enumerate(groups):
        if isinstance(group, dict) and "csv" in group and set(group) <= {"csv", "columns"}:
            columns = _read_file(group, directory, f"zip[{position}]", problems)
            if columns is not None:
                groups[position] = {"sheet": columns}


def _read_file(group: Mapping[str, object], directory: Path, path: str, problems: Problems) -> Columns | None:
    file, place = group["csv"], join(path, "csv")
    chosen = _chosen(group, join(path, "columns"), problems) if "columns" in group else None
    if not isinstance(file, str) or not file or "\0" in file:
        problems.add(place, f"{kind(file)} where a file name is expected")
        return None
    if "columns" in group and not chosen:
        return None
    try:
        return sheet_of((directory / file).read_bytes(), chosen, tabs=file.lower().endswith(".tsv"))
    except UnicodeDecodeError as error:
        problems.add(place, f"{quote(file)} is not UTF-8 at byte {error.start}")
    except SpecError as error:
        for problem in error.problems:
            problems.add(place, f"{quote(file)}: {problem.message}", problem.mend)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        problems.add(place, f"{quote(file)} cannot be read: {reason}", "it is relative to the spec's directory")
    return None


def _chosen(group: Mapping[str, object], path: str, problems: Problems) -> dict[str, str]:
    given = group["columns"]
    if not isinstance(given, dict) or not given or not all(isinstance(header, str) for header in given.values()):
        problems.add(path, "no map of parameters to headers", 'write {"SAMPLE": "sample id"}')
        return {}
    return given


def sheet_of(data: bytes, chosen: Mapping[str, str] | None = None, *, tabs: bool = False) -> Columns:
    """Return the columns of a sheet: the first line is the header, blank lines are left out.

    Args:
        data: UTF-8, with or without byte order mark; lines end with LF or CRLF, cells may be quoted.
        chosen: Header of each parameter; None: all columns, each called as its header.
        tabs: Whether tabs separate cells, instead of commas.

    Raises:
        UnicodeDecodeError: it is not UTF-8.
        SpecError: no sheet, or no such columns.
    """
    reader = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), delimiter="\t" if tabs else ",", strict=True)
    rows: list[list[str]] = []
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if rows and len(cells) != len(rows[0]):
                raise _wrong(f"line {reader.line_num} has {len(cells)} cells, the header has {len(rows[0])}", "")
            rows.append(cells)
    except csv.Error as error:
        raise _wrong(f"line {reader.line_num}: {error}", "quote a cell that holds quotes, and double those") from None
    if len(rows) < 2:
        raise _wrong("no rows" if rows else "is empty", "the first line names the columns, each other one is a row")
    header = [cell.strip() for cell in rows[0]]
    return {name: [cells[place] for cells in rows[1:]] for name, place in _places(header, chosen).items()}


def _places(header: Sequence[str], chosen: Mapping[str, str] | None) -> dict[str, int]:
    """Return where the column of each parameter stands."""
    counts = Counter(header)
    for name in header if chosen is None else chosen.values():
        if counts[name] > 1:
            raise _wrong(f"two columns are called {quote(name)}", "rename one of the two")
        if not counts[name]:
            raise _wrong(f"no column is called {quote(name)}", f"there are {', '.join(map(quote, header[:20]))}")
        if chosen is None and not name.isidentifier():
            mend = f'name the columns that are meant: "columns": {{"SAMPLE": "{name}"}}'
            raise _wrong(f"the column {quote(name)} is not called as a parameter can be", mend)
    wanted = {name: name for name in header} if chosen is None else chosen
    return {parameter: header.index(name) for parameter, name in wanted.items()}


def _wrong(message: str, mend: str) -> SpecError:
    return SpecError([Problem("", message, mend)])

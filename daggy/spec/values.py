"""Reads `parameters` and `zip`."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from decimal import Decimal

import numpy as np
from attrs import field, frozen

from daggy.spec.fields import items, members, text, unfit
from daggy.spec.model import Value, Values
from daggy.spec.names import bare, check_parameter_name
from daggy.spec.parameters import ListValues, PickedValues, RangeValues
from daggy.spec.problems import Problems, join, kind, quote

BROKEN = ListValues(("",))
"""Stands for values that could not be read: the parameter exists, so its uses are not errors."""


@frozen
class Parameters:
    """Parameters that were read: values and the text as written, both by name."""

    values: dict[str, Values] = field(factory=dict)
    spellings: dict[str, str] = field(factory=dict)


def read_parameters(
    data: object, path: str, problems: Problems, *, literal: bool, zipped: Container[str] = ()
) -> Parameters:
    """Read an object of parameters.

    Args:
        data: As written.
        path: Of the object.
        problems: Where to report.
        literal: Whether names may be any text.
        zipped: Those whose values may repeat, because the rows of their group are what has to differ.
    """
    parameters = Parameters()
    for spelling, written in (members(data, path, problems) or {}).items():
        place = join(path, spelling)
        name = bare(spelling)
        if not check_parameter_name(name, place, problems, literal=literal):
            continue
        if name in parameters.values:
            problems.add(place, f"the parameter '{name}' is given twice", "with and without braces mean the same")
            continue
        values = _read(written, place, problems, may_repeat=name in zipped)
        parameters.values[name] = values if values is not None else BROKEN
        parameters.spellings[name] = spelling
    return parameters


def _read(written: object, path: str, problems: Problems, *, may_repeat: bool) -> Values | None:
    if isinstance(written, list):
        return _list(written, path, problems, may_repeat=may_repeat)
    if isinstance(written, dict):
        if list(written) == ["range"]:
            return _range(written["range"], join(path, "range"), problems)
        if list(written) == ["lines"]:
            problems.add(path, "only the command line reads files of lines", "send the values as a list")
            return None
    mend = f"write [{quote(written)}]" if isinstance(written, str) else "give a list, a range or lines"
    problems.add(path, f"{kind(written)} where a list of values is expected", mend.replace("'", '"'))
    return None


def _list(written: list[object], path: str, problems: Problems, *, may_repeat: bool) -> Values | None:
    if not written:
        problems.add(path, "the list of values is empty", "give at least one")
        return None
    before = len(problems.found) + problems.more
    values: list[Value] = []
    for position, item in enumerate(written):
        if isinstance(item, str):
            if unfit(item):
                text(item, join(path, f"[{position}]"), problems)
            values.append(item)
        elif isinstance(item, int | Decimal) and not isinstance(item, bool):
            values.append(item)
        else:
            problems.add(join(path, f"[{position}]"), f"{kind(item)} as a value", "values are strings and numbers")
    texts = list(map(str, values))
    if len(set(texts)) != len(texts):
        if may_repeat and before == len(problems.found) + problems.more:
            return PickedValues.of_texts(values)
        _report_twice(texts, path, problems)
    return ListValues(tuple(values)) if before == len(problems.found) + problems.more else None


def _report_twice(texts: list[str], path: str, problems: Problems) -> None:
    seen: set[str] = set()
    for value in texts:
        if value in seen:
            problems.add(path, f"the value {quote(value)} is given twice", "values are compared by their text")
        seen.add(value)


def _range(written: object, path: str, problems: Problems) -> Values | None:
    bounds: list[int | Decimal] = []
    for place, item in items(written, path, problems):
        if isinstance(item, int | Decimal) and not isinstance(item, bool):
            bounds.append(item)
        else:
            problems.add(place, f"{kind(item)} where a number is expected")
            return None
    if len(bounds) not in (2, 3):
        if isinstance(written, list):
            problems.add(path, f"{len(bounds)} numbers in a range", "write [start, stop] or [start, stop, step]")
        return None
    try:
        return RangeValues.of(*bounds)
    except ValueError as error:
        problems.add(path, str(error))
        return None


def zipped_in(data: object) -> set[str]:
    """Return the parameters that groups of `zip` name, whatever else is wrong with these."""
    groups = [group for group in data if isinstance(group, list)] if isinstance(data, list) else []
    return {bare(name) for group in groups for name in group if isinstance(name, str)}


@frozen
class Groups:
    """Groups of parameters that step together, and the columns of those that are sheets, by parameter."""

    names: tuple[tuple[str, ...], ...]
    columns: dict[str, Values]


def read_zip(
    data: object,
    known: Mapping[str, Values],
    earlier: tuple[tuple[str, ...], ...],
    problems: Problems,
    *,
    literal: bool = False,
) -> Groups:
    """Read groups of parameters that step together.

    Args:
        data: As written, or None.
        known: All parameters that there are.
        earlier: Groups that hold already; these are not returned.
        problems: Where to report.
        literal: Whether names of a sheet's columns may be any text.

    Returns:
        Groups, each with its names sorted.
    """
    groups: list[tuple[str, ...]] = []
    columns: dict[str, Values] = {}
    taken = {name for group in earlier for name in group}
    for place, item in items([] if data is None else data, "zip", problems):
        if isinstance(item, dict):
            sheet = _sheet(item, known.keys() | taken, place, problems, literal=literal)
            taken |= sheet.keys()
            columns |= sheet
            groups += [tuple(sorted(sheet))] if sheet else []
            continue
        names: list[str] = []
        for inner, written in items(item, place, problems):
            name = text(written, inner, problems)
            if name is not None and _check_member(bare(name), inner, known, taken, problems):
                taken.add(bare(name))
                names.append(bare(name))
        if isinstance(item, list) and len(item) < 2:
            problems.add(place, "a group with fewer than two parameters", "give two or more")
        if names:
            groups.append(tuple(sorted(names)))
            if check_lengths(groups[-1], known, place, problems):
                _check_rows({name: known[name] for name in names}, place, problems)
    return Groups(tuple(groups), columns)


def _sheet(
    item: Mapping[str, object], taken: Container[str], path: str, problems: Problems, *, literal: bool
) -> dict[str, Values]:
    """Read an object that stands for a group with its values."""
    if "csv" in item:
        problems.add(path, "only the command line reads sheets", 'send the columns: {"sheet": {"SAMPLE": ["a", "b"]}}')
        return {}
    if list(item) != ["sheet"]:
        problems.add(path, "an object that is no sheet", 'write {"csv": "samples.csv"}, or the names of parameters')
        return {}
    place = join(path, "sheet")
    written = members(item["sheet"], place, problems) or {}
    if not written and isinstance(item["sheet"], dict):
        problems.add(place, "a sheet without columns", "give at least one")
    read = read_parameters(written, place, problems, literal=literal, zipped=list(map(bare, written))).values
    for name in [name for name in read if name in taken]:
        problems.add(join(place, name), f"the parameter '{name}' is given twice", "it is a column of this sheet")
    columns: dict[str, Values] = {name: _column(values) for name, values in read.items()}
    if BROKEN not in read.values() and check_lengths(tuple(sorted(columns)), columns, place, problems):
        _check_rows(columns, place, problems)
    return columns


def _column(values: Values) -> Values:
    """Return values as a column of a sheet: a template uses it without the others."""
    if isinstance(values, PickedValues) or values is BROKEN:
        return values
    return PickedValues(values, np.arange(len(values), dtype=np.int32))


def _check_rows(columns: Mapping[str, Values], path: str, problems: Problems) -> None:
    """Report rows that are there twice; only where values of each column repeat can there be any."""
    if not columns or not all(isinstance(values, PickedValues) for values in columns.values()):
        return
    places: dict[tuple[int, ...], int] = {}
    for row, key in enumerate(zip(*_positions(columns), strict=True)):
        first = places.setdefault(key, row)
        if first != row:
            message = f"rows {first + 1} and {row + 1} have the same values"
            problems.add(path, message, "remove one of the two, or add a column that tells them apart")
            return


def _positions(columns: Mapping[str, Values]) -> Iterator[list[int]]:
    for values in columns.values():
        assert isinstance(values, PickedValues)
        yield values.places.tolist()


def _check_member(name: str, path: str, known: Mapping[str, Values], taken: set[str], problems: Problems) -> bool:
    if name not in known:
        problems.add(path, f"no parameter named {quote(name)}", problems.suggest(name, known))
    elif name in taken:
        problems.add(path, f"the parameter '{name}' is zipped twice")
    else:
        return True
    return False


def check_lengths(group: tuple[str, ...], known: Mapping[str, Values], path: str, problems: Problems) -> bool:
    """Report parameters that step together with different numbers of values; return whether there are none."""
    lengths = {len(known[name]) for name in group if known[name] is not BROKEN}
    if len(lengths) > 1:
        found = ", ".join(f"{name} has {len(known[name])}" for name in group)
        problems.add(
            path, f"unequal numbers of values: {found}", "parameters that step together need the same number of values"
        )
    return len(lengths) == 1

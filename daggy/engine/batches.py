"""Batches of reports: one for each pool and turn, then one for each run and version."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from daggy.attempt import REPORT, Kind, Reports, chosen, joined
from daggy.errors import leaves


def only(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the one exception in a group, or the group if it holds several different ones."""
    first, *others = leaves(group)
    same = all((type(other), other.args) == (type(first), first.args) for other in others)
    return first if same else group


def fault(error: Exception) -> str:
    """Describe what a plug-in raised, without the groups around it."""
    cause = only(error) if isinstance(error, BaseExceptionGroup) else error
    return f"{type(cause).__name__}: {cause}"


def checked(reports: Reports, *, recovered: bool = False) -> Reports:
    """Return an executor's reports if they are what they should be.

    Args:
        reports: The plug-in's.
        recovered: Whether `recover` returned them: only there it may say that it holds something.

    Raises:
        TypeError: a plug-in made them of something else.
        ValueError: one is of a kind that does not belong there.
    """
    rows = reports.rows
    if rows.dtype != REPORT:
        raise TypeError(f"reports must be an array of REPORT, not of {rows.dtype}")
    if not recovered and (rows["kind"] == Kind.HELD).any():
        raise ValueError("HELD is for what recover() returns; what was launched is in flight until it is reported")
    return reports


def by_pool(inbox: list[tuple[str, Reports]]) -> list[tuple[str, Reports]]:
    """Return what came from each pool as one batch, in order: a turn costs by the batch."""
    if len(inbox) <= 1:
        return inbox
    batches: dict[str, list[Reports]] = {}
    for name, reports in inbox:
        batches.setdefault(name, []).append(reports)
    return [(name, joined(some)) for name, some in batches.items()]


def by_run(reports: Reports) -> Iterator[tuple[tuple[int, int], Reports]]:
    """Yield reports by run and version, in order."""
    rows = reports.rows
    if not len(rows):
        return
    first = int(rows["run"][0]), int(rows["version"][0])
    if len(rows) == 1 or ((rows["run"] == first[0]).all() and (rows["version"] == first[1]).all()):
        yield first, reports
        return
    keys = rows["run"].astype(np.int64) << 32 | rows["version"]
    for key in np.unique(keys):
        yield (int(key) >> 32, int(key) & 0xFFFFFFFF), chosen(reports, np.flatnonzero(keys == key))

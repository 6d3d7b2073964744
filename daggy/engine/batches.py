"""Reports as the engine takes them: one batch a pool and turn, then one a run and version."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from daggy.attempt import Reports


def only(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the one exception that nurseries have wrapped, or the group if there are several."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def joined(inbox: list[tuple[str, Reports]]) -> list[tuple[str, Reports]]:
    """Return what came from each pool as one batch, in order: a turn costs by the batch."""
    if len(inbox) <= 1:
        return inbox
    by_pool: dict[str, list[Reports]] = {}
    for name, reports in inbox:
        by_pool.setdefault(name, []).append(reports)
    joined = []
    for name, batches in by_pool.items():
        messages: dict[int, str] = {}
        first = 0
        for batch in batches:
            if batch.messages:
                messages.update({first + position: text for position, text in batch.messages.items()})
            first += len(batch.rows)
        joined.append((name, Reports(np.concatenate([batch.rows for batch in batches]), messages)))
    return joined


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
        chosen = np.flatnonzero(keys == key)
        said = reports.messages
        messages = {new: said[old] for new, old in enumerate(chosen.tolist()) if old in said} if said else {}
        yield (int(key) >> 32, int(key) & 0xFFFFFFFF), Reports(rows[chosen], messages)

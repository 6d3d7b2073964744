"""Starts and successes by the thousand: the same moves as one by one, as arithmetic over whole columns."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from daggy.attempt import ATTEMPT, REPORT, Kind, Reason, Rows
from daggy.plan import Block
from daggy.run import states
from daggy.run.ring import Indexes, Where, where_of
from daggy.run.run import Run
from daggy.run.states import COMPLETED, RUNNING, SENT

_ROW = REPORT.itemsize - ATTEMPT.itemsize
HEAD = np.dtype(
    {
        "names": ["kind", "spell", "index", "attempt", "reason", "row"],
        "formats": ["u1", "<u8", "<u4", "<u4", "u1", f"V{ATTEMPT.itemsize}"],
        "offsets": [8, 13, _ROW, _ROW + 4, _ROW + 34, _ROW],
        "itemsize": REPORT.itemsize,
    }
)
"""What is read of a REPORT row; `spell` is version and epoch in one word. One flat view costs less than a view for each."""


def head_of(rows: Rows) -> NDArray[np.void]:
    """Return contiguous rows of REPORT as rows of HEAD, sharing memory."""
    return np.ndarray(len(rows), HEAD, rows.data)


def plain_successes(run: Run, rows: Rows, messages: Mapping[int, str]) -> NDArray[np.bool_] | None:
    """Return which reports are successes that need nothing but to be counted; None if all are.

    Not those of generators, which have to be asked for their answers first, nor those with a message.
    """
    head = head_of(rows)
    finished = head["kind"] == Kind.FINISHED
    simple = not messages and not run.frontier.has_generators
    if simple and not np.count_nonzero(head["reason"]) and np.count_nonzero(finished) == len(rows):
        return None
    finished &= head["reason"] == Reason.OK
    finished[list(messages)] = False
    if run.frontier.has_generators:
        finished &= ~run.frontier.generators[run.frontier.block_numbers(head["index"])]
    return finished


def on_launched(run: Run, rows: Rows) -> None:
    """Note that attempts have started: queued to running."""
    if not len(rows):
        return
    rows = _current(run, rows)
    index = rows["row"]["index"].astype(np.int64)
    known = run.frontier.state[index] == SENT
    rows, index = rows[known], index[known]
    for block, chosen in run.frontier.by_block(index):
        run.frontier.move(block, chosen, RUNNING)
    run.started.update(zip(index.tolist(), rows["row"]["started"].tolist(), strict=True))


def on_completed(run: Run, rows: Rows) -> None:
    """Take many successes at once: ledger, states, counters, and the children that they make ready."""
    if not len(rows):
        return
    index = head_of(rows)["index"].astype(np.int64)
    where = where_of(index)
    if not _are_current(run, rows, index, where):
        rows = _current(run, rows)
        index = rows["row"]["index"].astype(np.int64)
        where = where_of(index)
    _record(run, rows, index, where)
    block = run.plan.blocks[run.frontier.block_number(int(index[0]))] if len(index) else None
    if block is not None and isinstance(where, slice) and where.stop <= block.stop:
        _complete(run, block, where, index)
        return
    for part, chosen in run.frontier.by_block(index):
        _complete(run, part, where_of(chosen), chosen)


def _are_current(run: Run, rows: Rows, index: Indexes, where: Where) -> bool:
    """Return whether all tickets are current and distinct; cheaper than to find those that are."""
    head, frontier, count = head_of(rows), run.frontier, len(rows)
    top = where.stop if isinstance(where, slice) else int(index.max()) + 1
    if top > len(frontier.state):
        return False
    if np.count_nonzero(head["spell"] == (run.epoch << 32 | run.version)) != count:
        return False
    if np.count_nonzero(frontier.attempt[where] == head["attempt"]) != count:
        return False
    if np.count_nonzero(states.IS_IN_FLIGHT[frontier.state[where]]) != count:
        return False
    return isinstance(where, slice) or len(np.unique(index)) == count


def _current(run: Run, rows: Rows) -> Rows:
    """Return the reports whose ticket is current, each once; count the others."""
    index = rows["row"]["index"].astype(np.int64)
    known = (rows["version"] == run.version) & (rows["epoch"] == run.epoch) & (index < run.plan.size)
    index[~known] = 0
    frontier = run.frontier
    known &= states.IS_IN_FLIGHT[frontier.state[index]] & (frontier.attempt[index] == rows["row"]["attempt"])
    places = np.flatnonzero(known)
    first = np.unique(index[places], return_index=True)[1]
    chosen: Rows = rows[np.sort(places[first])]
    run.stale += len(rows) - len(chosen)
    return chosen


def _record(run: Run, rows: Rows, index: Indexes, where: Where) -> None:
    """Write successes into the ledger."""
    first = run.ledger.append_successes(head_of(rows)["row"]) if len(rows) else 0
    run.frontier.last[where] = np.arange(first + 1, first + 1 + len(index), dtype=np.uint32)
    if run.started or run.failures or run.crashes:
        for one in index.tolist():
            run.started.pop(one, None)
            run.forget_failures(one)


def _complete(run: Run, block: Block, where: Where, index: Indexes) -> None:
    """Move tasks of one block from in flight to completed, and pass it on."""
    frontier, count = run.frontier, len(index)
    running = np.count_nonzero(frontier.state[where] == RUNNING) if frontier.counts[block.number, RUNNING] else 0
    frontier.state[where] = COMPLETED
    counts = frontier.mv_counts
    counts[block.number, RUNNING] -= running
    counts[block.number, SENT] -= count - running
    counts[block.number, COMPLETED] += count
    frontier.release(block, where, count)
    run.gates.finish(block, where, index)

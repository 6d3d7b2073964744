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

FINISHED, OK = int(Kind.FINISHED), int(Reason.OK)
_ROW = REPORT.itemsize - ATTEMPT.itemsize
HEAD = np.dtype(
    {
        "names": ["kind", "spell", "index", "attempt", "reason", "row"],
        "formats": ["u1", "<u8", "<u4", "<u4", "u1", f"V{ATTEMPT.itemsize}"],
        "offsets": [8, 13, _ROW, _ROW + 4, _ROW + 34, _ROW],
        "itemsize": REPORT.itemsize,
    }
)
"""What is read of a REPORT row; `spell` is version and epoch in one word. One flat view costs less than a view for
each.
"""


Heads = NDArray[np.void]
"""One-dimensional array of HEAD."""


def heads_of(rows: Rows) -> Heads:
    """Return contiguous rows of REPORT as rows of HEAD, sharing memory."""
    return np.ndarray(len(rows), HEAD, rows)


def plain_successes(run: Run, heads: Heads, messages: Mapping[int, str]) -> NDArray[np.bool_] | None:
    """Return which reports are successes that need nothing but to be counted; None if all are.

    Not those of generators, which have to be asked for their answers first, nor those with a message.
    """
    finished: NDArray[np.bool_] = heads["kind"] == FINISHED
    simple = not messages and not run.frontier.has_generators
    if simple and not np.count_nonzero(heads["reason"]) and np.count_nonzero(finished) == len(heads):
        return None
    finished &= heads["reason"] == OK
    finished[list(messages)] = False
    if run.frontier.has_generators:
        finished &= ~run.frontier.generators[run.frontier.block_numbers(heads["index"])]
    return finished


def on_launched(run: Run, rows: Rows) -> None:
    """Note that attempts have started: queued to running."""
    if not len(rows):
        return
    heads = heads_of(rows)
    chosen = _current(run, heads)
    chosen = chosen[run.frontier.state[heads["index"][chosen]] == SENT]
    index = heads["index"][chosen].astype(np.int64)
    for block, part in run.frontier.by_block(index):
        run.frontier.move(block, part, RUNNING)
    run.started.update(zip(index.tolist(), rows["row"]["started"][chosen].tolist(), strict=True))


def on_completed(run: Run, heads: Heads) -> None:
    """Take many successes at once: ledger, states, counters, and the children that they make ready."""
    if not len(heads):
        return
    index = heads["index"].astype(np.int64)
    where = where_of(index)
    if not _are_current(run, heads, index, where):
        heads = heads[_current(run, heads)]
        index = heads["index"].astype(np.int64)
        where = where_of(index)
        if not len(heads):
            return
    _record(run, heads, index, where)
    block = run.plan.blocks[run.frontier.block_number(int(index[0]))]
    if isinstance(where, slice) and where.stop <= block.stop:
        _complete(run, block, where, index)
        return
    for part, chosen in run.frontier.by_block(index):
        _complete(run, part, where_of(chosen), chosen)


def _are_current(run: Run, heads: Heads, index: Indexes, where: Where) -> bool:
    """Return whether all tickets are current and distinct; cheaper than to find those that are."""
    frontier, count = run.frontier, len(heads)
    top = where.stop if isinstance(where, slice) else int(index.max()) + 1
    return (
        top <= len(frontier.state)
        and np.count_nonzero(heads["spell"] == (run.epoch << 32 | run.version)) == count
        and np.count_nonzero(frontier.attempt[where] == heads["attempt"]) == count
        and _are_in_flight(frontier.state[where])
        and (isinstance(where, slice) or len(np.unique(index)) == count)
    )


def _are_in_flight(column: NDArray[np.uint8]) -> bool:
    """Return whether all states are of tasks in flight. Quick ends are mostly heard of before their start."""
    if np.count_nonzero(column == SENT) == len(column):
        return True
    return bool(np.count_nonzero(states.IS_IN_FLIGHT[column]) == len(column))


def _current(run: Run, heads: Heads) -> Indexes:
    """Return the positions of reports whose ticket is current, each task's first; count the others."""
    frontier = run.frontier
    index = heads["index"].astype(np.int64)
    known = (heads["spell"] == (run.epoch << 32 | run.version)) & (index < run.plan.size)
    index[~known] = 0
    known &= states.IS_IN_FLIGHT[frontier.state[index]] & (frontier.attempt[index] == heads["attempt"])
    places = np.flatnonzero(known)
    places = np.sort(places[np.unique(index[places], return_index=True)[1]])
    run.stale += len(heads) - len(places)
    return places


def _record(run: Run, heads: Heads, index: Indexes, where: Where) -> None:
    """Write successes into the ledger."""
    first = run.ledger.append_successes(heads["row"])
    run.frontier.last[where] = np.arange(first + 1, first + 1 + len(index), dtype=np.uint32)
    if run.started or run.failures or run.crashes:
        for one in index.tolist():
            run.started.pop(one, None)
            run.forget_failures(one)


def _complete(run: Run, block: Block, where: Where, index: Indexes) -> None:
    """Move tasks of one block from in flight to completed, and pass it on."""
    frontier, count = run.frontier, len(index)
    counts = frontier.mv_counts
    running = int(np.count_nonzero(frontier.state[where] == RUNNING)) if counts[block.number, RUNNING] else 0
    frontier.state[where] = COMPLETED
    counts[block.number, RUNNING] -= running
    counts[block.number, SENT] -= count - running
    counts[block.number, COMPLETED] += count
    frontier.release(block, where, count)
    run.gates.finish(block, where, index)

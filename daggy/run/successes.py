"""Starts and successes in large batches: the same moves as one by one, as arithmetic over whole columns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from daggy.attempt import ATTEMPT, REPORT, Kind, Reason, Reports, Rows
from daggy.plan import Block
from daggy.run import states
from daggy.run.indexes import Indexes, Where, indexes_of, is_all, where_of
from daggy.run.run import Run
from daggy.run.states import COMPLETED, RUNNING, SENT

FINISHED, OK = int(Kind.FINISHED), int(Reason.OK)
_ROW = REPORT.itemsize - ATTEMPT.itemsize
HEAD = np.dtype(
    {
        "names": ["kind", "spell", "task", "index", "attempt", "reason", "row"],
        "formats": ["u1", "<u8", "<u8", "<u4", "<u4", "u1", f"V{ATTEMPT.itemsize}"],
        "offsets": [8, 13, _ROW, _ROW, _ROW + 4, _ROW + 34, _ROW],
        "itemsize": REPORT.itemsize,
    }
)
"""What is read of a REPORT row; `spell` is version and epoch in one word, `task` index and attempt. One flat view costs
less than a view for each.
"""

_TASK = HEAD["task"]

Heads = NDArray[np.void]
"""One-dimensional array of HEAD."""


def heads_of(rows: Rows) -> Heads:
    """Return contiguous rows of REPORT as rows of HEAD, sharing memory."""
    return np.ndarray(len(rows), HEAD, rows)


def plain_successes(run: Run, heads: Heads, reports: Reports) -> NDArray[np.bool_] | None:
    """Return which reports are successes that only need to be counted; None if all are.

    Successes of generators, whose answers are read first, and those with a message or a result are not among them.
    """
    has_texts = [*reports.messages, *reports.results]
    simple = not has_texts and not run.frontier.has_generators
    if simple and is_all(heads["kind"], FINISHED) and is_all(heads["reason"], OK):
        return None
    finished: NDArray[np.bool_] = (heads["kind"] == FINISHED) & (heads["reason"] == OK)
    finished[has_texts] = False
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
    """Apply many successes at once: ledger, states, counters, and children that become ready."""
    if not len(heads):
        return
    where: Where | None = _current_neighbours(run, heads)
    if where is None:
        index = heads["index"].astype(np.int64)
        if not _are_current(run, heads, index):
            places = _current(run, heads)
            heads, index = heads[places], index[places]
            if not len(heads):
                return
        where = where_of(index)
    _record(run, heads, where)
    if isinstance(where, slice):
        block = run.plan.blocks[run.frontier.block_number(where.start)]
        if where.stop <= block.stop:
            _complete(run, block, where, len(heads))
            return
    for part, chosen in run.frontier.by_block(indexes_of(where)):
        _complete(run, part, where_of(chosen), len(chosen))


def _current_neighbours(run: Run, heads: Heads) -> slice | None:
    """Return the tasks if they are contiguous and ascending, on the same attempt, and all tickets current: the common
    case, and cheap to check.
    """
    frontier, count, tasks = run.frontier, len(heads), heads["task"]
    first = int(tasks[0])
    start, attempt = first & 0xFFFFFFFF, first >> 32
    if (
        start + count <= len(frontier.state)
        and tasks.tobytes() == np.arange(first, first + count, dtype=_TASK).tobytes()
        and heads["spell"].tobytes() == (run.epoch << 32 | run.version).to_bytes(8, "little") * count
    ):
        where = slice(start, start + count)
        if is_all(frontier.attempt[where], attempt) and _are_in_flight(frontier.state[where]):
            return where
    return None


def _are_current(run: Run, heads: Heads, index: Indexes) -> bool:
    """Return whether all tickets are current and distinct; cheaper than to find those that are."""
    frontier, count = run.frontier, len(heads)
    return (
        int(index.max()) < len(frontier.state)
        and np.count_nonzero(heads["spell"] == (run.epoch << 32 | run.version)) == count
        and np.count_nonzero(frontier.attempt[index] == heads["attempt"]) == count
        and _are_in_flight(frontier.state[index])
        and len(set(index.tolist())) == count
    )


def _are_in_flight(column: NDArray[np.uint8]) -> bool:
    """Return whether all states are of tasks in flight. Short attempts usually end before their start is reported."""
    return is_all(column, SENT) or bool(np.count_nonzero(states.IS_IN_FLIGHT[column]) == len(column))


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


def _record(run: Run, heads: Heads, where: Where) -> None:
    """Write successes into the ledger."""
    first = run.ledger.append_successes(heads["row"])
    run.frontier.last[where] = np.arange(first + 1, first + 1 + len(heads), dtype=np.uint32)
    if run.started or run.failures or run.crashes:
        for one in indexes_of(where).tolist():
            run.started.pop(one, None)
            run.forget_failures(one)


def _complete(run: Run, block: Block, where: Where, count: int) -> None:
    """Move `count` tasks of one block from in flight to completed, and pass it on."""
    frontier = run.frontier
    counts = frontier.mv_counts[block.number]
    running = 0
    if counts[RUNNING]:
        running = int(np.count_nonzero(frontier.state[where] == RUNNING))
        counts[RUNNING] -= running
    frontier.put(where, COMPLETED)
    counts[SENT] -= count - running
    counts[COMPLETED] += count
    frontier.release(block, where, count)
    run.gates.finish(block, where, count)

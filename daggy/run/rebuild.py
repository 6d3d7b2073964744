"""Rebuilds a frontier from plan and states after a resume, an edit or a restart, in one pass over the arrays."""

from __future__ import annotations

import numpy as np

from daggy.plan import Block
from daggy.run import states
from daggy.run.gates import Gates
from daggy.run.states import COMPLETED, DELAYED, QUEUED, UPSTREAM_FAILED, WAITING


def rebuild(gates: Gates) -> None:
    """Set counters, queues and the states of unstarted tasks from each task's outcome, in one pass over the arrays.

    Tasks that completed, errored, were killed or are in flight stay, and so do those between retries that wait for
    nothing else; all others become waiting, queued or upstream_failed. Untouched blocks cost nothing.
    `frontier.counts` must be right.
    """
    frontier = gates.frontier
    frontier.clear_ready()
    for block in frontier.plan.blocks:
        _loosen(gates, block)
    gates.reset()
    _count_all(gates)
    _hold_generated(gates)
    _queue_free(gates)
    _open_all(gates)
    failed = frontier.where(states.mask(states.ERRORED, states.KILLED))
    if len(failed):
        gates.fail(failed)
    _end_delays(gates)


def _loosen(gates: Gates, block: Block) -> None:
    """Make what was queued or upstream_failed in a block wait."""
    counts = gates.frontier.counts[block.number]
    loose = int(counts[QUEUED] + counts[UPSTREAM_FAILED])
    if not loose:
        return
    for _, column in gates.frontier.pieces(block):
        column[(column == QUEUED) | (column == UPSTREAM_FAILED)] = WAITING
    counts[WAITING] += loose
    counts[QUEUED] = counts[UPSTREAM_FAILED] = 0


def _end_delays(gates: Gates) -> None:
    """Make tasks between retries wait whose parents run again."""
    frontier = gates.frontier
    for index in frontier.where(states.mask(DELAYED)).tolist():
        if gates.verdict(index) != QUEUED:
            frontier.move_one(index, frontier.block_number(index), WAITING)


def _hold_generated(gates: Gates) -> None:
    """Keep generated tasks waiting while their generator is not completed: as if each had one more
    gate in front of it.
    """
    for block in gates.frontier.plan.blocks:
        if block.origin >= 0 and gates.frontier.state[block.origin] != COMPLETED:
            gates.opened_whole[block.number] = -1


def _count_all(gates: Gates) -> None:
    """Count completed parents at every gate, generated tasks and what a generator's gates wait for included."""
    plan, frontier = gates.frontier.plan, gates.frontier
    for array in plan.arrays:
        done = gates.done[array.number]
        if done is not None and frontier.counts[array.source, COMPLETED]:
            block = plan.blocks[array.source]
            done[:] = array.counts(frontier.state[block.start : block.stop] == COMPLETED)
    for block in plan.blocks:
        if block.origin >= 0 and frontier.counts[block.number, states.REMOVED] == 0:
            gates.expect_behind(block, block.size - int(frontier.counts[block.number, COMPLETED]))


def _queue_free(gates: Gates) -> None:
    """Queue tasks without gates in front of them."""
    frontier = gates.frontier
    for block in frontier.plan.blocks:
        if gates.opened_whole[block.number] < 0:
            continue
        need = frontier.plan.need[block.number]
        if isinstance(need, int):
            if need == 0:
                frontier.queue_block(block)
            continue
        column = frontier.state[block.start : block.stop]
        frontier.queue_some(block, np.flatnonzero((need == 0) & (column == WAITING)) + block.start)


def _open_all(gates: Gates) -> None:
    """Open every gate whose parents are all done."""
    plan, frontier = gates.frontier.plan, gates.frontier
    for array in plan.arrays:
        if not frontier.counts[array.source, COMPLETED]:
            continue
        done = gates.done[array.number]
        if done is not None:
            gates.open(array, np.flatnonzero(done == array.total))
            continue
        for start, column in frontier.pieces(plan.blocks[array.source]):
            gates.open(array, array.gates(np.flatnonzero(column == COMPLETED) + start))

"""Which tasks are ready and which are running: the columns of a run, its queues and its counts."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daggy.plan import Block, Plan
from daggy.run import states
from daggy.run.indexes import Indexes, Where, indexes_of, is_all, where_of
from daggy.run.ready import ReadyQueue
from daggy.run.states import CODES, QUEUED, SENT, WAITING

PIECE = 1 << 22
"""Tasks that are looked at in one step: bounds the memory of work on a hundred million."""

_ONE = np.ones((), np.uint32)
"""One, as an array: numpy would convert a plain number each time."""


class Frontier:
    """The columns of a run's tasks, one element a task, and what is counted over them.

    `state` (uint8, codes of `daggy.run.states`), `attempt` (uint16 or wider: number of the last attempt handed out),
    `last` (uint32: row of the ledger plus one, 0 for none). All start as zeros, so that untouched tasks cost
    nothing. `counts[block, code]` is kept up to date. The `mv_` twins are memoryviews of the same
    buffers, for work on single tasks; `mv_counts` is one for each block.
    """

    def __init__(self, plan: Plan) -> None:
        """Make the columns of a plan of which nothing has run."""
        self.plan = plan
        self.state: NDArray[np.uint8] = np.zeros(plan.size, np.uint8)
        self.attempt: NDArray[np.uint32] = np.zeros(plan.size, np.uint32)
        self.last: NDArray[np.uint32] = np.zeros(plan.size, np.uint32)
        self.counts: NDArray[np.int64] = np.zeros((len(plan.blocks), CODES), np.int64)
        self.queues: list[ReadyQueue] = []
        self.ready: set[int] = set()
        self.in_flight = 0
        self.queues_of: list[list[ReadyQueue]] = []
        self.only_queue: list[ReadyQueue | None] = []  # of each block; None where it has several
        self._index_blocks()
        for block in plan.blocks:
            self.counts[block.number, WAITING] = block.size
            self._add_lanes(block)

    def _index_blocks(self) -> None:
        self.starts = [block.start for block in self.plan.blocks]
        self._starts = np.array(self.starts, np.int64)
        blocks = self.plan.blocks
        generating = [any(policy.is_generator for policy in block.policies) for block in blocks]
        self.generators = np.array(generating, np.bool_)
        self.has_generators = bool(self.generators.any())
        self.mv_state = self.state.data
        self.mv_attempt = self.attempt.data
        self.mv_last = self.last.data
        self.mv_counts = [row.data for row in self.counts]

    def _add_lanes(self, block: Block) -> None:
        queues = [
            ReadyQueue(len(self.queues) + position, block.number, policy, block.depth)
            for position, policy in enumerate(block.policies)
        ]
        self.queues.extend(queues)
        self.queues_of.append(queues)
        self.only_queue.append(queues[0] if len(queues) == 1 else None)

    def grow(self, plan: Plan) -> None:
        """Take over a plan that begins with the present one."""
        old = len(self.plan.blocks)
        more = plan.size - self.plan.size
        self.plan = plan
        self.state = np.concatenate([self.state, np.zeros(more, np.uint8)])
        self.attempt = np.concatenate([self.attempt, np.zeros(more, np.uint32)])
        self.last = np.concatenate([self.last, np.zeros(more, np.uint32)])
        self.counts = np.concatenate([self.counts, np.zeros((len(plan.blocks) - old, CODES), np.int64)])
        for block in plan.blocks[old:]:
            self.counts[block.number, WAITING] = block.size
            self._add_lanes(block)
        self._index_blocks()

    # Where a task is.

    def block_number(self, index: int) -> int:
        """Return the number of the block that a task is in."""
        return bisect_right(self.starts, index) - 1

    def block_numbers(self, indexes: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        """Return the number of the block that each task is in."""
        return np.searchsorted(self._starts, indexes, "right") - 1

    def by_block(self, indexes: Indexes) -> Iterator[tuple[Block, Indexes]]:
        """Yield the blocks that these tasks are in, each with its tasks in the order given."""
        if not len(indexes):
            return
        block = self.plan.blocks[self.block_number(int(indexes[0]))]
        if len(self.starts) == 1 or (indexes.min() >= block.start and indexes.max() < block.stop):
            yield block, indexes
            return
        numbers = self.block_numbers(indexes)
        for number in np.unique(numbers):
            yield self.plan.blocks[number], indexes[numbers == number]

    def pieces(self, block: Block) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Yield the states of a block's tasks as views of bounded size, each with the index of its first task."""
        for start in range(block.start, block.stop, PIECE):
            yield start, self.state[start : min(start + PIECE, block.stop)]

    def queue_of(self, index: int) -> ReadyQueue:
        """Return the queue that a task belongs to."""
        number = self.block_number(index)
        if queue := self.only_queue[number]:
            return queue
        block = self.plan.blocks[number]
        assert block.policy_of is not None
        return self.queues_of[number][int(block.policy_of[index - block.start])]

    def used(self) -> dict[str, float]:
        """Return how much of each resource the tasks in flight use."""
        used: dict[str, float] = {}
        for queue in self.queues:
            if queue.in_flight:
                for name, amount in queue.policy.resources:
                    used[name] = used.get(name, 0.0) + amount * queue.in_flight
        return used

    def by_queue(self, block: Block, where: Where) -> Iterator[tuple[ReadyQueue, Where]]:
        """Yield the queues that these tasks of one block are in, each with its tasks."""
        if queue := self.only_queue[block.number]:
            yield queue, where
            return
        assert block.policy_of is not None
        indexes = indexes_of(where)
        which = block.policy_of[indexes - block.start]
        for position in np.unique(which):
            yield self.queues_of[block.number][position], indexes[which == position]

    # Moves.

    def move_one(self, index: int, number: int, code: int) -> None:
        """Put one task of block `number` into a state."""
        counts = self.mv_counts[number]
        counts[self.mv_state[index]] -= 1
        counts[code] += 1
        self.mv_state[index] = code

    def move(self, block: Block, indexes: Indexes, code: int) -> None:
        """Put distinct tasks of one block into a state, whatever their present ones."""
        row = self.counts[block.number]
        for start in range(0, len(indexes), PIECE):
            piece = indexes[start : start + PIECE]
            row -= np.bincount(self.state[piece], minlength=CODES)
            row[code] += len(piece)
            self.state[piece] = code

    def put(self, where: Where, code: int) -> None:
        """Write a state; the caller keeps the counts."""
        if isinstance(where, slice):
            self.state[where].fill(code)
        else:
            self.state[where] = code

    def shift(self, number: int, where: Where, count: int, came_from: int, code: int) -> None:
        """Put `count` distinct tasks of block `number`, all of them in one state, into another."""
        self.put(where, code)
        counts = self.mv_counts[number]
        counts[came_from] -= count
        counts[code] += count

    def queue_one(self, index: int, number: int) -> None:
        """Make one task of block `number` ready."""
        counts, state = self.mv_counts[number], self.mv_state
        counts[state[index]] -= 1
        counts[QUEUED] += 1
        state[index] = QUEUED
        queue = self.only_queue[number] or self.queue_of(index)
        queue.tasks.push(index)
        self.ready.add(queue.number)

    def queue(self, block: Block, where: Where, count: int) -> None:
        """Make `count` distinct waiting tasks of one block ready, in this order; a slice costs one entry."""
        if not count:
            return
        self.shift(block.number, where, count, WAITING, QUEUED)
        for queue, chosen in self.by_queue(block, where):
            queue.tasks.push_many(chosen)
            self.ready.add(queue.number)

    def queue_block(self, block: Block) -> None:
        """Make every waiting task of a block ready; a whole block costs one entry, not one a task."""
        waiting = int(self.counts[block.number, WAITING])
        if waiting == block.size:
            self.queue(block, slice(block.start, block.stop), waiting)
        elif waiting:
            for start, column in self.pieces(block):
                self.queue_some(block, np.flatnonzero(column == WAITING) + start)

    def queue_some(self, block: Block, indexes: Indexes) -> None:
        """Make distinct waiting tasks of one block ready, in this order."""
        self.queue(block, where_of(indexes), len(indexes))

    def take_one(self, queue: ReadyQueue) -> int:
        """Hand out the next ready task of a queue; -1 if there is none. An empty queue is no longer ready."""
        tasks, state = queue.tasks, self.mv_state
        while (index := tasks.take_one()) >= 0:
            if state[index] == QUEUED:
                state[index] = SENT
                self.mv_attempt[index] += 1
                counts = self.mv_counts[queue.block]
                counts[QUEUED] -= 1
                counts[SENT] += 1
                queue.in_flight += 1
                self.in_flight += 1
                if not tasks:
                    self.ready.discard(queue.number)
                return index
        self.ready.discard(queue.number)
        return -1

    def take(self, queue: ReadyQueue, most: int) -> Indexes:
        """Hand out up to `most` ready tasks of a queue; each one's `attempt` counts up."""
        if most <= states.SMALL:
            return np.array(list(self._take_few(queue, most)), np.int64)
        parts: list[Indexes] = []
        found = 0
        while found < most and queue.tasks:
            part = self._take_part(queue.tasks.take(most - found))
            parts.append(part)
            found += len(part)
        if not queue.tasks:
            self.ready.discard(queue.number)
        counts = self.mv_counts[queue.block]
        counts[QUEUED] -= found
        counts[SENT] += found
        queue.in_flight += found
        self.in_flight += found
        return parts[0] if len(parts) == 1 else np.concatenate(parts or [np.empty(0, np.int64)])

    def _take_few(self, queue: ReadyQueue, most: int) -> Iterator[int]:
        for _ in range(most):
            index = self.take_one(queue)
            if index < 0:
                return
            yield index

    def _take_part(self, entries: Where) -> Indexes:
        """Hand out those of some entries that are still queued."""
        column = self.state[entries]
        if not is_all(column, QUEUED):
            entries = indexes_of(entries)[column == QUEUED]
        self.put(entries, SENT)
        attempts = self.attempt[entries]
        attempts += _ONE
        if not isinstance(entries, slice):
            self.attempt[entries] = attempts
        return indexes_of(entries)

    def release(self, block: Block, where: Where, count: int) -> None:
        """Say that these `count` tasks of one block are no longer in flight."""
        self.in_flight -= count
        if only := self.only_queue[block.number]:
            only.in_flight -= count
            return
        for queue, chosen in self.by_queue(block, where):
            queue.in_flight -= len(indexes_of(chosen))

    def land(self, queue: ReadyQueue) -> None:
        """Say that one task of a queue is no longer in flight."""
        queue.in_flight -= 1
        self.in_flight -= 1

    def is_busy(self) -> bool:
        """Return whether anything is in flight or ready; waiting and delayed tasks do not count."""
        if self.in_flight:
            return True
        for number in self.ready:  # noqa: SIM110  # called after every batch: a generator would cost more than the loop
            # A queue whose entries are all stale may still be there.
            if self.mv_counts[self.queues[number].block][QUEUED]:
                return True
        return False

    # Counts and selections.

    def totals(self) -> NDArray[np.int64]:
        """Return the number of tasks in each code, over all blocks: shape (CODES,)."""
        return np.asarray(self.counts.sum(axis=0), np.int64)

    def where(self, table: NDArray[np.bool_], blocks: Iterable[Block] | None = None) -> Indexes:
        """Return the tasks whose state is true in a table of `states.mask`, ascending; empty blocks cost nothing."""
        found = []
        for block in self.plan.blocks if blocks is None else blocks:
            if self.counts[block.number][table].any():
                found += [np.flatnonzero(table[column]) + start for start, column in self.pieces(block)]
        return np.concatenate(found) if found else np.empty(0, np.int64)

    def clear_ready(self) -> None:
        """Empty all queues; queued tasks are then in none."""
        self.ready.clear()
        for queue in self.queues:
            queue.tasks.clear()

    def recount(self) -> None:
        """Count states and tasks in flight from the columns: only after a rebuild."""
        for block in self.plan.blocks:
            self.counts[block.number] = sum(np.bincount(column, minlength=CODES) for _, column in self.pieces(block))
        for queue in self.queues:
            queue.in_flight = 0
        self.in_flight = 0
        flying = self.where(states.IS_IN_FLIGHT)
        for block, indexes in self.by_block(flying):
            for queue, chosen in self.by_queue(block, indexes):
                queue.in_flight = len(indexes_of(chosen))
            self.in_flight += len(indexes)

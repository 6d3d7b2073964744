"""The counters of a plan's gates: finishing parents opens them, failing parents kills them, children follow at once.

What opens what, for one task on plain integers and for many as arrays:

    finish_one ── _count_one ── _open_gate ─┬─ _open_child      one more gate of one task is open
         └── (feed.is_direct) ──────────────┘
    finish ────── _count ────── open ───────┬─ _open_children   one more gate of each of some tasks of a block is open
         └── (feed.is_direct) ──────────────┤
                                            └─ _open_whole      one more gate of a whole product block is open

`_open_gate` uses `_open_children` and `_open_whole` as well, where a gate has many children. A task without a closed
gate left is queued at once. Failures go the same way: `fail`, `_fail_few` and `_fail_block` to `_kill_one` and `_kill`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from daggy.errors import InternalError
from daggy.plan import Block, GateArray
from daggy.run import states
from daggy.run.frontier import Frontier
from daggy.run.indexes import Indexes, Where, indexes_of, is_all, shifted, where_of
from daggy.run.states import QUEUED, UPSTREAM_FAILED, WAITING
from daggy.spec.model import On

COUNTED = np.int32
"""Type of counters: those of a generator's gates go below zero while its generated tasks are unfinished."""


@frozen(eq=False)
class Feed:
    """One gate array in the form that work on single tasks needs.

    `done` is None where the only parent opens the gate; `is_direct` if, besides, task `i` opens that of `i + shift`
    alone.
    """

    array: GateArray
    ended: bool
    is_direct: bool
    shift: int
    target: int
    done: memoryview | None
    total: int  # -1: look into `totals`
    totals: memoryview | None


class Gates:
    """Counters of all gates of a run, and how many gates in front of each task are open.

    `done[array]` counts the parents of each gate that are done (int32; None for an array whose gates have one parent
    each and no generator among them). `dead[array]` (uint8, None until something fails) marks `completed` gates that
    can never open. `opened` (a byte a task, wider if more than 255 gates stand in front of one) counts open gates
    that are the task's own, `opened_whole[block]` those that a whole block shares.
    """

    def __init__(self, frontier: Frontier) -> None:
        """Start with all counters at zero."""
        self.frontier = frontier
        self.done: list[NDArray[np.int32] | None] = []
        self.dead: list[NDArray[np.uint8] | None] = []
        self.feeds: list[tuple[Feed, ...]] = []
        self.reset()

    def reset(self) -> None:
        """Reset every counter, for the frontier's present plan."""
        plan = self.frontier.plan
        self.done = [np.zeros(array.size, COUNTED) if self._is_counted(array) else None for array in plan.arrays]
        self.dead = [None] * len(plan.arrays)
        most = max((int(np.max(need)) for need in plan.need), default=0)
        self.opened: NDArray[np.unsignedinteger[Any]]
        self.opened = np.zeros(plan.size, np.uint8 if most < 256 else np.uint16 if most < 65536 else np.uint32)
        self.opened_whole = [0] * len(plan.blocks)
        self._index()

    def grow(self) -> None:
        """Take over the frontier's plan after it grew; existing counters stay."""
        plan = self.frontier.plan
        for array in plan.arrays[len(self.done) :]:
            self.done.append(np.zeros(array.size, COUNTED) if self._is_counted(array) else None)
            self.dead.append(None)
        self.opened = np.concatenate([self.opened, np.zeros(plan.size - len(self.opened), self.opened.dtype)])
        self.opened_whole += [0] * (len(plan.blocks) - len(self.opened_whole))
        self._index()

    def _is_counted(self, array: GateArray) -> bool:
        source = self.frontier.plan.blocks[array.source]
        single = isinstance(array.total, int) and array.total == 1
        return not single or any(policy.is_generator for policy in source.policies)

    def _index(self) -> None:
        plan = self.frontier.plan
        self._rank = {number: position for position, number in enumerate(plan.order)}
        self._generators = np.array(sorted(plan.generated), np.int64)
        self.origins = [block.origin for block in plan.blocks]
        self.mv_opened = self.opened.data
        self._one = np.ones((), self.opened.dtype)
        self.mv_needs = [None if isinstance(need, int) else need.data for need in plan.need]
        self.needed = [need if isinstance(need, int) else -1 for need in plan.need]  # -1: look into `mv_needs`
        self.feeds = [tuple(map(self._feed, arrays)) for arrays in plan.out]

    def _feed(self, array: GateArray) -> Feed:
        done = self.done[array.number]
        uniform = isinstance(array.total, int)
        return Feed(
            array,
            array.on is On.ENDED,
            done is None and array.shift is not None,
            array.shift or 0,
            array.targets[0],
            None if done is None else done.data,
            int(array.total) if uniform else -1,
            None if uniform else np.asarray(array.total).data,
        )

    # One task at a time, on plain integers.

    def finish_one(self, index: int, number: int) -> None:
        """Count one completed task of block `number` at the gates it feeds, and queue children that become ready."""
        for feed in self.feeds[number]:
            if feed.is_direct:
                self._open_child(index + feed.shift, feed.target)
            else:
                self._count_one(feed, feed.array.gates_of(index))
        if self.origins[number] >= 0:
            self._count_origins(1, number, ended_only=False)

    def _count_one(self, feed: Feed, gates: Iterable[int], by: int = 1) -> None:
        done = feed.done
        for gate in gates:
            if done is None:
                self._open_gate(feed, gate)
                continue
            count = done[gate] + by
            done[gate] = count
            total = feed.total if feed.totals is None else feed.totals[gate]
            if count == total:
                self._open_gate(feed, gate)
            elif count > total:
                raise InternalError(
                    f"{feed.array.on.name.lower()} gate {gate} behind task '{self._parent(feed.array, gate)}' "
                    f"counts {count} parents and has {total}"
                )

    def _parent(self, array: GateArray, gate: int) -> str:
        return self.frontier.plan.name(int(array.parents(gate)[0]))

    def _open_gate(self, feed: Feed, gate: int) -> None:
        array = feed.array
        if array.whole_target:
            self._open_whole(array.whole(gate))
            return
        children = array.children_of(gate)
        if len(children) > states.SMALL:
            self._open_children(feed.target, where_of(np.asarray(children, np.int64)))
            return
        for child in children:
            self._open_child(child, feed.target)

    def _open_child(self, child: int, number: int) -> None:
        count = self.mv_opened[child] + 1
        self.mv_opened[child] = count
        needs = self.mv_needs[number]
        needed = self.needed[number] if needs is None else needs[child - self.frontier.starts[number]]
        if count + self.opened_whole[number] == needed and self.frontier.mv_state[child] == WAITING:
            self.frontier.queue_one(child, number)

    # Many tasks at a time.

    def finish(self, block: Block, where: Where, count: int) -> None:
        """Count `count` completed tasks of one block at the gates they feed, and queue children that become ready."""
        for feed in self.feeds[block.number]:
            if feed.is_direct:
                self._open_children(feed.target, shifted(where, feed.shift))
            else:
                self._count(feed.array, feed.array.gates(indexes_of(where)))
        if block.origin >= 0:
            self._count_origins(count, block.number, ended_only=False)

    def _count_origins(self, count: int, number: int, *, ended_only: bool) -> None:
        """Count generated tasks at the gates that their generator feeds, and its own generator, and so on."""
        for origin in self.frontier.plan.lineage(self.frontier.plan.blocks[number]):
            for feed in self.feeds[self.frontier.block_number(origin)]:
                if feed.ended or not ended_only:
                    self._count_one(feed, feed.array.gates_of(origin), count)

    def _count(self, array: GateArray, gates: NDArray[np.int64]) -> None:
        done = self.done[array.number]
        if done is None:
            self.open(array, gates)
            return
        total = array.total
        if array.size == 1:
            done[0] += len(gates)
            whole = total if isinstance(total, int) else int(total[0])
            self.open(array, np.zeros(int(len(gates) > 0 and done[0] == whole), np.int64))
            return
        np.add.at(done, gates, 1)
        full = done[gates] == (total if isinstance(total, int) else total[gates])
        if np.count_nonzero(full):
            self.open(array, np.unique(gates[full]))

    def open(self, array: GateArray, gates: NDArray[np.int64]) -> None:
        """Open distinct gates and queue the waiting tasks that have no other closed one in front of them."""
        if not len(gates):
            return
        if array.whole_target:
            for gate in gates.tolist():
                self._open_whole(array.whole(gate))
        else:
            self._open_children(array.targets[0], where_of(array.children(gates)))

    def _open_children(self, number: int, where: Where) -> None:
        """Note that one more gate is open in front of these distinct tasks of block `number`; queue those
        without a closed one left.
        """
        frontier = self.frontier
        opened = self.opened[where]
        opened += self._one
        if not isinstance(where, slice):
            self.opened[where] = opened
        whole = self.opened_whole[number]
        if whole < 0:
            return
        need = frontier.plan.need[number]
        column = frontier.state[where]
        if isinstance(need, int):
            if is_all(opened, need - whole) and is_all(column, WAITING):
                frontier.queue(frontier.plan.blocks[number], where, len(column))
                return
            free = opened == need - whole
        else:
            free = opened == need[shifted(where, -frontier.starts[number])]
        if np.count_nonzero(free):
            free &= column == WAITING
            frontier.queue_some(frontier.plan.blocks[number], indexes_of(where)[free])

    def _open_whole(self, number: int) -> None:
        """Note that one more gate is open in front of a whole product block; queue tasks without a closed one left."""
        frontier = self.frontier
        block = frontier.plan.blocks[number]
        need = frontier.plan.need[number]
        assert isinstance(need, int)  # rows of an explicit block never wait as a whole
        whole = self.opened_whole[number] = self.opened_whole[number] + 1
        if whole > need:
            raise InternalError(f"{whole} gates are open in front of block {number}, which waits for {need}")
        if whole == need:
            frontier.queue_block(block)
            return
        for start, column in frontier.pieces(block):
            free = (self.opened[start : start + len(column)] == need - whole) & (column == WAITING)
            if whole >= 0 and np.count_nonzero(free):
                frontier.queue_some(block, np.flatnonzero(free) + start)

    # Failure, passed on through dead gates.

    def fail(self, indexes: Indexes) -> None:
        """Pass on that these tasks have finally failed: children of `completed` gates become `upstream_failed`, `ended`
        gates count on; all the way down, as arrays.
        """
        todo: dict[int, list[Indexes]] = {}
        if len(indexes) <= states.SMALL:
            self._fail_few(indexes.tolist(), todo)
        else:
            for block, chosen in self.frontier.by_block(indexes):
                todo.setdefault(block.number, []).append(chosen)
        while todo:
            number = min(todo, key=self._rank.__getitem__)
            parts = todo.pop(number)
            failed = parts[0] if len(parts) == 1 else np.concatenate(parts)
            for child, lost in self._fail_block(self.frontier.plan.blocks[number], failed):
                if len(lost) <= states.SMALL:
                    self._fail_few(lost.tolist(), todo)
                else:
                    todo.setdefault(child, []).append(lost)

    def kill(self, array: GateArray, gates: NDArray[np.int64]) -> None:
        """Mark gates dead and pass that on to all tasks behind them."""
        for _, lost in self._kill(array, gates):
            self.fail(lost)

    def pass_failure(self, array: GateArray, failed: Indexes) -> None:
        """Pass failed parents on through one gate array only, and from its children on."""
        if not len(failed):
            return
        if array.on is On.ENDED:
            self._count(array, array.gates(failed))
            return
        self.kill(array, array.gates(failed))

    def _fail_few(self, stack: list[int], todo: dict[int, list[Indexes]]) -> None:
        """Pass failure on task by task while there are few (a long chain has many levels of one task each); larger
        sets go to `todo`.
        """
        frontier = self.frontier
        while stack:
            index = stack.pop()
            number = frontier.block_number(index)
            if frontier.plan.blocks[number].origin >= 0 or index in frontier.plan.generated:
                todo.setdefault(number, []).append(np.array([index], np.int64))
                continue
            for feed in self.feeds[number]:
                gates = feed.array.gates_of(index)
                if feed.ended:
                    self._count_one(feed, gates)
                    continue
                for gate in gates:
                    self._kill_one(feed, gate, stack, todo)

    def _kill_one(self, feed: Feed, gate: int, stack: list[int], todo: dict[int, list[Indexes]]) -> None:
        array, frontier = feed.array, self.frontier
        if array.whole_target or len(children := array.children_of(gate)) > states.SMALL:
            for child, lost in self._kill(array, np.array([gate], np.int64)):
                todo.setdefault(child, []).append(lost)
            return
        dead = self._dead(array)
        if dead[gate]:
            return
        dead[gate] = 1
        for child in children:
            if frontier.mv_state[child] == WAITING:
                frontier.move_one(child, feed.target, UPSTREAM_FAILED)
                stack.append(child)

    def _fail_block(self, block: Block, failed: Indexes) -> list[tuple[int, Indexes]]:
        lost: list[tuple[int, Indexes]] = []
        for array in self.frontier.plan.out[block.number]:
            gates = array.gates(failed)
            if array.on is On.ENDED:
                self._count(array, gates)
            else:
                lost += self._kill(array, gates)
        for origin in np.intersect1d(failed, self._generators).tolist():
            for number in self.frontier.plan.generated[origin]:
                lost += self._lose_block(number)
        if block.origin >= 0:
            self._count_origins(len(failed), block.number, ended_only=True)
            for origin in self.frontier.plan.lineage(block):
                for array in self.frontier.plan.out[self.frontier.block_number(origin)]:
                    if array.on is On.COMPLETED:
                        lost += self._kill(array, np.array(array.gates_of(origin), np.int64))
        return lost

    def _kill(self, array: GateArray, gates: NDArray[np.int64]) -> list[tuple[int, Indexes]]:
        """Mark gates dead; return the children that this made `upstream_failed`, by block."""
        if not len(gates):
            return []
        dead = self._dead(array)
        fresh = np.unique(gates[dead[gates] == 0])
        dead[fresh] = 1
        if array.whole_target:
            return [lost for gate in fresh.tolist() for lost in self._lose_block(array.whole(gate))]
        children = array.children(fresh)
        waiting = children[self.frontier.state[children] == WAITING]
        if not len(waiting):
            return []
        self.frontier.move(self.frontier.plan.blocks[array.targets[0]], waiting, UPSTREAM_FAILED)
        return [(array.targets[0], waiting)]

    def _dead(self, array: GateArray) -> NDArray[np.uint8]:
        dead = self.dead[array.number]
        if dead is None:
            dead = self.dead[array.number] = np.zeros(array.size, np.uint8)
        return dead

    def _lose_block(self, number: int) -> list[tuple[int, Indexes]]:
        """Make what waits in a block `upstream_failed`; return it."""
        block = self.frontier.plan.blocks[number]
        if not self.frontier.counts[number, WAITING]:
            return []
        waiting = self.frontier.where(states.mask(WAITING), [block])
        self.frontier.move(block, waiting, UPSTREAM_FAILED)
        return [(number, waiting)]

    # Growth.

    def expect_behind(self, block: Block, count: int) -> None:
        """Raise what the gates behind a generator, and behind its own generator, wait for by `count` tasks of a
        generated block.
        """
        plan, frontier = self.frontier.plan, self.frontier
        for origin in plan.lineage(block):
            for array in plan.out[frontier.block_number(origin)]:
                done = self.done[array.number]
                assert done is not None  # a generator's gates are counted
                for gate in array.gates_of(origin):
                    done[gate] -= count

    # What stands in front of one task.

    def verdict(self, index: int) -> int:
        """Return what an unstarted task should be by its gates: QUEUED, UPSTREAM_FAILED or WAITING."""
        frontier = self.frontier
        number = frontier.block_number(index)
        needs = self.mv_needs[number]
        needed = self.needed[number] if needs is None else needs[index - frontier.starts[number]]
        if self.origins[number] >= 0 and states.IS_FAILED[frontier.state[self.origins[number]]]:
            return UPSTREAM_FAILED
        for array in frontier.plan.into[number]:
            dead = self.dead[array.number]
            gate = array.gate_before(index)
            if dead is not None and gate >= 0 and dead[gate]:
                return UPSTREAM_FAILED
        return QUEUED if self.mv_opened[index] + self.opened_whole[number] == needed else WAITING

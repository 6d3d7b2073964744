"""Which tasks wait for some others, directly or not: what runs again when they do."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from daggy.plan import Block, GateArray
from daggy.run import states
from daggy.run.indexes import Indexes, distinct
from daggy.run.run import Run


def downstream(run: Run, chosen: Indexes) -> Indexes:
    """Return these tasks and all that wait for them, directly or not, across `on: ended` too; ascending."""
    marked = np.zeros(run.plan.size, np.bool_)
    marked[chosen] = True
    _Walk(run, marked).follow(chosen)
    return np.flatnonzero(marked)


class _Walk:
    """Marks what is reached: block by block as arrays, or task by task where there are few."""

    def __init__(self, run: Run, marked: NDArray[np.bool_]) -> None:
        self.plan, self.frontier = run.plan, run.frontier
        self.marked, self.mv_marked = marked, marked.data
        self.generators = np.array(sorted(run.plan.generated), np.int64)
        self.ranks = {number: rank for rank, number in enumerate(run.plan.order)}
        self.todo: dict[int, list[Indexes]] = {}

    def follow(self, chosen: Indexes) -> None:
        """Mark what is downstream of these."""
        for block, part in self.frontier.by_block(chosen):
            self.todo.setdefault(block.number, []).append(part)
        while self.todo:
            number = min(self.todo, key=self.ranks.__getitem__)
            part = np.concatenate(self.todo.pop(number))
            if len(part) <= states.SMALL and self.plan.blocks[number].origin < 0:
                self._follow_few(part.tolist())
            else:
                self._follow_block(self.plan.blocks[number], part)

    def _follow_few(self, stack: list[int]) -> None:
        """Follow task by task while there are few: a long chain has many levels of one task each."""
        while stack:
            index = stack.pop()
            number = self.frontier.block_number(index)
            if self.plan.blocks[number].origin >= 0 or index in self.plan.generated:
                self._follow_block(self.plan.blocks[number], np.array([index], np.int64))
                continue
            for array in self.plan.out[number]:
                for gate in array.gates_of(index):
                    self._pass_gate(array, gate, stack)

    def _pass_gate(self, array: GateArray, gate: int, stack: list[int]) -> None:
        if array.whole_target or len(children := array.children_of(gate)) > states.SMALL:
            self._pass_gates(array, np.array([gate], np.int64))
            return
        for child in children:
            if not self.mv_marked[child] and self.frontier.mv_state[child] != states.REMOVED:
                self.mv_marked[child] = True
                stack.append(child)

    def _follow_block(self, block: Block, chosen: Indexes) -> None:
        for array in self.plan.out[block.number]:
            self._pass_gates(array, distinct(array.gates(chosen), array.size))
        for origin in self.plan.lineage(block):
            for array in self.plan.out[self.frontier.block_number(origin)]:
                self._pass_gates(array, np.array(array.gates_of(origin), np.int64))
        for origin in np.intersect1d(chosen, self.generators).tolist():
            for number in self.plan.generated[origin]:
                self._mark_block(self.plan.blocks[number])

    def _pass_gates(self, array: GateArray, gates: NDArray[np.int64]) -> None:
        if array.whole_target:
            for gate in gates.tolist():
                self._mark_block(self.plan.blocks[array.whole(gate)])
        elif len(gates):
            self._mark(array.children(gates))

    def _mark_block(self, block: Block) -> None:
        for start, column in self.frontier.pieces(block):
            marked = self.marked[start : start + len(column)]
            self._mark(np.flatnonzero(~marked) + start)

    def _mark(self, children: Indexes) -> None:
        fresh = children[~self.marked[children] & (self.frontier.state[children] != states.REMOVED)]
        self.marked[fresh] = True
        for block, part in self.frontier.by_block(fresh):
            self.todo.setdefault(block.number, []).append(part)

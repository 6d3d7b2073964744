"""Why completed tasks run again: for each the parents that do, by template."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from daggy.plan import Block, GateArray
from daggy.run.indexes import Indexes, distinct
from daggy.run.run import Run

SEPARATE = 50
"""Parents without parameters that are named one by one."""

SEVERAL = "tasks that it waits for run"
"""Names more than that."""

INVALIDATED = "invalidated: "
"""Start of the cause of a completed task that runs again because its parents do."""

ANSWERED = "new answer: "
"""Start of the recorded cause of what runs again because a generator gave another answer. It is read back after a
restart: unlike a command, an answer does not continue a run that was stopped.
"""


def invalidations(run: Run, again: Indexes, built_on: Indexes) -> dict[str, Indexes]:
    """Return causes, each with the tasks that it holds for: disjoint, and together all of `built_on`.

    Args:
        run: The run.
        again: All tasks that run again, ascending; `downstream` found them.
        built_on: Those among them that need a cause: some of their parents are in `again`, too.
    """
    unexplained = np.zeros(run.plan.size, np.bool_)
    unexplained[built_on] = True
    left, causes = len(built_on), dict[str, list[Indexes]]()
    for name, children in _behind(run, again, unexplained) if left else ():
        fresh = children[unexplained[children]]  # distinct: a child is behind one gate of an array
        if len(fresh):
            unexplained[fresh] = False
            causes.setdefault(f"{INVALIDATED}{name} again", []).append(fresh)
            left -= len(fresh)
            if not left:
                break
    if left:
        causes[f"{INVALIDATED}{SEVERAL} again"] = [np.flatnonzero(unexplained)]
    return {cause: np.sort(np.concatenate(parts)) for cause, parts in causes.items()}


def _behind(run: Run, again: Indexes, wanted: NDArray[np.bool_]) -> Iterator[tuple[str, Indexes]]:
    """Yield parents that run again, by name, with the tasks that wait for them."""
    for block, part in run.frontier.by_block(again):
        for array in _wanted(run, block, wanted):
            yield from _children(run, array, block, part)
        yield from _generated(run, block, part)
        for origin in run.plan.lineage(block):
            for array in _wanted(run, run.plan.block_of(origin), wanted):
                gates = np.array(array.gates_of(origin), np.int64)
                yield _named(run, block, part), _of_gates(run, array, gates)


def _wanted(run: Run, block: Block, wanted: NDArray[np.bool_]) -> Iterator[GateArray]:
    """Yield the arrays that a block feeds and that lead to wanted tasks."""
    for array in run.plan.out[block.number]:
        targets = (run.plan.blocks[number] for number in array.targets)
        if any(wanted[target.start : target.stop].any() for target in targets):
            yield array


def _children(run: Run, array: GateArray, block: Block, part: Indexes) -> Iterator[tuple[str, Indexes]]:
    if block.explicit and len(part) <= SEPARATE:
        for index in part.tolist():
            gates = np.array(array.gates_of(index), np.int64)
            yield f"{run.plan.name(index)} runs", _of_gates(run, array, gates)
        return
    name = _named(run, block, part, matched=bool(array.match))
    yield name, _of_gates(run, array, distinct(array.gates(part), array.size))


def _generated(run: Run, block: Block, part: Indexes) -> Iterator[tuple[str, Indexes]]:
    """Yield generators that run again, with what they generated."""
    if not run.frontier.generators[block.number]:
        return
    for origin in part[np.isin(part, np.fromiter(run.plan.generated, np.int64))].tolist():
        for number in run.plan.generated[origin]:
            child = run.plan.blocks[number]
            yield f"its generator {run.plan.name(origin)} runs", np.arange(child.start, child.stop, dtype=np.int64)


def _of_gates(run: Run, array: GateArray, gates: NDArray[np.int64]) -> Indexes:
    if not array.whole_target:
        return array.children(gates) if len(gates) else np.empty(0, np.int64)
    blocks: Iterable[Block] = (run.plan.blocks[array.whole(gate)] for gate in gates.tolist())
    ranges = [np.arange(block.start, block.stop, dtype=np.int64) for block in blocks]
    return np.concatenate([np.empty(0, np.int64), *ranges])


def _named(run: Run, block: Block, part: Indexes, *, matched: bool = False) -> str:
    if len(part) == 1:
        return f"{run.plan.name(int(part[0]))} runs"
    if block.explicit:
        return SEVERAL
    name = run.plan.template_name(block.start)
    return f"its parents in '{name}' run" if matched else f"{len(part):,} tasks of '{name}' run"

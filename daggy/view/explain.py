"""Why a task does not run, or why it ran again: what it waits for, and what happened to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from daggy.attempt import State
from daggy.plan import Block, GateArray
from daggy.run import states
from daggy.run.run import Run, moves_of
from daggy.run.states import COMPLETED, Now
from daggy.spec.model import On
from daggy.view.shapes import AttemptShape, Places, last_attempt

EXAMPLES = 3
"""Examples of each kind."""

SEPARATE = 10
"""Parents without parameters that are listed one by one; the rest is summed up."""

Because = Mapping[str, Any]
"""One reason: `kind`, and what belongs to that kind."""


@frozen
class Explanation:
    """A task's state, and the reasons for it."""

    state: str
    because: Sequence[Because]


def explain(
    run: Run, index: int, places: Places, now: Now | None = None, attempts: Sequence[AttemptShape] | None = None
) -> Explanation:
    """Return why a task is where it is. Costs by the number of its parents.

    Kinds: `parents` (left of how many, with examples), `generator`, `max_parallel`, `limit`, `delay`, `handed_out`,
    `ready`, `attempt` (how one ended), `moved` (who or what moved it); attempts and moves in the order of time.

    Args:
        run: The run.
        index: The task.
        places: What places in its attempts mean.
        now: The moment, if an engine works on the run; None for a run that is only read, of which no turn, limit
            or delay is known.
        attempts: All its ended attempts, in order; None if only the last one is known.
    """
    code = int(run.frontier.state[index])
    because: list[Because] = []
    if code in (states.WAITING, states.UPSTREAM_FAILED):
        because += _in_front(run, index, failed=code == states.UPSTREAM_FAILED)
    elif code in states.UNSTARTED and now is not None:
        because += _turn(run, index, now)
    elif code == states.SENT:
        because.append({"kind": "handed_out", "attempt": int(run.frontier.attempt[index])})
    because += _past(run, index, places, attempts)
    return Explanation(_public(code), because)


def _public(code: int) -> str:
    return State(states.PUBLIC[code]).name.lower()


# What stands in front of it.


def _in_front(run: Run, index: int, *, failed: bool) -> Iterator[Because]:
    block = run.plan.block_of(index)
    for array in run.plan.into[block.number]:
        gate = array.gate_before(index)
        if gate >= 0:
            yield from _gate(run, array, gate, failed=failed)
    if block.origin >= 0 and run.frontier.state[block.origin] != COMPLETED:
        example = _example(run, block.origin)
        yield {"kind": "generator", "template": run.plan.template_name(block.origin), "left": 1, "of": 1} | {
            "examples": [example]
        }


def _gate(run: Run, array: GateArray, gate: int, *, failed: bool) -> Iterator[Because]:
    """Yield the parents at one gate that are not done, by template; with `failed`, those that can never be."""
    parents = array.parents(gate)
    column = _states(run, parents)
    lacking: list[int] = np.flatnonzero(_undone(column, array.on, failed=failed)).tolist()
    if array.parent.explicit:
        yield from _separately(run, array, [int(parents[place]) for place in lacking], len(parents))
    elif len(lacking):
        yield _because(run, array, [int(parents[place]) for place in lacking[:EXAMPLES]], len(lacking), len(parents))
    yield from _generated(run, array, parents, failed=failed)


def _states(run: Run, parents: Sequence[int] | NDArray[np.int64]) -> NDArray[np.uint8]:
    if isinstance(parents, range):
        return run.frontier.state[parents.start : parents.stop : parents.step]
    return run.frontier.state[np.asarray(parents, np.int64)]


def _separately(run: Run, array: GateArray, lacking: list[int], total: int) -> Iterator[Because]:
    for index in lacking[:SEPARATE]:
        yield _because(run, array, [index], 1, 1)
    rest = lacking[SEPARATE:]
    if rest:
        yield _because(run, array, rest[:EXAMPLES], len(rest), total - SEPARATE) | {"template": ""}


def _because(run: Run, array: GateArray, examples: list[int], left: int, total: int) -> dict[str, Any]:
    return {
        "kind": "parents",
        "template": run.plan.template_name(examples[0]),
        "on": array.on.name.lower(),
        "left": left,
        "of": total,
        "examples": [_example(run, index) for index in examples],
    }


def _example(run: Run, index: int) -> Because:
    return {"index": index, "name": run.plan.name(index), "state": _public(int(run.frontier.state[index]))}


def _generated(
    run: Run, array: GateArray, parents: Sequence[int] | NDArray[np.int64], *, failed: bool
) -> Iterator[Because]:
    """Yield what parents of this gate generated and is not done: the gate waits for it as it does for them."""
    wanted = set(parents) if len(run.plan.generated) else set()
    for block in run.plan.current:
        if block.origin < 0:
            continue
        if wanted.isdisjoint(run.plan.lineage(block)):
            continue
        lacking = _lacking(run, block, array.on, failed=failed)
        if len(lacking):
            yield _because(run, array, lacking[:EXAMPLES].tolist(), len(lacking), block.size)


def _lacking(run: Run, block: Block, on: On, *, failed: bool) -> NDArray[np.int64]:
    column = run.frontier.state[block.start : block.stop]
    return np.flatnonzero(_undone(column, on, failed=failed) & (column != states.REMOVED)) + block.start


def _undone(column: NDArray[np.uint8], on: On, *, failed: bool) -> NDArray[np.bool_]:
    """Return which of these states keep a gate closed; with `failed`, permanently."""
    if on is On.ENDED:
        return ~states.IS_ENDED[column]
    return states.IS_FAILED[column] if failed else column != COMPLETED


# What it waits its turn for.


def _turn(run: Run, index: int, now: Now) -> Iterator[Because]:
    due = run.delays.due_of.get(index)
    if run.frontier.state[index] == states.DELAYED and due is not None:
        seconds = max(0.0, due - now.mono)
        yield {"kind": "delay", "seconds": round(seconds, 3), "at": now.wall + seconds}
        return
    queue = run.frontier.queue_of(index)
    if not queue.room:
        yield {"kind": "max_parallel", "limit": queue.policy.max_parallel, "in_flight": queue.in_flight}
    used = run.frontier.used()
    for name, need in queue.policy.resources:
        total = run.plan.spec.limits.get(name)
        if total is not None and used.get(name, 0.0) + need > total:
            yield {"kind": "limit", "name": name, "needs": need, "used": used.get(name, 0.0), "of": total}
    yield {"kind": "ready", "priority": queue.policy.priority, "pool": queue.policy.pool, "ahead": len(queue.tasks)}


# What happened to it.


def _past(run: Run, index: int, places: Places, attempts: Sequence[AttemptShape] | None) -> list[Because]:
    """Return attempts and moves in the order of time; a single attempt that succeeded goes without saying."""
    if attempts is None:
        last = last_attempt(run, index, places)
        attempts = [] if last is None else [last]
    told = [_attempt(attempt) for attempt in attempts]
    if len(told) == 1 and attempts[0].attempt == 1 and attempts[0].reason == "ok":
        told = []
    return sorted([*told, *reversed([*_moves(run, index)])], key=lambda reason: float(reason["at"] or 0))


def _attempt(attempt: AttemptShape) -> Because:
    return {
        "kind": "attempt",
        "attempt": attempt.attempt,
        "reason": attempt.reason,
        "exit_code": attempt.exit_code,
        "signal": attempt.signal,
        "message": attempt.message,
        "at": attempt.ended,
    }


def _moves(run: Run, index: int) -> Iterator[Because]:
    """Yield the moves of a task without an attempt, the last first."""
    for moved in moves_of(run, index):
        cause = moved.cause.removesuffix(f" by {moved.actor}")  # as earlier versions recorded it
        said = {"kind": "moved", "state": moved.state.name.lower(), "cause": cause, "actor": moved.actor}
        yield said | {"at": moved.at}

"""Adds a generator's answer to the run: all of it or nothing."""

from __future__ import annotations

import numpy as np

from daggy.attempt import Reason, State
from daggy.errors import InternalError
from daggy.plan import Block, GateArray, Plan
from daggy.run import states
from daggy.run.commands import on_other_answer
from daggy.run.gates import Gates
from daggy.run.reports import complete_generator, end_generator
from daggy.run.run import KILLING, Doom, Run, story
from daggy.run.states import COMPLETED, REMOVED, WAITING, Now
from daggy.run.succession import consequences, succeed, succession
from daggy.spec.model import On, RunSpec
from daggy.tracker import Generated


def on_generated(run: Run, index: int, fragment: RunSpec | None, answer: bytes, now: Now) -> None:
    """Complete a generator with its answer.

    Args:
        run: The run.
        index: The generator's task, whose answer was requested.
        fragment: The answer as a spec; None if it is empty.
        answer: Its bytes, for the tracker.
        now: The moment.

    Raises:
        SpecError: the answer does not fit the run; nothing has changed, and the caller calls `on_bad_answer`.
    """
    if index not in run.answering:
        raise InternalError(f"an answer arrived that was not requested: {story(run, index)}")
    doom = run.doomed.get(index)
    if doom in (*KILLING, Doom.AGAIN):
        rows, texts = run.answering.pop(index)
        end_generator(run, index, rows, Reason.KILLED if doom in KILLING else Reason.OK, texts, now)
        run.settle(now)
        return
    made = None if run.answers.get(index) == answer else succession(run, index, fragment, answer)
    known = len(run.plan.blocks)
    rows, texts = run.answering.pop(index)
    run.record(Generated(run.id, run.version, index, int(run.frontier.attempt[index]), answer, now.wall))
    is_other = made is not None and (bool(made.earlier) or run.frontier.attempt[index] > 1)
    if made is None or made.earlier:
        if made is not None:
            succeed(run, made)
        complete_generator(run, index, rows, texts)
    else:
        adopt(run, made.plan)
        run.answers = dict(made.answers)
        complete_generator(run, index, rows, texts)
        run.gates.finish_one(index, run.frontier.block_number(index))
    is_changed = made is not None and is_other and on_other_answer(run, consequences(run, made, known), now)
    if made is None or made.earlier or is_changed:
        run.begin()  # earlier generated tasks were held back, or have other indexes, and gates count them
    if run.killed or run.halted:
        _stop_new(run, now)
    run.settle(now)


def _stop_new(run: Run, now: Now) -> None:
    """Kill what a generator added to a run that starts nothing more, or made run again there."""
    unstarted = run.frontier.where(states.IS_UNSTARTED)
    run.stop_unstarted(unstarted)
    ending = [index for index, doom in run.doomed.items() if doom is Doom.AGAIN]
    run.doomed.update(dict.fromkeys(ending, Doom.DISCARD))
    stopped = np.concatenate([unstarted, np.array(ending, np.int64)])
    run.record_move(State.KILLED, stopped, "killed before it started", "", now)
    run.frontier.clear_ready()


def on_bad_answer(run: Run, index: int, message: str, now: Now) -> None:
    """End a generator's attempt with reason `generator`; nothing is added."""
    if index not in run.answering:
        raise InternalError(f"an answer arrived that was not requested: {story(run, index)}")
    rows, texts = run.answering.pop(index)
    end_generator(run, index, rows, Reason.GENERATOR, texts._replace(message=message), now)
    run.settle(now)


def adopt(run: Run, plan: Plan) -> None:
    """Take over a grown plan. What is behind the generator waits for the new tasks before the generator counts as
    done.
    """
    old = run.plan
    run.frontier.grow(plan)
    run.gates.grow()
    fresh = plan.blocks[len(old.blocks) :]
    for block in fresh:
        run.gates.expect_behind(block, block.size)
    for array in plan.arrays[len(old.arrays) :]:
        if array.source < len(old.blocks):
            catch_up(run.gates, array, len(old.blocks))
    for block in fresh:
        need = plan.need[block.number]
        column = run.frontier.state[block.start : block.stop]
        if not isinstance(need, int):
            run.frontier.queue_some(block, np.flatnonzero((need == 0) & (column == WAITING)) + block.start)
        elif need == 0:
            run.frontier.queue_block(block)


def catch_up(gates: Gates, array: GateArray, known: int) -> None:
    """Count at new gates the outcomes of their older parents; blocks from `known` on are new themselves.

    A parent that is a generator stands for what it generated, too.
    """
    frontier = gates.frontier
    block = frontier.plan.blocks[array.source]
    column = frontier.state[block.start : block.stop]
    done = gates.done[array.number]
    if done is None:
        gates.open(array, array.gates(np.flatnonzero(column == COMPLETED) + block.start))
    else:
        done += array.counts(column == COMPLETED)
        for older in frontier.plan.blocks[:known]:
            if older.origin >= 0 and not frontier.counts[older.number, REMOVED]:
                _expect_older(gates, array, older)
        gates.open(array, np.flatnonzero(done == array.total))
    gates.pass_failure(array, np.flatnonzero(states.IS_FAILED[column]) + block.start)


def _expect_older(gates: Gates, array: GateArray, older: Block) -> None:
    """Count the outcomes of a generated block at the new gates that its generator, or that one's generator, feeds."""
    frontier = gates.frontier
    source = frontier.plan.blocks[array.source]
    counts = frontier.counts[older.number]
    failed = int(counts[states.IS_FAILED].sum())
    lacking = older.size - int(counts[COMPLETED]) - (failed if array.on is On.ENDED else 0)
    done = gates.done[array.number]
    assert done is not None  # a generator's gates are counted
    for origin in frontier.plan.lineage(older):
        if source.start <= origin < source.stop:
            for gate in array.gates_of(origin):
                done[gate] -= lacking
            if failed and array.on is On.COMPLETED:
                gates.kill(array, np.array(array.gates_of(origin), np.int64))

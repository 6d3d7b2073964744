"""Commands on a run: kill, resume and requeue; and which tasks must run again because others do."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from daggy.attempt import State
from daggy.run import states
from daggy.run.causes import ANSWERED, invalidations
from daggy.run.downstream import downstream
from daggy.run.indexes import Indexes
from daggy.run.run import KILLING, Doom, Run
from daggy.run.states import COMPLETED, IN_FLIGHT, WAITING, Now

RUN_KILLED = "run killed"
"""Start of the recorded cause when a whole run is killed; it is read back after a restart."""

HAS_RUN = states.mask(COMPLETED, *IN_FLIGHT)
"""States of tasks that other parents make run again."""


def on_kill(run: Run, chosen: Indexes | None, now: Now, actor: str = "") -> None:
    """Kill a run, or some of its tasks: queued tasks first, then running ones.

    A running task is recorded as killed at once, so that a crash cannot undo the command; if it completes nevertheless,
    that counts.

    Args:
        run: The run.
        chosen: Tasks, ascending; None for all, which makes the run `killed`.
        now: The moment.
        actor: The user.
    """
    if run.is_ended:
        return
    run.killed = run.killed or chosen is None
    cause = RUN_KILLED if chosen is None else "killed"
    frontier = run.frontier
    wanted = frontier.where(states.IS_ACTIVE) if chosen is None else chosen
    wanted = wanted[states.IS_ACTIVE[frontier.state[wanted]]]
    flying = states.IS_IN_FLIGHT[frontier.state[wanted]]
    for index in wanted[flying].tolist():
        doom_one(run, index, Doom.KILL)
    run.record_move(State.KILLED, wanted, cause, actor, now)
    run.stop_unstarted(wanted[~flying])
    if chosen is None:
        frontier.clear_ready()
    else:
        run.gates.fail(wanted[~flying])
    run.settle(now)


def doom_one(run: Run, index: int, doom: Doom) -> None:
    """End a task in flight; `doom` says what becomes of it then. The last command wins; an attempt whose inputs run
    again never counts.
    """
    before = run.doomed.get(index)
    is_ending = before in (*KILLING, Doom.AGAIN)
    run.doomed[index] = Doom.DISCARD if doom is Doom.KILL and before in (Doom.AGAIN, Doom.DISCARD) else doom
    if index not in run.answering and not is_ending:
        run.outbox.kills.append(run.ticket(index))


def on_resume(run: Run, now: Now, actor: str = "") -> None:
    """Put what is errored, killed or upstream_failed back in the queue, with what completed downstream of it.

    Tasks that were killed and have not ended yet are included.
    """
    dying = np.array([index for index, doom in run.doomed.items() if doom in KILLING], np.int64)
    failed = run.frontier.where(states.IS_FAILED)
    run_again(run, {"resumed": np.union1d(failed, dying)}, now, actor=actor)


def on_requeue(run: Run, chosen: Indexes, now: Now, actor: str = "", *, keep_downstream: bool = False) -> None:
    """Run these tasks again, whatever their outcome, and what is downstream of them unless that is to be kept."""
    run_again(run, {"requeued": chosen}, now, actor=actor, keep_downstream=keep_downstream)


def run_again(
    run: Run, causes: Mapping[str, Indexes], now: Now, *, actor: str = "", keep_downstream: bool = False
) -> bool:
    """Make tasks wait again and invalidate what is downstream of them; those in flight are ended first.

    Retry, crash and failure counts are reset; attempt numbers continue. Tasks that still wait are left alone: if there
    are no others, nothing happens.

    Args:
        run: The run.
        causes: Disjoint sets of tasks, each with the reason to record.
        now: The moment.
        actor: The user.
        keep_downstream: Leave what completed downstream as it is.

    Returns:
        Whether anything changed; if so, the run was started again.
    """
    chosen = _all_of(causes)
    chosen = chosen[run.frontier.state[chosen] != states.REMOVED]
    again = chosen if keep_downstream else downstream(run, chosen)
    if not _make_wait(run, causes, chosen, again, now, actor=actor):
        return False
    run.reopen(now)
    run.begin()
    run.settle(now)
    return True


def on_other_answer(run: Run, causes: Mapping[str, Indexes], now: Now) -> bool:
    """Make tasks wait again that a generator's new answer changed, and invalidate what ran downstream of them.

    What has failed or was killed there stays so: an answer is no resume.

    Args:
        run: The run; the caller lets it begin and settle.
        causes: Disjoint sets of tasks, each with the reason to record.
        now: The moment.

    Returns:
        Whether anything changed.
    """
    chosen = _all_of(causes)
    again = np.union1d(chosen, has_run(run, downstream(run, chosen)))
    return _make_wait(run, causes, chosen, again, now, start=ANSWERED)


def has_run(run: Run, indexes: Indexes) -> Indexes:
    """Return those of these tasks that have completed, or are in flight and not being killed."""
    dying = [index for index, doom in run.doomed.items() if doom in KILLING]
    return np.setdiff1d(indexes[HAS_RUN[run.frontier.state[indexes]]], dying)


def _all_of(causes: Mapping[str, Indexes]) -> Indexes:
    return np.unique(np.concatenate([np.empty(0, np.int64), *causes.values()]))


def _make_wait(
    run: Run,
    causes: Mapping[str, Indexes],
    chosen: Indexes,
    again: Indexes,
    now: Now,
    *,
    actor: str = "",
    start: str = "",
) -> bool:
    """Make `again` wait, and record why: `causes` for those chosen, that their parents run again for the others.

    Return whether anything changed. `start` is put before what is recorded of the others.
    """
    frontier = run.frontier
    built_on = np.setdiff1d(again, chosen, assume_unique=True)
    untold = states.mask(WAITING, states.REMOVED)
    asked = {cause: indexes[~untold[frontier.state[indexes]]] for cause, indexes in causes.items()}
    built_on = built_on[~states.mask(WAITING, states.UPSTREAM_FAILED)[frontier.state[built_on]]]
    asked |= {start + cause: indexes for cause, indexes in invalidations(run, again, built_on).items()}
    if not any(map(len, asked.values())):
        return False
    _set_waiting(run, again)
    for cause, indexes in asked.items():
        run.record_move(State.WAITING, indexes, cause, actor, now)
    return True


def _set_waiting(run: Run, again: Indexes) -> None:
    """Make tasks wait with their counts reset; a task in flight waits once its attempt has ended."""
    frontier = run.frontier
    flying = states.IS_IN_FLIGHT[frontier.state[again]]
    for index in again[flying].tolist():
        doom_one(run, index, Doom.AGAIN)
    for block, chosen in frontier.by_block(again[~flying]):
        frontier.move(block, chosen, WAITING)
    if run.failures or run.crashes:
        for index in again.tolist():
            run.forget_failures(index)

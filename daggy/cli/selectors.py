"""SELECTOR, as users give it: an index, a task's name or a template, narrowed by parameters and states."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from daggy.attempt import State
from daggy.errors import UsageError
from daggy.run.ring import Indexes
from daggy.run.run import Run
from daggy.run.shapes import Filter, matches, task_state
from daggy.run.states import PUBLIC


def states_named(texts: Iterable[str]) -> tuple[State, ...]:
    """Return the states with these names; one text may hold several, with commas.

    Raises:
        UsageError: there is no such state.
    """
    try:
        return tuple(task_state(name.strip()) for text in texts for name in text.split(","))
    except ValueError as error:
        raise UsageError(str(error)) from error


def select(
    run: Run, selectors: Sequence[str], where: Mapping[str, str] | None = None, states: Iterable[str] = ()
) -> Indexes:
    """Return the tasks that any of the selectors chooses and that match, ascending. No selector: all tasks.

    Raises:
        UsageError: a selector chooses nothing that there is.
    """
    wanted = Filter(states_named(states), "", where or {})
    if not selectors:
        return np.fromiter(matches(run, wanted), np.int64)
    chosen = np.unique(np.concatenate([_chosen(run, selector, wanted.where) for selector in selectors]))
    public = PUBLIC[run.frontier.state[chosen]]
    return chosen[np.isin(public, [int(state) for state in (wanted.states or State)])]


def _chosen(run: Run, selector: str, where: Mapping[str, str]) -> Indexes:
    if selector.isascii() and selector.isdigit():
        return _by_index(run, int(selector))
    if ":" in selector.rpartition("/")[2]:
        try:
            return _by_index(run, run.plan.index(selector))
        except KeyError as error:
            raise UsageError(error.args[0]) from error
    return run.plan.select(selector, where)


def _by_index(run: Run, index: int) -> Indexes:
    if index >= run.plan.size:
        raise UsageError(f"no task {index}; the run has {run.plan.size}, counted from 0")
    if PUBLIC[run.frontier.state[index]] == 255:
        raise UsageError(f"task {index} is no longer part of the run: its generator answered anew")
    return np.array([index], np.int64)

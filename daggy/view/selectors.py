"""SELECTOR, as users give it: an index, a task's name or a template, narrowed by parameters and states."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from daggy.attempt import State
from daggy.errors import UsageError
from daggy.plan import present
from daggy.run.indexes import Indexes
from daggy.run.run import Run
from daggy.run.states import PUBLIC
from daggy.view.shapes import Filter, matches, task_state

DIGITS = 20
"""The most digits of an index: no run has so many tasks."""


def states_named(texts: Iterable[str]) -> tuple[State, ...]:
    """Return the states with these names; one text may hold several, with commas.

    Raises:
        UsageError: there is no such state.
    """
    try:
        return tuple(map(task_state, {name.strip(): None for text in texts for name in text.split(",")}))
    except ValueError as error:
        raise UsageError(str(error)) from error


def select(
    run: Run, selectors: Sequence[str], where: Mapping[str, str] | None = None, states: Iterable[str] = ()
) -> Indexes:
    """Return the tasks that any of the selectors chooses and that match, ascending. No selector: all tasks.

    Raises:
        UsageError: a selector chooses something that does not exist, or no task has these values of parameters.
    """
    wanted = Filter(states_named(states), "", where or {})
    if not selectors and not where:
        return np.fromiter(matches(run, wanted), np.int64)
    if selectors:
        found = [_chosen(run, selector, wanted.where) for selector in dict.fromkeys(selectors)]
        chosen = np.unique(np.concatenate(found))
    else:
        chosen = np.fromiter(matches(run, Filter((), "", wanted.where)), np.int64)
    if not len(chosen):
        values = " and ".join(f"{name} '{text}'" for name, text in wanted.where.items())
        raise UsageError(f"none of the tasks has {values}")
    public = PUBLIC[run.frontier.state[chosen]]
    return chosen[np.isin(public, [int(state) for state in (wanted.states or State)])]


def chosen(run: Run, asked: object) -> Indexes:
    """Return the tasks that a JSON value chooses, ascending.

    Args:
        run: The run.
        asked: A selector, a list of them, or an object with `select` (a list; none: all), `param` (texts by name) and
            `state` (a list), which narrow it.

    Raises:
        UsageError: it is none of these, or chooses something that does not exist.
    """
    if isinstance(asked, (str, int)) and not isinstance(asked, bool):
        return select(run, [str(asked)])
    if isinstance(asked, list) and asked and _are_selectors(asked):
        return select(run, [str(one) for one in asked])
    if isinstance(asked, dict) and set(asked) <= {"select", "param", "state"}:
        selectors, where, wanted = asked.get("select", []), asked.get("param", {}), asked.get("state", [])
        texts = isinstance(where, dict) and all(isinstance(value, str) for value in where.values())
        named = isinstance(wanted, list) and all(isinstance(state, str) for state in wanted)
        if isinstance(selectors, list) and _are_selectors(selectors) and texts and named:
            return select(run, [str(one) for one in selectors], where, wanted)
    raise UsageError(
        "a selector is an index, a task's name or a template, or a list of these, "
        'or {"select": [these], "param": {"NAME": "value"}, "state": ["errored"]}'
    )


def _are_selectors(listed: list[object]) -> bool:
    return all(isinstance(one, (str, int)) and not isinstance(one, bool) for one in listed)


def _chosen(run: Run, selector: str, where: Mapping[str, str]) -> Indexes:
    if selector.isascii() and selector.isdigit():
        digits = selector.lstrip("0") or "0"
        if len(digits) > DIGITS:
            raise _no_task(run, f"{digits[:DIGITS]}…")
        return _with(run, _by_index(run, int(digits)), where)
    if ":" in selector.rpartition("/")[2]:
        try:
            return _with(run, _by_index(run, run.plan.index(selector)), where)
        except KeyError as error:
            raise UsageError(error.args[0]) from error
    return run.plan.select(selector, where)


def _with(run: Run, index: Indexes, where: Mapping[str, str]) -> Indexes:
    """Return one task if it has these texts of parameters, else none."""
    has = run.plan.parameters(int(index[0])) if where else {}
    return index if all(has.get(name) == text for name, text in where.items()) else index[:0]


def _by_index(run: Run, index: int) -> Indexes:
    if index >= run.plan.size:
        raise _no_task(run, str(index))
    if PUBLIC[run.frontier.state[index]] == 255:
        raise UsageError(gone(run, index))
    return np.array([index], np.int64)


def gone(run: Run, index: int) -> str:
    """Return why an index of a run is no task of it any more, and which task it is now."""
    there = int(present(run.plan, np.array([index], np.int64))[0])
    mend = f"; it is task {there} now" if there >= 0 else ""
    return f"task {index} is no longer part of the run: its generator gave a new answer{mend}"


def _no_task(run: Run, index: str) -> UsageError:
    return UsageError(f"no task {index}; the run has {run.plan.size}, counted from 0")

"""Why a run is not completed: its tasks by state and template, equal failures together, each with reasons."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import numpy as np
from attrs import frozen

from daggy.attempt import State
from daggy.plan import Block
from daggy.run import states
from daggy.run.indexes import Indexes
from daggy.run.run import Run
from daggy.view.explain import Because, Explanation
from daggy.view.neighbours import Example, examples
from daggy.view.shapes import group_name, separate_blocks, spanned

ORDER = (State.ERRORED, State.KILLED, State.UPSTREAM_FAILED, State.RUNNING, State.QUEUED, State.WAITING)
"""States that are explained: those first that say most."""

NAMED = 3
"""Examples of each group."""


@frozen
class Group:
    """Tasks of one template in one state that ended alike; `because` explains the first of `examples`.

    `template` is empty for several without parameters.
    """

    state: str
    template: str
    tasks: int
    examples: Sequence[Example]
    because: Sequence[Because]


@frozen
class Overview:
    """Why a run is not completed."""

    state: str
    groups: Sequence[Group]


def overview(run: Run, explain: Callable[[int], Explanation]) -> Overview:
    """Return the tasks of a run that have not completed, in groups. `explain` explains one task.

    It costs by the number of templates and of errored tasks.
    """
    groups = [group for state in ORDER for group in _of_state(run, state, explain)]
    return Overview(run.state.name.lower(), groups)


def _of_state(run: Run, state: State, explain: Callable[[int], Explanation]) -> Iterator[Group]:
    table = np.asarray(int(state) == states.PUBLIC, np.bool_)
    separate = separate_blocks(run.plan)
    for block in run.plan.current:
        count = int(run.frontier.counts[block.number][table].sum())
        if not count:
            continue
        if state is State.ERRORED:
            for indexes in _alike(run, run.frontier.where(states.mask(states.ERRORED), [block])):
                yield _group(run, block, state, len(indexes), indexes[:NAMED].tolist(), explain)
            continue
        several = block.number in separate
        found = list(islice(spanned(run, block.start, block.stop, table), None if several else NAMED))
        if several:
            for index in found:
                yield _group(run, block, state, 1, [index], explain)
        else:
            yield _group(run, block, state, count, found, explain)


def _group(
    run: Run, block: Block, state: State, count: int, named: list[int], explain: Callable[[int], Explanation]
) -> Group:
    template = group_name(block) if count > 1 or not named else run.plan.template_name(named[0])
    return Group(
        state.name.lower(), template, count, examples(run, np.array(named, np.int64)), explain(named[0]).because
    )


def _alike(run: Run, errored: Indexes) -> Iterator[Indexes]:
    """Yield errored tasks whose last attempts ended alike: with one reason, code and message."""
    numbers = run.frontier.last[errored].astype(np.int64) - 1
    rows = run.ledger.rows(numbers)
    groups: dict[tuple[int, int, str], list[int]] = {}
    said = run.ledger.messages
    keys = zip(rows["reason"].tolist(), rows["code"].tolist(), numbers.tolist(), errored.tolist(), strict=True)
    for reason, code, number, index in keys:
        groups.setdefault((reason, code, said.get(number)), []).append(index)
    for indexes in groups.values():
        yield np.array(indexes, np.int64)

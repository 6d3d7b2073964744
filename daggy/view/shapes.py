"""The shapes in which a run is shown: what the API answers and the CLI prints, made from a run without changing it."""

from __future__ import annotations

import bisect
import datetime as dt
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from enum import IntEnum
from itertools import islice
from typing import Any

import attrs
import msgspec
import numpy as np
from attrs import evolve, field, frozen
from numpy.typing import NDArray

from daggy.attempt import Reason, Rows, RunState, State, Texts
from daggy.errors import UsageError
from daggy.plan import Block, Plan, examples
from daggy.run import states
from daggy.run.indexes import Indexes
from daggy.run.run import Run, public_counts
from daggy.tracker import RunRecord

FIRST = 1 << 10
"""Tasks whose states are read in the first step of filling a page; each further step has four times more."""

PIECE = 1 << 20
"""The most in one step."""

SEPARATE = 50
"""Templates without parameters of a run that have a row each."""

_Table = NDArray[np.bool_]
"""True at the codes of states that are wanted."""

Places = Mapping[int, tuple[str, str]]
"""What the column `place` of attempts means: number to (pool, host)."""


@frozen
class TemplateShape:
    """One template with the counts of its tasks.

    Templates without parameters have a row each, up to `SEPARATE` of them in a run; more are one row without a name.
    """

    name: str
    parameters: Sequence[str]
    tasks: int
    counts: Mapping[str, int]


@frozen
class RunShape:
    """A run. Times are wall clock; `templates` is None in lists, `counts` there of a run that cannot be read back.

    `held` says why nothing of it is started; empty: it goes on.
    """

    run_id: int
    name: str
    tags: Mapping[str, str]
    state: str
    version: int
    created: float
    started: float | None
    ended: float | None
    counts: Mapping[str, int] | None = None
    templates: Sequence[TemplateShape] | None = None
    held: str = ""


@frozen
class TaskShape:
    """A task; `started` and `ended` are those of its last attempt. `note`: JSON, not decoded; None: it told nothing."""

    index: int
    name: str
    template: str
    parameters: Mapping[str, str]
    state: str
    attempts: int
    started: float | None
    ended: float | None
    note: msgspec.Raw | None = None


@frozen
class AttemptShape:
    """One ended attempt of a task. `result` is JSON, not decoded; None if it left none."""

    attempt: int
    started: float | None
    ended: float | None
    reason: str
    exit_code: int | None
    signal: int | None
    message: str
    pool: str
    host: str
    cpu_seconds: float
    max_rss_bytes: int
    stdout_bytes: int
    stderr_bytes: int
    result: msgspec.Raw | None = None


@frozen
class Filter:
    """Which tasks a page shows.

    Args:
        states: Those in one of these; none: in any.
        template: Those of this template; empty: of any.
        where: Those with these texts of parameters.
        places: Those whose last attempt ended at one of these places; None: anywhere.
        there: Of those in flight the ones that are at one of these places.
    """

    states: Sequence[State] = ()
    template: str = ""
    where: Mapping[str, str] = field(factory=dict)
    places: Collection[int] | None = None
    there: Collection[int] = ()


@frozen
class Page:
    """Some of the matching tasks, ascending; `next` is the index to continue from, None at the end."""

    items: Sequence[TaskShape]
    next: int | None


PIECE_OF_PLACES = 1000
"""Tasks whose attempts are looked up at once."""

_PLAIN = frozenset({str, int, float, bool, type(None)})

_FIELDS: dict[type, tuple[str, ...]] = {}
"""Names of fields by class: used a hundred times a page."""

_TIMES = frozenset({"created", "started", "ended", "at"})


def timestamp(seconds: float) -> str:
    """Return a wall-clock time as ISO 8601 in UTC, with milliseconds and Z."""
    moment = dt.datetime.fromtimestamp(round(seconds, 3), dt.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def as_json(shape: object) -> Any:
    """Return a shape of this module, or of `daggy.view.explain`, as plain JSON data; times become texts."""
    kind = type(shape)
    if kind in _PLAIN:
        return shape
    if names := _fields(kind):
        named = ((name, getattr(shape, name)) for name in names)
        return {name: _as_time(value) if name in _TIMES else as_json(value) for name, value in named}
    if isinstance(shape, Mapping):
        return {str(key): _as_time(value) if key in _TIMES else as_json(value) for key, value in shape.items()}
    if isinstance(shape, (list, tuple)):
        return [as_json(value) for value in shape]
    return shape


def _fields(kind: type) -> tuple[str, ...]:
    """Return the names of an attrs class's fields; of any other class none."""
    names = _FIELDS.get(kind)
    if names is None:
        names = _FIELDS[kind] = tuple(attrs.fields_dict(kind)) if attrs.has(kind) else ()
    return names


def _as_time(value: object) -> Any:
    return timestamp(value) if isinstance(value, float) else as_json(value)


def describe(run: Run, held: str = "") -> RunShape:
    """Return a run with its counts. Costs by the number of templates, whatever the number of tasks.

    `held`: why nothing of it is started.
    """
    spec = run.plan.spec
    return RunShape(
        run.id, spec.name, dict(spec.tags), run.state.name.lower(), run.version, run.created, run.started_at,
        run.ended_at, run.counts(), list(template_shapes(run)), held,
    )  # fmt: skip


def listed(record: RunRecord, held: str = "") -> RunShape:
    """Return a run as a list of runs shows it: without templates; `held` as in `describe`."""
    return RunShape(
        record.run, record.name, dict(record.tags), record.state.name.lower(), record.version, record.created,
        record.started, record.ended, record.counts, held=held,
    )  # fmt: skip


def template_shapes(run: Run, blocks: Iterable[Block] | None = None) -> Iterator[TemplateShape]:
    """Yield the templates of a run, or of some of its blocks, in the order of their tasks, without removed ones."""
    separate = separate_blocks(run.plan)
    for block in run.plan.current if blocks is None else blocks:
        if block.number in separate:
            yield from _separately(run, block)
        elif (shown := _together(run, block)).tasks:
            yield shown


def separate_blocks(plan: Plan) -> set[int]:
    """Return the numbers of the explicit blocks whose templates have a row each."""
    left, found = SEPARATE, set[int]()
    for block in plan.current:
        if block.explicit and block.size <= left:
            left -= block.size
            found.add(block.number)
    return found


def _separately(run: Run, block: Block) -> Iterator[TemplateShape]:
    for index in range(block.start, block.stop):
        code = int(run.frontier.state[index])
        if code != states.REMOVED:
            counts = public_counts(np.bincount([code], minlength=states.CODES))
            yield TemplateShape(run.plan.template_name(index), (), 1, counts)


def _together(run: Run, block: Block) -> TemplateShape:
    counts = public_counts(run.frontier.counts[block.number])
    parameters = [name for name, _, _ in block.columns]
    return TemplateShape(group_name(block), parameters, sum(counts.values()), counts)


def group_name(block: Block) -> str:
    """Return the name under which the tasks of a block are counted: its template's, or only the scope of several."""
    return block.full(block.templates[0].name if len(block.templates) == 1 else "")


def task(run: Run, index: int) -> TaskShape:
    """Return one task."""
    frontier, plan = run.frontier, run.plan
    row = run.last_row(index)
    started: float | None = None
    ended: float | None = None
    code = int(frontier.state[index])
    if code in states.IN_FLIGHT:
        started = run.started.get(index)
    elif row is not None:
        started, ended = _moment(row["started"]), _moment(row["ended"])
    name, template, parameters = plan.name(index), plan.template_name(index), plan.parameters(index)
    state = State(states.PUBLIC[code]).name.lower()
    note = msgspec.Raw(run.notes[index].text) if index in run.notes else None
    return TaskShape(index, name, template, parameters, state, int(frontier.attempt[index]), started, ended, note)


def _moment(seconds: Any) -> float | None:
    return float(seconds) or None


def tasks(run: Run, matching: Filter, after: int = 0, limit: int = 100) -> Page:
    """Return the first `limit` tasks that match, from index `after` on.

    Raises:
        UsageError: there is no such template, parameter or value.
    """
    found = list(islice(matches(run, matching, after), limit + 1))
    items = [task(run, index) for index in found[:limit]]
    return Page(items, found[limit] if len(found) > limit else None)


def matches(run: Run, matching: Filter, after: int = 0) -> Iterator[int]:
    """Yield the indexes of the tasks that match, ascending, from `after` on, reading no further than needed.

    Raises:
        UsageError: there is no such template, parameter or value.
    """
    if matching.places is not None:
        yield from _placed(run, matches(run, evolve(matching, places=None), after), matching)
        return
    table = _table(matching.states)
    if matching.template:
        yield from _of_template(run, matching, table, after)
        return
    _check_where(run, matching.where)
    for block in run.plan.current:
        if block.stop > after and run.frontier.counts[block.number][table].any():
            yield from _of_block(run, block, matching, table, after)


def places_of(places: Places, node: str, there: Iterable[tuple[str, str]] = ()) -> list[int]:
    """Return the numbers of the places that are a node, named by its name or as POOL/NAME.

    Args:
        places: All places.
        node: The node.
        there: Pools and names of the nodes of this moment.

    Raises:
        UsageError: there is no such node, and nothing has ever run on one.
    """
    found = [number for number, (pool, host) in places.items() if node in (host, f"{pool}/{host}")]
    if not found and not any(node in (name, f"{pool}/{name}") for pool, name in there):
        raise UsageError(f"nothing has run on a node '{node}'; 'daggy nodes' lists those there are")
    return found


def _placed(run: Run, indexes: Iterator[int], matching: Filter) -> Iterator[int]:
    """Yield those of some tasks that are, or ended, at the wanted places."""
    wanted, there = np.array(sorted(matching.places or ()), np.uint16), set(matching.there)
    while piece := list(islice(indexes, PIECE_OF_PLACES)):
        chosen = np.array(piece, np.int64)
        last = run.frontier.last[chosen].astype(np.int64)
        is_there = np.fromiter((index in there for index in piece), np.bool_, len(piece))
        has_ended = (last > 0) & ~states.IS_IN_FLIGHT[run.frontier.state[chosen]]
        rows = run.ledger.rows(last[has_ended] - 1)
        is_there[has_ended] |= np.isin(rows["place"], wanted)
        yield from chosen[is_there].tolist()


def _of_template(run: Run, matching: Filter, table: _Table, after: int) -> Iterator[int]:
    block, _ = run.plan.template(matching.template)
    if block.explicit or matching.where:
        chosen = run.plan.select(matching.template, matching.where)
        yield from _picked(run, chosen[np.searchsorted(chosen, after) :], table)
    else:
        yield from spanned(run, max(block.start, after), block.stop, table)


def _of_block(run: Run, block: Block, matching: Filter, table: _Table, after: int) -> Iterator[int]:
    if not matching.where:
        yield from spanned(run, max(block.start, after), block.stop, table)
        return
    names = {name for name, _, _ in block.columns}
    if names.issuperset(matching.where) and _has_values(block, matching.where):
        chosen = run.plan.select(group_name(block), matching.where)
        yield from _picked(run, chosen[np.searchsorted(chosen, after) :], table)


def spanned(run: Run, start: int, stop: int, table: _Table) -> Iterator[int]:
    """Yield those tasks of a range whose state is true in a table."""
    codes = np.flatnonzero(table).tolist()
    for step in _steps(start, stop):
        column = run.frontier.state[step]
        found = np.zeros(len(column), np.bool_)
        for code in codes:
            found |= column == code  # by several times faster than looking each one up in the table
        yield from (np.flatnonzero(found) + step.start).tolist()


def _picked(run: Run, indexes: Indexes, table: _Table) -> Iterator[int]:
    """Yield those of some tasks whose state is true in a table."""
    for step in _steps(0, len(indexes)):
        piece = indexes[step]
        yield from piece[table[run.frontier.state[piece]]].tolist()


def _steps(start: int, stop: int) -> Iterator[slice]:
    """Yield consecutive ranges, small ones first: a page is mostly filled from the first."""
    size = FIRST
    while start < stop:
        yield slice(start, min(start + size, stop))
        start, size = start + size, min(4 * size, PIECE)


def _check_where(run: Run, where: Mapping[str, str]) -> None:
    """Refuse names of parameters, and texts of their values, that no task has."""
    for name, text in where.items():
        known = [values for block in run.plan.current for found, _, values in block.columns if found == name]
        if not known:
            there = sorted({found for block in run.plan.current for found, _, _ in block.columns})
            raise UsageError(f"no task has a parameter '{name}'; there are: {', '.join(there) or 'none'}")
        if all(values.find(text) < 0 for values in known):
            raise UsageError(f"no task has {name} '{text}'; there are: {examples(known[0])}")


def _has_values(block: Block, where: Mapping[str, str]) -> bool:
    return all(values.find(where[name]) >= 0 for name, _, values in block.columns if name in where)


def _table(wanted: Iterable[State]) -> _Table:
    public = [int(state) for state in (wanted or State)]
    return np.isin(states.PUBLIC, public)


def attempt(row: Rows, texts: Texts, places: Places) -> AttemptShape:
    """Return one ended attempt.

    Args:
        row: One ATTEMPT row (zero-dimensional).
        texts: What it left beside its row.
        places: What its column `place` means.
    """
    pool, host = places.get(int(row["place"]), ("", ""))
    code, reason = int(row["code"]), Reason(int(row["reason"]))
    has_code = code >= 0 and reason in (Reason.OK, Reason.EXIT, Reason.GENERATOR, Reason.RESULT)
    return AttemptShape(
        int(row["attempt"]), _moment(row["started"]), _moment(row["ended"]), reason.name.lower(),
        code if has_code else None, -code if code < 0 else None, texts.message, pool, host,
        round(float(row["cpu"]), 6), int(row["rss_kb"]) * 1024, int(row["stdout"]), int(row["stderr"]),
        msgspec.Raw(texts.result) if texts.result else None,
    )  # fmt: skip


def version_of(run: Run, number: int) -> int:
    """Return the version of the spec that a row of the run's ledger belongs to."""
    firsts = [first for first, _ in run.ledger.versions]
    return run.ledger.versions[bisect.bisect_right(firsts, number) - 1][1]


def last_attempt(run: Run, index: int, places: Places) -> AttemptShape | None:
    """Return a task's last ended attempt, without its result; None if none has."""
    number = int(run.frontier.last[index])
    if not number:
        return None
    return attempt(run.ledger.row(number - 1), Texts(run.ledger.messages.get(number - 1)), places)


def run_state(text: str) -> RunState:
    """Return the state of a run with this name; ValueError names those that there are."""
    return RunState[_known(RunState, text)]


def task_state(text: str) -> State:
    """Return the state of a task with this name; ValueError names those that there are."""
    return State[_known(State, text)]


def _known(kind: type[IntEnum], text: str) -> str:
    names = [state.name.lower() for state in kind]
    if text not in names:
        raise ValueError(f"no state named '{text}'; there are: {', '.join(names)}")
    return text.upper()

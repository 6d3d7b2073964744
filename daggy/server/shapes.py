"""The shapes of the API, as its description gives them; `daggy.view` makes their data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, cast

from attrs import frozen
from litestar import Response

from daggy.engine.status import MachineStatus

T = TypeVar("T")


def answer(kind: type[T], data: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response[T]:
    """Return plain JSON data as an answer of that shape, unchecked."""
    del kind
    return Response(cast("T", data), status_code=status, headers=dict(headers or {}))


@frozen
class TemplateCounts:
    """A template with the counts of its tasks by state.

    Up to 50 templates without parameters have a row each; more are one row, named ''.
    """

    name: str
    parameters: Sequence[str]
    tasks: int
    counts: Mapping[str, int]


@frozen
class RunShape:
    """A run. Times are ISO 8601 in UTC. Its end is shown once it is kept; counts show it a moment earlier.

    In a list `templates` is null, and `counts` of a run that this version of Daggy cannot read back. `held` says why
    nothing of it is started, with the mend; it is empty if it goes on.
    """

    run_id: int
    name: str
    tags: Mapping[str, str]
    state: str
    version: int
    created: str
    started: str | None
    ended: str | None
    counts: Mapping[str, int] | None
    templates: Sequence[TemplateCounts] | None
    held: str


@frozen
class RunPage:
    """Runs, newest first; `next` is the cursor of the following page."""

    items: Sequence[RunShape]
    next: str | None


@frozen
class RunId:
    """A run that was submitted."""

    run_id: int


@frozen
class TaskShape:
    """A task; `started` and `ended` are those of its last attempt; `note` is its latest note, an object."""

    index: int
    name: str
    template: str
    parameters: Mapping[str, str]
    state: str
    attempts: int
    started: str | None
    ended: str | None
    note: dict[str, Any] | None


@frozen
class TaskPage:
    """Tasks, ascending by index; `next` is the cursor of the following page."""

    items: Sequence[TaskShape]
    next: str | None


@frozen
class AttemptShape:
    """One ended attempt of a task. `result`: the JSON value that it left; null if none."""

    attempt: int
    started: str | None
    ended: str | None
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
    result: Any


@frozen
class ExampleShape:
    """One task of a group."""

    index: int
    name: str
    state: str


@frozen
class NeighbourShape:
    """Parents or children of a task, by template, with counts by state."""

    template: str
    tasks: int
    counts: Mapping[str, int]
    examples: Sequence[ExampleShape]


@frozen
class FunctionShape:
    """A function: `name` is "package.module:name"; `parameters` and what it `returns` are JSON Schemas."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    returns: Mapping[str, Any]


@frozen
class FunctionPage:
    """Functions; `problems`: the modules that could not be read, and why."""

    items: Sequence[FunctionShape]
    next: int | None
    problems: Sequence[str]


@frozen
class ScriptShape:
    """A script: `name` is its path; `parameters` is the JSON Schema of its arguments."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@frozen
class ScriptPage:
    """Scripts."""

    items: Sequence[ScriptShape]
    next: int | None


@frozen
class DetailsShape:
    """How a task is run, rendered; `error` says why it cannot be. `call`: that of a function, as people write one."""

    command: Sequence[str] | None
    call: str | None
    environment: Mapping[str, str | None]
    directory: str
    stdin: str | None
    timeout: float
    grace: float
    error: str | None


@frozen
class TaskDetails:
    """All about one task."""

    index: int
    name: str
    template: str
    parameters: Mapping[str, str]
    state: str
    attempts: Sequence[AttemptShape]
    started: str | None
    ended: str | None
    details: DetailsShape
    parents: Sequence[NeighbourShape]
    children: Sequence[NeighbourShape]


@frozen
class WhyShape:
    """Tasks that run again for one cause; `examples` are indexes in the new version."""

    cause: str
    tasks: int
    examples: Sequence[int]


@frozen
class TemplateDifferenceShape:
    """What becomes of the tasks of one template."""

    name: str
    kept: int
    added: int
    removed: int
    changed: int
    invalidated: int
    again: int
    why: Sequence[WhyShape]


@frozen
class DifferenceShape:
    """What an edit, a resume or a requeue does; `to_run` counts all tasks that have yet to run after it."""

    version: int
    to_run: int
    templates: Sequence[TemplateDifferenceShape]


@frozen
class ExplanationShape:
    """Why a task is where it is: reasons by `kind`, each with what belongs to that kind."""

    state: str
    because: Sequence[Mapping[str, Any]]


@frozen
class GroupShape:
    """Tasks of a template in one state that ended alike; `because` explains the first of `examples`.

    `template` is empty for several without parameters.
    """

    state: str
    template: str
    tasks: int
    examples: Sequence[ExampleShape]
    because: Sequence[Mapping[str, Any]]


@frozen
class OverviewShape:
    """Why a run is not completed: its other tasks, in groups."""

    state: str
    groups: Sequence[GroupShape]


@frozen
class VersionShape:
    """A version of a run's spec."""

    version: int
    created: str
    bytes: int


@frozen
class VersionPage:
    """The versions of a run's spec, in order."""

    items: Sequence[VersionShape]
    next: str | None


@frozen
class StatePage:
    """States of all tasks in order: [from, to, state], half open."""

    version: int
    tasks: int
    ranges: Sequence[Sequence[Any]]
    next: str | None


@frozen
class ParentShape:
    """What a template waits for."""

    task: str
    match: Sequence[str]
    on: str
    edges: int


@frozen
class GraphTemplate:
    """A template of a plan."""

    name: str
    parameters: Sequence[str]
    tasks: int
    parents: Sequence[ParentShape]


@frozen
class GraphShape:
    """A plan by template."""

    name: str
    tasks: int
    edges: int
    templates: Sequence[GraphTemplate]
    warnings: Sequence[str]


@frozen
class PoolShape:
    """A pool; `trouble` says why it can start nothing at this moment."""

    name: str
    is_default: bool
    trouble: str
    machines: Sequence[MachineStatus]


@frozen
class PoolPage:
    """All pools."""

    items: Sequence[PoolShape]
    next: str | None


@frozen
class NodeShape:
    """A node: a machine of a pool. `state` is `up`, `draining`, `silent`, `refused` or `pending`, `why` says why."""

    pool: str
    name: str
    state: str
    since: str | None
    why: str
    lost_in: float | None
    totals: Mapping[str, float]
    used: Mapping[str, float]
    labels: Sequence[str]
    until: str | None
    running: int
    waiting: int


@frozen
class NodePage:
    """All nodes, or those of a pool."""

    items: Sequence[NodeShape]
    next: str | None


@frozen
class ReadyShape:
    """Whether work goes on as it should; and whether runs can be submitted: not to a `daggy run`, which has its own."""

    ready: bool
    reason: str
    takes_runs: bool

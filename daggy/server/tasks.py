"""Routes about tasks: lists, details, output, explanations."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Annotated, Any

import numpy as np
import trio
from attrs import evolve, frozen
from litestar import Response, get
from litestar.params import Parameter
from litestar.response import Stream

from daggy.attempt import ATTEMPT, Rows, Ticket
from daggy.engine.engine import Engine
from daggy.engine.explain import explain as explained
from daggy.errors import NotFoundError, TemplateError, UnavailableError, UsageError
from daggy.kind import BUILT_IN, kind_of
from daggy.run import states
from daggy.run.run import Run
from daggy.server.description import LARGEST
from daggy.server.problems import body as problem
from daggy.server.requests import Asked, Cursor, Limit, number_of, pairs, service_of
from daggy.server.shapes import ExplanationShape, OverviewShape, TaskDetails, TaskPage, answer
from daggy.view import neighbours, shapes
from daggy.view.selectors import gone
from daggy.view.unfinished import overview
from daggy.worker.kinds import shown

CHUNK = 1 << 20
"""Bytes of output that are read at once."""

LOOK_AGAIN = 0.2
"""Seconds between two reads of a running attempt's output."""


@get("/runs/{run_id:int}/tasks", summary="List tasks")
async def list_tasks(
    request: Asked,
    run_id: int,
    task_state: Annotated[list[str] | None, Parameter(query="state")] = None,
    template: str = "",
    param: list[str] | None = None,
    name: str = "",
    node: str = "",
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response[TaskPage]:
    """List tasks of a run, ascending by index: of a template, in states, with values of parameters (`param=k:v`), that
    are at a node, or ended there (`node=NAME` or `node=POOL/NAME`).
    """
    engine = service_of(request).engine
    run = await engine.runs.find(run_id)
    try:
        wanted = [shapes.task_state(text) for text in task_state or ()]
    except ValueError as error:
        raise UsageError(str(error)) from error
    places, there = None, set[int]()
    if node:
        listed = [(one.pool, one.name) for one in engine.nodes.listed()]
        places, there = shapes.places_of(engine.place_names(), node, listed), engine.nodes.has(run, node)
    matching = shapes.Filter(wanted, template, pairs(param, "param"), places, there)
    after = number_of(cursor) or 0
    page = _named(run, name, matching, after) if name else shapes.tasks(run, matching, after, limit)
    following = None if page.next is None else str(page.next)
    return answer(TaskPage, {"items": shapes.as_json(page.items), "next": following})


def _named(run: Run, name: str, matching: shapes.Filter, after: int) -> shapes.Page:
    """Return the task of a name, if it matches and is not before `after`."""
    try:
        index = run.plan.index(name)
    except KeyError:
        index = run.plan.size
    page = shapes.tasks(run, matching, max(after, index), 1)
    return shapes.Page([task for task in page.items if task.index == index], None)


def _is_there(run: Run, index: int) -> bool:
    return 0 <= index < run.plan.size and states.PUBLIC[run.frontier.state[index]] != 255


def _require(run: Run, index: int) -> None:
    if not _is_there(run, index):
        unknown = f"run {run.id} has no task {index}; its {run.plan.size:,} tasks count from 0"
        raise NotFoundError(gone(run, index) if 0 <= index < run.plan.size else unknown)


@get("/runs/{run_id:int}/tasks/{index:int}", summary="Show a task")
async def show_task(request: Asked, run_id: int, index: int) -> Response[TaskDetails]:
    """Show a task: how it is run, what it waits for and what waits for it, all its ended attempts."""
    engine = service_of(request).engine
    run = await engine.runs.find(run_id)
    _require(run, index)
    places = engine.place_names()
    ended = await engine.archive.attempts(run, index)
    told = shapes.as_json(shapes.task(run, index))
    told["attempts"] = [shapes.as_json(shapes.attempt(row, texts, places)) for _, row, texts in ended]
    told["details"] = _details(engine, run, index)
    told["parents"] = shapes.as_json(neighbours.parents(run, index))
    told["children"] = shapes.as_json(neighbours.children(run, index))
    return answer(TaskDetails, told)


def _details(engine: Engine, run: Run, index: int) -> dict[str, Any]:
    details = run.plan.block_of(index).template(index).details
    told: dict[str, Any] = {
        "command": None,
        "call": None,
        "environment": {},
        "directory": "",
        "stdin": None,
        "timeout": details.timeout,
        "grace": details.grace,
        "error": None,
    }
    try:
        launch = engine.rendered(run, index)
    except TemplateError as error:
        return told | {"error": str(error)}
    rendered = {"command": launch.argv, "environment": launch.environment, "directory": launch.directory}
    if details.kind in BUILT_IN and kind_of(details.kind).result:
        return told | rendered | {"call": shown(launch.stdin or "")}  # what else it reads is not the user's
    return told | rendered | {"stdin": launch.stdin}


@get("/runs/{run_id:int}/tasks/{index:int}/explain", summary="Why a task is where it is")
async def explain(request: Asked, run_id: int, index: int) -> Response[ExplanationShape]:
    """Say why a task does not run, or why it ran again."""
    engine = service_of(request).engine
    run = await engine.runs.find(run_id)
    _require(run, index)
    places = engine.place_names()
    attempts = [shapes.attempt(row, texts, places) for _, row, texts in await engine.archive.attempts(run, index)]
    return answer(ExplanationShape, shapes.as_json(explained(engine, run, index, attempts)))


@get("/runs/{run_id:int}/explain", summary="Why a run is not completed")
async def explain_run(request: Asked, run_id: int) -> Response[OverviewShape]:
    """Explain the tasks that have not completed, in groups by state and template; equal failures are one group.

    `because` explains the first of a group's examples.
    """
    engine = service_of(request).engine
    run = await engine.runs.find(run_id)
    shown = evolve(overview(run, partial(explained, engine, run)), state=engine.commits.shown(run)[0].name.lower())
    return answer(OverviewShape, shapes.as_json(shown))


@frozen(eq=False)
class Output:
    """One stream of one attempt; `ticket` is that of a running one."""

    engine: Engine
    run: Run
    index: int
    version: int
    row: Rows
    stream: str
    ticket: Ticket | None = None

    @property
    def size(self) -> int | None:
        """Bytes that it came to; None while it is written to."""
        return None if self.ticket else int(self.row[self.stream])

    @property
    def is_over(self) -> bool:
        """Whether nothing more is written to it."""
        return self.ticket is None or self.run.index_of(self.ticket) < 0

    async def read(self, offset: int, limit: int) -> bytes:
        """Return bytes from an offset.

        Raises:
            NotFoundError: they are gone, or not what was written.
        """
        try:
            return await self.engine.runs.read_log(self.run.id, self.version, self.row, self.stream, offset, limit)
        except FileNotFoundError as error:
            if self.ticket is not None:
                return b""  # it has only just started, or has just ended
            raise NotFoundError(f"what it wrote is gone: {error}") from error
        except (OSError, ValueError) as error:
            raise NotFoundError(f"what it wrote cannot be read: {error}") from error

    async def ended(self) -> Output:
        """Return the same once the attempt has ended: what it wrote is elsewhere then."""
        if self.ticket is None:
            return self
        for version, row, _ in reversed(await self.engine.archive.attempts(self.run, self.index)):
            if int(row["attempt"]) == self.ticket.attempt:
                return evolve(self, version=version, row=row, ticket=None)
        return self


@get(
    "/runs/{run_id:int}/tasks/{index:int}/logs/{stream:str}",
    summary="What a task wrote",
    media_type="application/octet-stream",
)
async def logs(
    request: Asked,
    run_id: int,
    index: int,
    stream: str,
    attempt: Annotated[int | None, Parameter(ge=1, le=LARGEST, description="Without it: the last one.")] = None,
    offset: Annotated[int, Parameter(ge=0, le=LARGEST)] = 0,
    limit: Annotated[int | None, Parameter(ge=0, le=LARGEST, description="Bytes; without it: all there is.")] = None,
    follow: bool = False,
) -> Response[bytes]:
    """Return the bytes that an attempt wrote to `stdout` or `stderr`, while it runs and after.

    With `follow` the answer ends when the attempt does. `Content-Range` says which of how many bytes these are.
    """
    engine = service_of(request).engine
    if stream not in ("stdout", "stderr"):
        raise NotFoundError(f"no stream '{stream}'; there are: stdout, stderr")
    run = await engine.runs.find(run_id)
    _require(run, index)
    output = await _output(engine, run, index, stream, attempt)
    size = output.size
    if size is not None and offset > size:
        message = f"offset {offset} is beyond the {size} bytes that there are"
        return Response(problem(416, message), status_code=416, media_type="application/json")  # type: ignore[arg-type]
    first = await output.read(offset, min(CHUNK, CHUNK if limit is None else limit))
    end = "*" if size is None else str(size)
    headers = {"Content-Range": f"bytes {offset}-{offset + max(0, len(first) - 1)}/{end}"}
    left = None if limit is None else limit - len(first)
    pieces = _pieces(output, first, offset + len(first), left, follow=follow)
    return Stream(pieces, media_type="application/octet-stream", headers=headers)  # type: ignore[return-value]


async def _output(engine: Engine, run: Run, index: int, stream: str, attempt: int | None) -> Output:
    """Return one attempt's stream: of the last one, or of the one asked for.

    Raises:
        NotFoundError: there is no such attempt.
    """
    code, last = int(run.frontier.state[index]), int(run.frontier.attempt[index])
    if code == states.RUNNING and attempt in (None, last):
        ticket = run.ticket(index)
        row = np.zeros(1, ATTEMPT)
        row["index"], row["attempt"] = ticket.index, ticket.attempt
        return Output(engine, run, index, ticket.version, row[0], stream, ticket)
    ended = await engine.archive.attempts(run, index)
    for version, row, _ in reversed(ended):
        if attempt in (None, int(row["attempt"])):
            return Output(engine, run, index, version, row, stream)
    raise NotFoundError(_no_attempt(run, index, attempt, ended))


def _no_attempt(run: Run, index: int, attempt: int | None, ended: Sequence[Any]) -> str:
    name = run.plan.name(index)
    if attempt is None or not ended:
        return f"{name} has not run yet; its state is {shapes.task(run, index).state}"
    there = ", ".join(str(int(row["attempt"])) for _, row, _ in ended[-10:])
    return f"{name} has no attempt {attempt} that ended; there are: {there}"


async def _pieces(output: Output, first: bytes, offset: int, left: int | None, *, follow: bool) -> AsyncIterator[bytes]:
    """Yield what there is, and with `follow` what comes until the attempt has ended."""
    piece = first
    while True:
        if piece:
            yield piece
        if left is not None and left <= 0:
            return
        was_over = output.is_over
        try:
            if was_over:
                output = await output.ended()
            piece = await output.read(offset, CHUNK if left is None else min(CHUNK, left))
        except NotFoundError:
            return  # the answer was under way already
        except UnavailableError:
            if not follow:
                raise
            piece = b""  # its launcher may go on
        offset += len(piece)
        left = None if left is None else left - len(piece)
        if not piece:
            if was_over or not follow:
                return
            await trio.sleep(LOOK_AGAIN)


HANDLERS = [list_tasks, show_task, explain, explain_run, logs]
"""What the application serves."""

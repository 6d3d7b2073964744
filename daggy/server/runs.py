"""Routes about runs: submitted, listed, shown, edited, killed, removed."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from typing import Annotated, Any

import msgspec
import numpy as np
import trio
from attrs import evolve
from litestar import Response, delete, get, patch, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Parameter

from daggy.attempt import State
from daggy.engine.engine import Engine
from daggy.engine.intake.reading import Accepted
from daggy.errors import ConflictError, NotFoundError, PreconditionError, UsageError
from daggy.plan import Plan, plan_as_json
from daggy.run import states
from daggy.run.indexes import Indexes
from daggy.run.run import Run
from daggy.server.bodies import members, members_of, received
from daggy.server.requests import SMALL_BODY, Asked, Cursor, Limit, actor_of, moment, number_of, pairs, service_of
from daggy.server.service import Service
from daggy.server.shapes import (
    DifferenceShape,
    GraphShape,
    RunId,
    RunPage,
    RunShape,
    StatePage,
    VersionPage,
    answer,
)
from daggy.tracker import RunFilter
from daggy.view import shapes
from daggy.view.preview import DifferenceShape as Difference, preview, preview_again
from daggy.view.selectors import chosen

MOST_RANGES = 10_000
"""Ranges of states on one page."""

GONE = 255
"""Public state of removed tasks."""

PIECE = 1 << 20
"""Tasks whose states are looked at in one step."""

PLANNED = ResponseSpec(GraphShape, generate_examples=False, description="its plan: nothing was submitted")


def etag(run: Run) -> str:
    """Return a tag that changes with the run's spec and with every command on its tasks."""
    answered = len(run.plan.blocks) + len(run.plan.replaced)
    return f'"{run.version}-{len(run.moves) + answered}"'


def described(engine: Engine, run: Run) -> Response[RunShape]:
    """Return a run as the API shows it."""
    state, ended = engine.commits.shown(run)
    shape = evolve(shapes.describe(run, engine.runs.held(run.id)), state=state.name.lower(), ended=ended)
    return answer(RunShape, shapes.as_json(shape), headers={"ETag": etag(run)})


@post("/runs", status_code=201, summary="Submit a run", responses={200: PLANNED})
async def submit(
    request: Asked,
    dry_run: bool = False,
    idempotency_key: Annotated[str, Parameter(header="Idempotency-Key", required=False, max_length=200)] = "",
) -> Response[RunId]:
    """Take a run spec, and answer with its id once it is kept. With `dry_run` it is only planned.

    The body is the spec; its `directory` is required. A second submission under the same `Idempotency-Key` within a
    day answers as the first one; with another body it is refused with 409.
    """
    service = service_of(request)
    limits, place = service.configuration.limits, service.engine.directory.path
    service.refuse_if_held_up()
    if not dry_run:
        service.refuse_if_one_run()
    async with received(request, place, limits.spec_bytes) as body, _alone(service, idempotency_key):
        if idempotency_key and not dry_run and (known := await service.engine.commands.keyed(idempotency_key)):
            if known[1] != body.digest:
                raise ConflictError(
                    f"Idempotency-Key '{idempotency_key}' was used for run {known[0]} with another body; use a new key"
                )
            return _submitted(known[0])
        accepted = await service.intake.read(body.content)
        if dry_run:
            service.engine.commands.check(accepted.plan)
            return answer(RunId, plan_as_json(accepted.plan), 200)
        run_id = await service.engine.commands.submit(
            accepted.spec,
            accepted.raw,
            made=accepted.plan,
            key=idempotency_key,
            body=body.digest if idempotency_key else "",
        )
    return _submitted(run_id)


def _submitted(run_id: int) -> Response[RunId]:
    return answer(RunId, {"run_id": run_id}, 201, {"Location": f"/api/v1/runs/{run_id}"})


def _alone(service: Service, key: str) -> AbstractAsyncContextManager[object]:
    """Let one submission at a time in under a key."""
    if not key:
        return nullcontext()
    if len(service.submitting) > 1000:
        service.submitting = {key: lock for key, lock in service.submitting.items() if lock.locked()}
    return service.submitting.setdefault(key, trio.Lock())


@get("/runs", summary="List runs")
async def list_runs(
    request: Asked,
    tag: list[str] | None = None,
    run_state: Annotated[list[str] | None, Parameter(query="state")] = None,
    name: str = "",
    since: str | None = None,
    until: str | None = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response[RunPage]:
    """List runs, newest first: with all these tags (`tag=key:value`), in one of these states, of this name."""
    try:
        wanted = [shapes.run_state(text) for text in run_state or ()]
    except ValueError as error:
        raise UsageError(str(error)) from error
    matching = RunFilter(
        pairs(tag, "tag"), wanted, name, moment(since, "since"), moment(until, "until"), number_of(cursor), limit + 1
    )
    engine = service_of(request).engine
    found = await engine.runs.records(matching)
    items = [shapes.as_json(shapes.listed(record, engine.runs.held(record.run))) for record in found[:limit]]
    following = str(found[limit - 1].run) if len(found) > limit else None
    return answer(RunPage, {"items": items, "next": following})


@get("/runs/{run_id:int}", summary="Show a run")
async def show(request: Asked, run_id: int) -> Response[RunShape]:
    """Show a run with its counts by state and by template. `ETag` names its version, for `If-Match`."""
    engine = service_of(request).engine
    return described(engine, await engine.runs.find(run_id))


@get("/runs/{run_id:int}/spec", summary="The spec of a run", media_type="application/json")
async def spec(request: Asked, run_id: int, version: int | None = None) -> Response[bytes]:
    """Return a version of a run's spec as it is kept; without `version` the present one."""
    versions = await service_of(request).engine.archive.versions(run_id)
    for one in reversed(versions):
        if version in (None, one.version):
            return Response(one.spec, media_type="application/json")
    raise NotFoundError(f"run {run_id} has no version {version}; the last is {versions[-1].version}")


@get("/runs/{run_id:int}/versions", summary="The versions of a run's spec")
async def versions(request: Asked, run_id: int) -> Response[VersionPage]:
    """List the versions of a run's spec, in order."""
    found = await service_of(request).engine.archive.versions(run_id)
    items = [{"version": one.version, "created": shapes.timestamp(one.at), "bytes": len(one.spec)} for one in found]
    return answer(VersionPage, {"items": items, "next": None})


@get("/runs/{run_id:int}/graph", summary="The graph of a run")
async def graph(request: Asked, run_id: int) -> Response[GraphShape]:
    """Return the plan of a run by template: counts and edges."""
    run = await service_of(request).engine.runs.find(run_id)
    return answer(GraphShape, plan_as_json(run.plan))


@get("/runs/{run_id:int}/state", summary="The states of all tasks")
async def state_of_tasks(
    request: Asked, run_id: int, limit: Annotated[int, Parameter(ge=1, le=MOST_RANGES)] = 1000, cursor: Cursor = None
) -> Response[StatePage]:
    """Return the states of tasks in order of their indexes, as half-open ranges; removed tasks are in none."""
    run = await service_of(request).engine.runs.find(run_id)
    start = min(number_of(cursor) or 0, run.plan.size)
    stop = min(run.plan.size, start + PIECE)
    column = states.PUBLIC[run.frontier.state[start:stop]]
    cuts = [0, *(np.flatnonzero(column[1:] != column[:-1]) + 1)[:limit].tolist()]
    if len(cuts) > limit:
        stop = start + cuts.pop()
    elif stop == start:
        cuts = []
    ranges = [
        [start + first, start + last, State(column[first]).name.lower()]
        for first, last in itertools.pairwise([*cuts, stop - start])
        if column[first] != GONE
    ]
    following = str(stop) if stop < run.plan.size else None
    told = {"version": run.version, "tasks": run.plan.size, "ranges": ranges, "next": following}
    return answer(StatePage, told)


@patch("/runs/{run_id:int}", summary="Edit, resume or requeue a run")
async def change(
    request: Asked,
    run_id: int,
    dry_run: bool = False,
    if_match: Annotated[str, Parameter(header="If-Match", required=False)] = "",
) -> Response[RunShape | DifferenceShape]:
    """Replace a run's spec, run tasks again, put what failed back in the queue. An empty body resumes.

    With `dry_run` the answer is the difference that it would make. `If-Match`: only if it has not changed since.
    """
    service = service_of(request)
    engine, limits, place = service.engine, service.configuration.limits, service.engine.directory.path
    service.refuse_if_held_up()
    if not dry_run:
        service.refuse_if_one_run()
    run = await engine.runs.find(run_id)
    async with received(request, place, limits.spec_bytes + SMALL_BODY) as body:
        rest, accepted = await service.intake.read_member(body.content, "spec")
    asked = members_of(rest, {"spec": msgspec.Raw, "resume": bool, "requeue": object, "keep_downstream": bool})
    if if_match and etag(run) not in [one.strip() for one in if_match.split(",")] and if_match != "*":
        raise PreconditionError(f"run {run_id} is at {etag(run)} now; look at it again, then repeat the change")
    keep = bool(asked.get("keep_downstream", False))
    if dry_run:
        told = await _previewed(service, run_id, accepted, asked)
        return answer(DifferenceShape, shapes.as_json(told))
    actor = actor_of(request)
    if accepted is not None:
        await engine.commands.edit(
            run_id, accepted.spec, accepted.raw, made=accepted.plan, keep_downstream=keep, actor=actor
        )
        run = await engine.runs.find(run_id)
        if "requeue" in asked:
            await engine.commands.requeue(run_id, chosen(run, asked["requeue"]), actor, keep_downstream=keep)
    elif "requeue" in asked:
        await engine.commands.requeue(run_id, chosen(run, asked["requeue"]), actor, keep_downstream=keep)
    if asked.get("resume", not asked and accepted is None):
        await engine.commands.resume(run_id, actor)
    return described(engine, await engine.runs.find(run_id))  # type: ignore[return-value]  # one of the two


async def _previewed(service: Service, run_id: int, accepted: Accepted | None, asked: Mapping[str, Any]) -> Difference:
    """Try a change on a copy of the run."""
    copy, now = await service.engine.archive.copy(run_id), service.engine.now()
    keep = bool(asked.get("keep_downstream", False))
    if accepted is None:
        selected = chosen(copy, asked["requeue"]) if "requeue" in asked else None
        return await trio.to_thread.run_sync(partial(preview_again, copy, selected, now, keep_downstream=keep))
    service.engine.commands.check(accepted.plan)
    rerun = partial(_chosen_of, asked["requeue"]) if "requeue" in asked else None
    return await trio.to_thread.run_sync(
        partial(preview, copy, accepted.spec, now, keep_downstream=keep, rerun=rerun, made=accepted.plan)
    )


def _chosen_of(asked: object, plan: Plan) -> Indexes:
    """Return the tasks of a new plan that a selector chooses."""
    return chosen(Run(0, plan, created=0.0, epoch=0), asked)


@post("/runs/{run_id:int}/kill", status_code=200, summary="Kill a run, or tasks of it")
async def kill(request: Asked, run_id: int) -> Response[RunShape]:
    """Kill a run, or with `selector` some of its tasks: queued work first, then what runs."""
    service = service_of(request)
    asked = await members(request, service.engine.directory.path, SMALL_BODY, {"selector": object})
    run = await service.engine.runs.find(run_id)
    selected = chosen(run, asked["selector"]) if asked.get("selector") is not None else None
    await service.engine.commands.kill(run_id, selected, actor_of(request))
    return described(service.engine, run)


@delete("/runs/{run_id:int}", status_code=200, summary="Kill or forget a run")
async def remove(request: Asked, run_id: int, forget: bool = False) -> Response[RunShape]:
    """Kill a run: 202, or 200 if it had ended. With `forget` a run that has ended is removed with all it wrote."""
    service = service_of(request)
    engine = service.engine
    run = await engine.runs.find(run_id)
    if forget:
        service.refuse_if_one_run()
        told = described(engine, run)
        await engine.commands.forget(run_id)
        return told
    status = 200 if run.is_ended else 202
    await engine.commands.kill(run_id, None, actor_of(request))
    told = described(engine, run)
    told.status_code = status
    return told


HANDLERS = [submit, list_runs, show, spec, versions, graph, state_of_tasks, change, kill, remove]

"""News of runs as server-sent events: numbered, kept, resumable; the present state comes first."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from functools import lru_cache
from typing import Annotated

import trio
from litestar import Response, get
from litestar.params import Parameter
from litestar.response import Stream

from daggy.engine.engine import Engine
from daggy.engine.news import NO_RUN, Follower, item_body
from daggy.engine.runs import UNENDED
from daggy.errors import UnavailableError, UsageError
from daggy.server.requests import Asked, service_of
from daggy.tracker import NewsItem

KEEP_ALIVE = 15.0
"""Seconds between two keep-alive comments of a silent stream."""

PAGE = 1000
"""Items that are read at once."""

MOST = 500
"""Streams at once."""

LastEventId = Annotated[str, Parameter(header="Last-Event-ID", required=False)]
After = Annotated[int | None, Parameter(ge=0, lt=10**18, description="As Last-Event-ID.")]


@get("/events", summary="What happens to all runs", media_type="text/event-stream")
async def all_events(request: Asked, last_event_id: LastEventId = "", after: After = None) -> Response[bytes]:
    """Follow all runs, as server-sent events.

    `event: run` has `run_id, at, state, version, counts` and `tasks`: by state the half-open ranges of indexes that
    went to it, null where the tasks are to be asked for anew. `event: reset`: what came meanwhile is no longer known,
    ask anew. `event: forgotten`: the run is no more. `event: node`: a machine of a pool came, went or is drained, with
    `pool, node, at, state, why`. With `Last-Event-ID` (or `after`) it goes on behind that event;
    without, it begins with the present state of all runs that have not ended.
    """
    return _stream(service_of(request).engine, None, _after(last_event_id, after))


@get("/runs/{run_id:int}/events", summary="What happens to a run", media_type="text/event-stream")
async def run_events(
    request: Asked, run_id: int, last_event_id: LastEventId = "", after: After = None
) -> Response[bytes]:
    """Follow one run, as server-sent events; see `/events`. Without `Last-Event-ID` its present state comes first."""
    engine = service_of(request).engine
    await engine.runs.find(run_id)
    return _stream(engine, run_id, _after(last_event_id, after))


def _after(header: str, query: int | None) -> int | None:
    if not header:
        return query
    if not (header.isascii() and header.isdigit() and len(header) < 19):
        raise UsageError(f"Last-Event-ID: '{header}' is not the id of an event")
    return int(header)


def _stream(engine: Engine, run: int | None, after: int | None) -> Response[bytes]:
    if engine.news.followers >= MOST:
        raise UnavailableError(f"{MOST} streams of events are open; close one of them")
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    told = _told(engine, run, after)
    return Stream(told, media_type="text/event-stream", headers=headers)  # type: ignore[return-value]


async def _told(engine: Engine, run: int | None, after: int | None) -> AsyncIterator[bytes]:
    """Yield the stream: what was missed, or else the present; then what comes."""
    news = engine.news
    with news.follow(run) as follower:
        last = news.told if after is None else after
        if after is None:
            for body in await _present(engine, run):
                yield _event("run", body, last)
            yield b": now\n\n"
        else:
            while (missed := await news.since(last, run, PAGE)) is not None:
                for item in missed:
                    yield told_as(item)
                    last = item.number
                if len(missed) < PAGE:
                    break
            else:
                last = news.told
                yield _event("reset", b"{}", last)
        async with aclosing(_coming(follower, last)) as coming:
            async for piece in coming:
                yield piece


async def _present(engine: Engine, run: int | None) -> list[bytes]:
    """Return the present state of one run, or of all that have not ended."""
    at = time.time()
    if run is None:
        shown = ((one, engine.commits.shown(one)[0]) for one in engine.runs.values())
        return [item_body(one, state, at, None) for one, state in shown if state in UNENDED]
    one = await engine.runs.find(run)
    return [item_body(one, engine.commits.shown(one)[0], at, None)]


async def _coming(follower: Follower, last: int) -> AsyncGenerator[bytes, None]:
    """Yield items above a number; a follower that is too slow gets `reset`, and the stream ends."""
    while True:
        item: NewsItem | None = None
        is_silent = True
        with trio.move_on_after(KEEP_ALIVE):
            try:
                item = await anext(follower)
            except StopAsyncIteration:
                return
            is_silent = False
        if is_silent:
            yield b": still there\n\n"
        elif item is None:
            yield _event("reset", b"{}", None)
        elif item.number > last:
            last = item.number
            yield told_as(item)


@lru_cache(maxsize=64)
def told_as(item: NewsItem) -> bytes:
    """Return an item as an event; all followers share the same bytes."""
    if item.run == NO_RUN:
        kind = "node"
    else:
        kind = "forgotten" if b'"forgotten"' in item.body and "forgotten" in json.loads(item.body) else "run"
    return _event(kind, item.body, item.number)


def _event(kind: str, body: bytes, number: int | None) -> bytes:
    named = b"" if number is None else b"id: %d\n" % number
    return b"%sevent: %s\ndata: %s\n\n" % (named, kind.encode(), body)


HANDLERS = [all_events, run_events]
"""What the application serves."""

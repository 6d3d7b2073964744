"""News of runs for followers: numbered, kept, at most one short item a run and moment."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
import trio
from attrs import define, field

from daggy.attempt import RunState, State
from daggy.engine.reader import Reader
from daggy.run.indexes import Indexes
from daggy.run.run import Run, as_ranges
from daggy.tracker import Attempts, Entry, Moved, NewsItem, Noted, Submitted
from daggy.view.shapes import timestamp

PAUSE = 0.1
"""Seconds between two items about the same run; what happens in between becomes one item."""

NO_RUN = 0
"""In place of a run's id: an item about something else."""

MOST_RANGES = 200
"""An item with more ranges of tasks has none: followers look again."""

BACKLOG = 1000
"""Items that a follower may be behind before it must look again."""


@define(eq=False)
class Follower:
    """A follower of one run, or of all (`run` None).

    Iterate over it: items as they are kept, until the engine ends; or at last None if it was too slow and has to look
    again.
    """

    run: int | None
    send: trio.MemorySendChannel[NewsItem]
    receive: trio.MemoryReceiveChannel[NewsItem]
    _is_over: bool = False

    def end(self) -> None:
        """Pass nothing more on: what was passed on before is still there to be taken."""
        self._is_over = True
        self.send.close()

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> NewsItem | None:
        """Return the next item."""
        try:
            return await self.receive.receive()
        except trio.EndOfChannel:
            if self._is_over:
                raise StopAsyncIteration from None
            self._is_over = True
            return None


@define(eq=False)
class _Pending:
    """What happened to a run since its last item."""

    run: Run
    entries: list[Entry] = field(factory=list)


@define(eq=False)
class News:
    """Collects what happened, has it kept, and passes it to followers.

    Args:
        last: Number of the last item.
        give: Has entries kept; returns a number to wait for.
        kept: Returns when that number is kept.
        reader: Of the tracker.
        clock: The wall clock.
        told: Number of the last item that is kept, and was told.
    """

    last: int
    give: Callable[[Sequence[Entry]], int]
    kept: Callable[[int], Awaitable[None]]
    reader: Reader
    clock: Callable[[], float]
    told: int = field(init=False)
    _pending: dict[int, _Pending] = field(factory=dict)
    _forgotten: list[int] = field(factory=list)
    _nodes: dict[tuple[str, str], tuple[str, str]] = field(factory=dict)
    _bell: trio.Event = field(factory=trio.Event)
    _given: deque[tuple[int, Sequence[NewsItem]]] = field(factory=deque)
    _kept_bell: trio.Event = field(factory=trio.Event)
    _followers: dict[int, Follower] = field(factory=dict)
    _is_over: bool = False

    def __attrs_post_init__(self) -> None:
        """Continue from the tracker's last number."""
        self.told = self.last

    def note(self, run: Run, entries: Sequence[Entry] = ()) -> None:
        """Say that something happened to a run, and what of it is being kept.

        The end of a run is to be told with what ends it (`flush`): a crash in between would leave it untold.
        """
        pending = self._pending.get(run.id)
        if pending is None or pending.run is not run:
            pending = self._pending[run.id] = _Pending(run)
            self._bell.set()
        pending.entries.extend(entries)

    def note_forgotten(self, run_id: int) -> None:
        """Note that a run was removed."""
        self._pending.pop(run_id, None)
        self._forgotten.append(run_id)
        self._bell.set()

    def note_node(self, pool: str, name: str, state: str, why: str) -> None:
        """Note how it stands with a node."""
        self._nodes[pool, name] = state, why
        self._bell.set()

    def flush(self, run: Run) -> Sequence[NewsItem]:
        """Take what is noted of a run as an item of this moment: to be given with its entries, and then `given`."""
        return [*self._of(self._pending.pop(run.id, None))]

    def given(self, number: int, items: Sequence[NewsItem]) -> None:
        """Pass these on once the batch of this number is kept."""
        if items:
            self._given.append((number, items))
            self._kept_bell.set()

    async def run(self) -> None:
        """Pass on what is noted, a moment after the first of it, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tell_kept)
            while True:
                await self._bell.wait()
                await trio.sleep(PAUSE)
                self._bell = trio.Event()
                items = list(self._take())
                self.given(self.give(items), items)

    async def _tell_kept(self) -> None:
        while True:
            await self._kept_bell.wait()
            self._kept_bell = trio.Event()
            while self._given:
                number, items = self._given.popleft()
                await self.kept(number)
                for item in items:
                    self.told = item.number
                    self._tell(item)

    def _take(self) -> Iterator[NewsItem]:
        pending, self._pending = self._pending, {}
        forgotten, self._forgotten = self._forgotten, []
        for one in pending.values():
            yield from self._of(one)
        nodes, self._nodes = self._nodes, {}
        at = self.clock()
        for run_id in forgotten:
            yield self._item(run_id, at, _dumped({"run_id": run_id, "at": timestamp(at), "forgotten": True}))
        for (pool, name), (state, why) in nodes.items():
            body = {"node": name, "pool": pool, "at": timestamp(at), "state": state, "why": why}
            yield self._item(NO_RUN, at, _dumped(body))

    def _of(self, pending: _Pending | None) -> Iterator[NewsItem]:
        if pending is not None:
            run, at = pending.run, self.clock()
            tasks, noted = _changes(pending.entries, run.version), _noted(pending.entries, run.version)
            yield self._item(run.id, at, item_body(run, run.state, at, tasks, noted))

    def _item(self, run_id: int, at: float, body: bytes) -> NewsItem:
        self.last += 1
        return NewsItem(self.last, run_id, at, body)

    def _tell(self, item: NewsItem) -> None:
        for follower in [*self._followers.values()]:
            if follower.run in (None, item.run):
                try:
                    follower.send.send_nowait(item)
                except trio.WouldBlock:
                    follower.send.close()
                    self._followers.pop(id(follower), None)

    @contextmanager
    def follow(self, run: int | None = None) -> Iterator[Follower]:
        """Follow one run, or all, from here on."""
        follower = Follower(run, *trio.open_memory_channel[NewsItem](BACKLOG))
        if self._is_over:
            follower.end()
        self._followers[id(follower)] = follower
        try:
            yield follower
        finally:
            self._followers.pop(id(follower), None)
            follower.send.close()
            follower.receive.close()

    def end(self) -> None:
        """Tell followers that nothing more comes: the engine has ended."""
        self._is_over = True
        for follower in self._followers.values():
            follower.end()

    @property
    def followers(self) -> int:
        """Return how many follow."""
        return len(self._followers)

    async def since(self, after: int, run: int | None = None, limit: int = BACKLOG) -> Sequence[NewsItem] | None:
        """Return the first items above a number; None if some of those are no longer kept, or none was ever given."""
        if after > self.last:
            return None
        return await self.reader.read(lambda tracker: tracker.told(after, limit, run))


def item_body(
    run: Run,
    state: RunState,
    at: float,
    tasks: dict[str, list[list[int]]] | None,
    noted: list[list[int]] | None = None,
) -> bytes:
    """Return the body of an item about a run as it is at this moment; `noted`: ranges of tasks whose notes changed."""
    return _dumped(
        {
            "run_id": run.id,
            "at": timestamp(at),
            "state": state.name.lower(),
            "version": run.version,
            "counts": run.counts(),
            "tasks": tasks,
        }
        | ({"noted": noted} if noted else {})
    )


def _dumped(body: dict[str, Any]) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()


def _changes(entries: Sequence[Entry], version: int) -> dict[str, list[list[int]]] | None:
    """Return by state which tasks went there, by the last move of each; None where that would be too long."""
    indexes: list[Indexes] = []
    states: list[Indexes] = []
    for entry in entries:
        if isinstance(entry, Submitted):
            return None
        if getattr(entry, "version", version) != version:
            continue  # of what an edit dropped
        if isinstance(entry, Attempts):
            indexes.append(entry.rows["index"].astype(np.int64))
            states.append(entry.rows["outcome"].astype(np.int64))
        elif isinstance(entry, Moved):
            for start, stop in entry.ranges.tolist():
                if stop - start > MOST_RANGES * 1000:
                    return None
                indexes.append(np.arange(start, stop, dtype=np.int64))
                states.append(np.full(stop - start, int(entry.state), np.int64))
    if not indexes:
        return {}
    return _ranges(np.concatenate(indexes), np.concatenate(states))


def _noted(entries: Sequence[Entry], version: int) -> list[list[int]]:
    """Return the ranges of tasks that told something new of themselves; of too many the first."""
    found = {entry.index for entry in entries if isinstance(entry, Noted) and entry.version == version}
    ranges: list[list[int]] = as_ranges(np.array(sorted(found), np.int64))[:MOST_RANGES].tolist() if found else []
    return ranges


def _ranges(indexes: Indexes, states: Indexes) -> dict[str, list[list[int]]] | None:
    changed: dict[str, list[list[int]]] = {}
    order = np.argsort(indexes, kind="stable")
    indexes, states = indexes[order], states[order]
    is_last = np.append(indexes[1:] != indexes[:-1], True)
    indexes, states = indexes[is_last], states[is_last]
    for state in State:
        chosen = indexes[states == state]
        if len(chosen):
            ranges = as_ranges(chosen)
            if len(ranges) > MOST_RANGES:
                return None
            changed[state.name.lower()] = ranges.tolist()
    return changed

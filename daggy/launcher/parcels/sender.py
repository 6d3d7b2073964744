"""How launches become parcels: they gather for a moment, those that are alike go out together."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import trio

from daggy.executor import Launch, Launches
from daggy.launcher.frames import Key
from daggy.launcher.host import Terms
from daggy.launcher.numbers import reserve
from daggy.launcher.parcels.active import ActiveParcels
from daggy.launcher.parcels.folder import Item, Parcel
from daggy.launcher.parcels.place import Order
from daggy.launcher.queues import Backoff, PollSchedule, QueueError

GATHER = 0.5
"""Seconds for which launches gather."""


class Sender:
    """Sends launches as parcels. `run` must run while it is used."""

    def __init__(self, active: ActiveParcels, polls: PollSchedule, terms: Terms, home: Path) -> None:
        """Begin with nothing to send.

        Args:
            active: The pool's parcels, to which new ones are added.
            polls: When the place is polled: more often after a submission.
            terms: What tasks have in common.
            home: The directory for parcels, which the place sees.
        """
        self._active, self._polls, self._terms, self._home = active, polls, terms, home
        self._waiting: dict[Key, tuple[Launches, Launch]] = {}
        self._widths: dict[int, int] = {}  # by lane
        self._out: Counter[int] = Counter()  # by lane, how many tasks are there
        self._lanes: dict[Key, int] = {}  # of those
        active.freed = self._on_freed
        self._bell = trio.Event()
        active.pause = lambda: self._bell.set()  # noqa: PLW0108 - there is another one each time
        self._backoff = Backoff()

    def __contains__(self, key: Key) -> bool:
        """Return whether a task waits to be sent."""
        return key in self._waiting

    @property
    def is_paused(self) -> bool:
        """Whether nothing is sent at this moment: the place has refused something."""
        return trio.current_time() < self._until

    @property
    def _until(self) -> float:
        return max(self._backoff.until, self._active.starts.until)

    def put(self, batch: Launches) -> None:
        """Send these in a moment."""
        self._widths[batch.lane] = batch.width
        for one in batch.launches:
            self._waiting[batch.run, batch.version, one.index, batch.epoch, one.attempt] = batch, one
        self._bell.set()

    def _on_freed(self, key: Key) -> None:
        lane = self._lanes.pop(key, None)
        if lane is not None:
            self._out[lane] -= 1
            self._bell.set()

    def _next(self) -> Iterator[tuple[Key, Launches, Launch]]:
        """Yield what may be sent: of each lane no more than its width is there at once."""
        out = self._out.copy()
        for key, (batch, one) in self._waiting.items():
            if out[batch.lane] < self._widths[batch.lane]:
                out[batch.lane] += 1
                yield key, batch, one

    def recall(self, keys: Iterable[Key] | None = None) -> list[Key]:
        """Give back those of these that were not sent, or all; return the others."""
        wanted = list(self._waiting if keys is None else keys)
        mine = [key for key in wanted if self._waiting.pop(key, None) is not None]
        self._active.recall(mine)
        return [key for key in wanted if key not in set(mine)]

    async def run(self) -> None:
        """Send what gathers, until cancelled."""
        while True:
            await self._bell.wait()
            self._bell = trio.Event()
            await trio.sleep(GATHER)
            groups: dict[Any, tuple[Any, list[Key]]] = {}
            for key, batch, one in self._next():
                seconds = one.timeout + one.grace if one.timeout else 0.0
                kind = (tuple(sorted(batch.needs.items())), seconds, repr(one.options))
                groups.setdefault(kind, (one.options or {}, []))[1].append(key)
            for (needs, seconds, _), (options, keys) in groups.items():
                order = Order(dict(needs), seconds, options)
                most = self._active.place.largest * self._active.place.each(order)
                for first in range(0, len(keys), most):
                    await self._send(keys[first : first + most], order)
            if self.is_paused:
                await trio.sleep_until(self._until)
                self._active.changed()

    async def _send(self, keys: Sequence[Key], order: Order) -> None:
        active = self._active
        keys = [key for key in keys if key in self._waiting]  # others have been taken back meanwhile
        if not keys or active.stop is not None or self.is_paused:
            self.recall(keys)
            return
        try:
            parcel = await self._written(keys, active.place.each(order))
        except OSError as error:
            self._pause_for(f"a parcel cannot be written: {error.strerror or error}")
            self.recall(keys)
            return
        late = []
        for number, item in enumerate(parcel.items):
            found = self._waiting.pop(item.key, None)
            if found is None:  # it was given back meanwhile
                late.append(number)
                continue
            lane = self._lanes[item.key] = found[0].lane
            self._out[lane] += 1
            active.of[item.key] = parcel, number
        await trio.to_thread.run_sync(parcel.take_back, late)
        try:
            parcel.job = await active.place.submit(parcel, order)
        except QueueError as error:  # refused, or it may have been done: what is taken back never begins
            self._pause_for(str(error))
            await active.take_back(parcel, range(len(parcel.items)))
        else:
            self._backoff.succeeded()
            if not active.starts.failures:
                active.complaints.clear()
            await trio.to_thread.run_sync(parcel.name_job, parcel.job)
        self._polls.soon(trio.current_time())
        if active.stop is not None:
            await active.take_back(parcel, range(len(parcel.items)))
        active.rest()

    async def _written(self, keys: Sequence[Key], each: int) -> Parcel:
        active = self._active
        number = reserve(active.site.directory)
        items = [Item(key) for key in keys]
        parcel = Parcel(self._home / str(number), active.site.directory, number, items, each, made=time.time())
        order = [(self._waiting[key][0], [self._waiting[key][1]]) for key in keys]
        common = self._common()

        def write() -> None:
            active.shelf.add(parcel)
            try:
                parcel.write(common, order)
            except OSError:
                active.shelf.remove(parcel)
                raise

        await trio.to_thread.run_sync(write)
        active.parcels[number] = parcel
        return parcel

    def _common(self) -> dict[str, Any]:
        """Return what the tasks of a parcel have in common, as a launcher's hello says it."""
        terms = self._terms
        environment = terms.environment if terms.inherit else {"PATH": os.defpath, **terms.environment}
        return {
            "environment": dict(environment),
            "inherit": terms.inherit,
            "output_bytes": terms.output_bytes,
            "instance": self._active.site.instance,
        }

    def _pause_for(self, trouble: str) -> None:
        """Take nothing for a while: the place has refused something."""
        self._backoff.failed(trio.current_time())
        self._active.complaints.add(trouble)
        self._active.changed()

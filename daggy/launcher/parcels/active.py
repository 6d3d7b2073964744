"""The parcels of a pool while it runs: which tasks they have, what is reported of these, when a parcel is removed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import trio
from attrs import define, evolve, field

from daggy.attempt import REPORT, STOPPED, Kind, Reason, Reports, joined
from daggy.executor import Site, Stop
from daggy.launcher import frames
from daggy.launcher.frames import Key
from daggy.launcher.parcels.folder import Parcel, Shelf, Stage, Told
from daggy.launcher.parcels.place import Place
from daggy.launcher.preemption import as_lost, stopped
from daggy.launcher.queues import Backoff, Complaints, QueueError

STOPPED_MESSAGE = "daggy stopped"


@define(eq=False)
class ActiveParcels:
    """The parcels of a pool that are not done with, and the tasks in them.

    Args:
        site: Whose.
        place: Where it is.
        shelf: Keeps note of parcels.
        complaints: What is wrong at this moment.
        parcels: By number.
        of: What has not ended: by ticket its parcel, and its number in it.
        stop: How all is to end; None: it is not.
        idle: Set when a stop is done.
        report: Takes reports.
        changed: Called when the place takes more, or less.
        freed: Called with each task that is not there any more.
        starts: Holds back after elements that ended before they began a task.
        pause: Called when nothing is to be sent for a while.
    """

    site: Site
    place: Place
    shelf: Shelf
    complaints: Complaints
    parcels: dict[int, Parcel] = field(factory=dict)
    of: dict[Key, tuple[Parcel, int]] = field(factory=dict)
    stop: Stop | None = None
    idle: trio.Event = field(factory=trio.Event)
    report: Callable[[Reports], None] = field(default=lambda _: None)
    changed: Callable[[], None] = field(default=lambda: None)
    freed: Callable[[Key], None] = field(default=lambda _: None)
    starts: Backoff = field(factory=Backoff)
    pause: Callable[[], None] = field(default=lambda: None)
    _acked: dict[int, int] = field(factory=dict)

    async def attempt(self, act: Callable[[int, Sequence[str]], Any], batch: int, jobs: Sequence[str]) -> None:
        """Ask the place for what is asked again at the next look."""
        try:
            await act(batch, jobs)
        except QueueError as error:
            self.complaints.add(str(error))

    def recall(self, keys: Iterable[Key]) -> None:
        """Report tasks as given back."""
        rows = [frames.about(Kind.RECALLED, key, 0) for key in keys]
        if rows:
            self.report(Reports(np.concatenate(rows)))

    def give_back(self, parcel: Parcel, numbers: Iterable[int]) -> None:
        """Give back tasks that were taken back."""
        keys = [parcel.items[number].key for number in numbers]
        for key in keys:
            self.drop(key)
        self.recall(keys)

    def drop(self, key: Key) -> None:
        """Forget a task that has ended or was given back."""
        if self.of.pop(key, None) is not None:
            self.freed(key)

    def take(self, parcel: Parcel, told: Sequence[Told]) -> None:
        """Report what the files of tasks tell."""
        for one in told:
            item = parcel.items[one.number]
            if item.stage is Stage.ENDED:
                self.drop(item.key)
            if item.began:
                self.starts.succeeded()
        if told and all(parcel.items[one.number].doom is None for one in told):
            self.report(self._as_lost(parcel, told))
        elif told:
            self.report(joined([self._as_meant(parcel, one) for one in told]))

    def fail(self, trouble: str) -> None:
        """Take note of an element that ended before it began a task."""
        self.starts.failed(trio.current_time())
        self.complaints.add(trouble)
        self.pause()
        self.changed()

    def _as_lost(self, parcel: Parcel, told: Sequence[Told]) -> Reports:
        """Return what files tell; tasks that ended with their job, and not by our wish, were lost."""
        reports = reports_of(told)
        which = stopped(reports.rows)
        lost = as_lost(reports, "", which)
        said = {at: self._end_of(parcel, told[at].number) for at in np.flatnonzero(which).tolist()}
        return evolve(lost, messages={**lost.messages, **said}) if said else lost

    def _end_of(self, parcel: Parcel, number: int) -> str:
        host = parcel.items[number].host
        where = f" on {host}" if host else ""
        return f"its {self.place.noun} {parcel.job}_{number // parcel.each}{where} was ended"

    def _as_meant(self, parcel: Parcel, told: Told) -> Reports:
        """Return what a task's file tells, in the light of why it was ended."""
        reports, doom = reports_of([told]), parcel.items[told.number].doom
        attempt = reports.rows["row"]
        if doom is None:
            return self._as_lost(parcel, [told])
        if attempt["reason"][0] != Reason.KILLED:
            return reports
        if doom == STOPPED_MESSAGE:
            attempt["flags"] |= STOPPED
        else:
            attempt["flags"] &= np.uint8(~STOPPED & 0xFF)
        return evolve(reports, messages={0: doom})

    async def take_back(self, parcel: Parcel, numbers: Iterable[int]) -> None:
        """Give back those of these tasks that have not begun, and cancel elements of which nothing is left to do."""
        back = await trio.to_thread.run_sync(parcel.take_back, list(numbers))
        self.give_back(parcel, back)
        elements = sorted({number // parcel.each for number in back})
        empty = [one for one in elements if all(parcel.items[at].stage is Stage.BACK for at in parcel.of_element(one))]
        if empty and parcel.job:
            await self.attempt(self.place.cancel, parcel.number, [f"{parcel.job}_{one}" for one in empty])
        await self.tidy(parcel.number)

    async def doom(self, keys: Mapping[Key, str]) -> None:
        """End tasks that run, each with a message."""
        doomed: dict[int, dict[int, str]] = {}
        for key, message in keys.items():
            if key in self.of:
                parcel, number = self.of[key]
                doomed.setdefault(parcel.number, {})[number] = message
        for batch, numbers in doomed.items():
            await trio.to_thread.run_sync(self.parcels[batch].doom, numbers)
        await self.tell(doomed)

    async def tell(self, doomed: Mapping[int, Iterable[int]]) -> None:
        """Have elements look at what is to be ended; by parcel, the numbers of tasks."""
        for batch, numbers in doomed.items():
            parcel = self.parcels[batch]
            elements = sorted({number // parcel.each for number in numbers})
            if parcel.job and elements:
                await self.attempt(self.place.tell, batch, [f"{parcel.job}_{one}" for one in elements])

    async def acknowledge(self, number: int, seq: int) -> None:
        """Take note that what a parcel told up to a number is kept."""
        self._acked[number] = max(seq, self._acked.get(number, 0))
        await self.tidy(number)

    async def tidy(self, number: int) -> None:
        """Remove a parcel whose tasks have all ended for good."""
        parcel = self.parcels.get(number)
        if parcel is None or parcel.is_open or self._acked.get(number, 0) < parcel.seq:
            return
        del self.parcels[number]
        self._acked.pop(number, None)

        def remove() -> None:
            parcel.remove()
            self.shelf.remove(parcel)

        await trio.to_thread.run_sync(remove)

    def rest(self) -> None:
        """See whether a stop is done."""
        if self.stop is not None and not self.of:
            self.idle.set()


def reports_of(told: Sequence[Told]) -> Reports:
    """Return what files tell as one batch."""
    rows = np.frombuffer(bytearray().join(one.row.tobytes() for one in told), REPORT)  # far cheaper than concatenate
    messages = {at: one.message for at, one in enumerate(told) if one.message}
    results = {at: one.result for at, one in enumerate(told) if one.result}
    return Reports(rows, messages, results, {at: one.note for at, one in enumerate(told) if one.note})

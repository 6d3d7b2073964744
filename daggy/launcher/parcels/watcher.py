"""What a place says of the elements of parcels, and what becomes of tasks of which it says nothing any more."""

from __future__ import annotations

import time
from collections.abc import Sequence

import trio

from daggy.attempt import Kind, Reason, Rows, Ticket
from daggy.launcher import frames
from daggy.launcher.parcels.desk import Desk
from daggy.launcher.parcels.folder import Item, Parcel, Stage
from daggy.launcher.parcels.place import Seen
from daggy.launcher.queues import SOON, Fate, Looking, QueueError


class Watcher:
    """Looks at a place. `run` must run while it is used."""

    def __init__(self, desk: Desk, looking: Looking, settle: float) -> None:
        """Begin with nothing seen.

        Args:
            desk: The parcels.
            looking: Says when.
            settle: Seconds after which a file that is not seen is not there.
        """
        self._desk, self._looking, self._settle = desk, looking, settle
        self._seen: dict[tuple[int, int], Seen] = {}  # by parcel and element
        self._gone: dict[tuple[int, int], float] = {}  # since when they are not listed

    def waits(self, ticket: Ticket) -> str:
        """Return what the place says of a task that was sent there."""
        desk, key = self._desk, frames.key(ticket)
        if key not in desk.of:
            return ""
        parcel, number = desk.of[key]
        seen = self._seen.get((parcel.number, number // parcel.each))
        if seen is not None:
            return f"{desk.place.noun} {seen.job}: {seen.said}"
        return f"{desk.place.noun} {parcel.job}: submitted" if parcel.job else "it is being submitted"

    async def run(self) -> None:
        """Look when it is due, until cancelled."""
        while True:
            if self._desk.parcels and trio.current_time() >= self._looking.next:
                try:
                    await self._look()
                except QueueError as error:
                    self._desk.complain(str(error))
            await trio.sleep(SOON / 4)

    async def _look(self) -> None:
        desk, began = self._desk, trio.current_time()
        known = dict(desk.parcels)
        try:
            listed = await desk.place.look()
        finally:
            self._looking.looked(began, trio.current_time())
        self._seen = {(one.batch, one.element): one for one in listed}
        if not any(parcel.job == "" for parcel in desk.parcels.values()):
            desk.trouble = ""
        for one in listed:
            parcel = desk.parcels.get(one.batch)
            if parcel is not None and not parcel.job:
                await trio.to_thread.run_sync(parcel.name_job, one.job.partition("_")[0])
        strays = {(one.batch, one.job.partition("_")[0]) for one in listed if one.batch not in desk.parcels}
        for batch, job in strays:  # they do nothing, and need not wait
            await desk.place.cancel(batch, [job])
        doomed = {
            batch: [at for at, one in enumerate(parcel.items) if one.doom and one.stage is Stage.BEGUN]
            for batch, parcel in desk.parcels.items()
        }
        await desk.tell(doomed)
        for number, parcel in known.items():
            if number in desk.parcels and parcel.job:
                await self._miss(parcel)

    async def _miss(self, parcel: Parcel) -> None:
        """See what became of elements that the place does not list any more."""
        now = trio.current_time()
        for element in range(parcel.elements):
            place = parcel.number, element
            open_ones = (Stage.QUEUED, Stage.BEGUN)
            numbers = [at for at in parcel.of_element(element) if parcel.items[at].stage in open_ones]
            if not numbers or place in self._seen:
                self._gone.pop(place, None)
            elif now - self._gone.setdefault(place, now) >= self._settle:
                fate = await self._desk.place.fate(parcel.number, f"{parcel.job}_{element}")
                await self._bury(parcel, numbers, fate, element)
                del self._gone[place]

    async def _bury(self, parcel: Parcel, numbers: Sequence[int], fate: Fate, element: int) -> None:
        """Report the tasks of an element that has ended without a word of them."""
        desk = self._desk
        said = fate.said or "the place does not know it any more"
        message = f"{desk.place.noun} {parcel.job}_{element}: {said}" + (f": {fate.words}" if fate.words else "")
        has_begun = any(parcel.items[at].began for at in parcel.of_element(element))
        for number in numbers:
            desk.take(parcel, await trio.to_thread.run_sync(parcel.look_closely, number))
            item = parcel.items[number]
            row, why = ended(item, parcel.number, fate), item.doom or message
            if item.stage is Stage.QUEUED and has_begun:  # those before it have: it has only not had its turn
                await desk.take_back(parcel, [number])
            elif item.stage is Stage.QUEUED:
                told = await trio.to_thread.run_sync(parcel.give_up, number, row, why)
                desk.take(parcel, [told or parcel.end(number, row, why)])
            elif item.stage is Stage.BEGUN:
                desk.take(parcel, [parcel.end(number, row, why)])
        await desk.tidy(parcel.number)
        desk.rest()


def ended(item: Item, number: int, fate: Fate) -> Rows:
    """Return the end of a task that left no word of it."""
    rows = frames.about(Kind.FINISHED, item.key, number)
    rows["row"]["started"], rows["row"]["ended"] = item.began, time.time()
    rows["row"]["reason"] = fate.reason if item.doom is None else Reason.KILLED
    return rows

"""What a place says of the elements of parcels, and what becomes of tasks of which it says nothing any more."""

from __future__ import annotations

import time
from collections.abc import Sequence

import trio

from daggy.attempt import Kind, Reason, Rows, Ticket
from daggy.launcher import frames
from daggy.launcher.parcels.active import ActiveParcels
from daggy.launcher.parcels.folder import Item, Parcel, Stage
from daggy.launcher.parcels.place import Seen
from daggy.launcher.queues import SOON, Fate, PollSchedule, QueueError


class Watcher:
    """Looks at a place. `run` must run while it is used."""

    def __init__(self, active: ActiveParcels, polls: PollSchedule, settle: float) -> None:
        """Begin with nothing seen.

        Args:
            active: The parcels.
            polls: Says when.
            settle: Seconds after which a file that is not seen is not there.
        """
        self._active, self._polls, self._settle = active, polls, settle
        self._seen: dict[tuple[int, int], Seen] = {}  # by parcel and element
        self._gone: dict[tuple[int, int], float] = {}  # since when they are not listed

    def waits(self, ticket: Ticket) -> str:
        """Return what the place says of a task that was sent there."""
        active, key = self._active, frames.key(ticket)
        if key not in active.of:
            return ""
        parcel, number = active.of[key]
        seen = self._seen.get((parcel.number, number // parcel.each))
        if seen is not None:
            return f"{active.place.noun} {seen.job}: {seen.said}" + (f"; {seen.stuck}" if seen.stuck else "")
        return f"{active.place.noun} {parcel.job}: submitted" if parcel.job else "it is being submitted"

    async def run(self) -> None:
        """Look when it is due, until cancelled."""
        while True:
            if self._active.parcels and trio.current_time() >= self._polls.next:
                try:
                    await self._look()
                except QueueError as error:
                    self._active.complaints.add(str(error))
            await trio.sleep(SOON / 4)

    async def _look(self) -> None:
        active, began = self._active, trio.current_time()
        known = dict(active.parcels)
        try:
            listed = await active.place.look()
        except QueueError:
            self._polls.failed(began, trio.current_time())
            raise
        self._polls.polled(began, trio.current_time())
        self._seen = {(one.batch, one.element): one for one in listed}
        ours = [one for one in listed if one.batch in active.parcels]
        if ours and all(one.stuck for one in ours):
            active.complaints.add(f"{active.place.noun} {ours[0].job} does not begin ({ours[0].said}): {ours[0].stuck}")
        elif not active.starts.failures and all(parcel.job for parcel in active.parcels.values()):
            active.complaints.clear()
        for one in listed:
            parcel = active.parcels.get(one.batch)
            if parcel is not None and not parcel.job:
                await trio.to_thread.run_sync(parcel.name_job, one.job.partition("_")[0])
        strays = {(one.batch, one.job.partition("_")[0]) for one in listed if one.batch not in active.parcels}
        for batch, job in strays:  # they do nothing, and need not wait
            await active.place.cancel(batch, [job])
        doomed = {
            batch: [at for at, one in enumerate(parcel.items) if one.doom and one.stage is Stage.BEGUN]
            for batch, parcel in active.parcels.items()
        }
        await active.tell(doomed)
        for number, parcel in known.items():
            if number in active.parcels and parcel.job:
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
                fate = await self._active.place.fate(parcel.number, f"{parcel.job}_{element}")
                if fate.is_ending:
                    continue
                await self._bury(parcel, numbers, fate, element)
                del self._gone[place]

    async def _bury(self, parcel: Parcel, numbers: Sequence[int], fate: Fate, element: int) -> None:
        """Report the tasks of an element that has ended without a word of them."""
        active = self._active
        said = fate.said or "the place does not know it any more"
        message = f"{active.place.noun} {parcel.job}_{element}: {said}" + (f": {fate.words}" if fate.words else "")
        has_begun = any(parcel.items[at].began for at in parcel.of_element(element))
        is_its_own = fate.is_over and not fate.was_cancelled and fate.reason is Reason.LOST
        has_failed = bool(active.place.mend) and is_its_own and not has_begun
        if has_failed and any(parcel.items[at].stage is Stage.QUEUED for at in numbers):
            active.fail(f"{message}; it began no task: {active.place.mend}")
        for number in numbers:
            active.take(parcel, await trio.to_thread.run_sync(parcel.look_closely, number))
            item = parcel.items[number]
            row, why = ended(item, parcel.number, fate), item.doom or message
            if item.stage is Stage.QUEUED and (has_begun or has_failed):  # it has not had its turn, or nothing has
                await active.take_back(parcel, [number])
            elif item.stage is Stage.QUEUED:
                told = await trio.to_thread.run_sync(parcel.give_up, number, row, why)
                active.take(parcel, [told or parcel.end(number, row, why)])
            elif item.stage is Stage.BEGUN:
                active.take(parcel, [parcel.end(number, row, why)])
        await active.tidy(parcel.number)
        active.rest()


def ended(item: Item, number: int, fate: Fate) -> Rows:
    """Return the end of a task that left no word of it."""
    rows = frames.about(Kind.FINISHED, item.key, number)
    rows["row"]["started"], rows["row"]["ended"] = item.began, time.time()
    rows["row"]["reason"] = fate.reason if item.doom is None else Reason.KILLED
    return rows

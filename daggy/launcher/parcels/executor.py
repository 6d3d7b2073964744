"""An executor for places with a queue of their own: tasks go out in parcels, and come back as files."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote

import trio
from attrs import evolve

from daggy.attempt import Kind, Reports, Rows, Ticket, joined
from daggy.executor import Ack, Executor, Kill, Launches, Machine, Recall, Request, Site, Stop
from daggy.launcher import frames, logs
from daggy.launcher.frames import Key
from daggy.launcher.host import Terms
from daggy.launcher.parcels.active import STOPPED_MESSAGE, ActiveParcels, reports_of
from daggy.launcher.parcels.folder import ALIVE, Shelf, Stage
from daggy.launcher.parcels.place import Place
from daggy.launcher.parcels.sender import Sender
from daggy.launcher.parcels.watcher import Watcher, ended
from daggy.launcher.queues import Complaints, Fate, PollSchedule, QueueError

COLLECT, SELDOM = 0.5, 2.0
"""Seconds from one look at the files to the next: at least, and where looking takes more than half of that."""

TOUCH = 30.0
"""Seconds between two signs of life, of an engine of which nothing is kept."""

END = 20.0
"""Seconds for the last words to a place."""


class ParcelExecutor(Executor, abc.ABC):
    """Runs tasks as elements of arrays. A subclass has the settings and the place."""

    def __init__(
        self, site: Site, terms: Terms, place: Place, home: Path, *, most: int, interval: float,
        settle: float, machine: str,
    ) -> None:  # fmt: skip
        """Keep what is given; nothing is submitted.

        Args:
            site: Whose tasks.
            terms: What they have in common.
            place: Where they run.
            home: The directory for parcels, which the place sees.
            most: How many tasks may be there at once.
            interval: Seconds between two looks at the place.
            settle: Seconds after which a file that is not seen is not there.
            machine: What the place is called.
        """
        self._site, self._place, self._home = site, place, home
        self._is_open = False
        self._machine = Machine(machine, None, slots=most, ahead=0)
        shelf = Shelf(site.directory, site.directory / "parcels" / quote(site.pool, ""))
        self._active = ActiveParcels(site, place, shelf, Complaints(site.pool))
        polls = PollSchedule(interval)
        self._sender = Sender(self._active, polls, terms, home)
        self._watcher = Watcher(self._active, polls, settle)

    def capacity(self) -> Sequence[Machine]:
        """Return the place as a machine."""
        return [evolve(self._machine, open=not self._sender.is_paused)]

    def machines(self) -> Sequence[str]:
        """Return the name of the place."""
        return [self._machine.name]

    @property
    def fixed(self) -> bool:
        """Return True: there is one place."""
        return True

    @property
    def trouble(self) -> str:
        """What the place complains of; empty: nothing."""
        return self._active.complaints.trouble

    def waits(self, ticket: Ticket) -> str:
        """Return what the place says of a task that has not begun."""
        if frames.key(ticket) in self._sender:
            return "it is submitted in a moment"
        return self._watcher.waits(ticket)

    async def read_log(self, run: int, version: int, row: Rows, stream: str, offset: int, limit: int) -> bytes:
        """Return a part of an ended attempt's output: it comes when the attempt has ended."""
        if not row["ended"]:
            raise FileNotFoundError("what it writes is there when it has ended")
        return await trio.to_thread.run_sync(logs.read, self._site.directory, run, version, row, stream, offset, limit)

    async def recover(self, epoch: int) -> Reports:
        """Return what parcels of earlier engines tell; those that were perhaps not submitted are taken back."""
        del epoch
        await self._open()
        return await trio.to_thread.run_sync(self._recovered)

    async def _open(self) -> None:
        self._is_open = True
        try:
            await self._place.open()
        except QueueError as error:
            self._active.complaints.add(str(error))

    def _recovered(self) -> Reports:
        active = self._active
        batches = []
        for parcel in active.shelf.parcels():
            if not parcel.folder.is_dir():
                active.shelf.remove(parcel)
                continue
            active.parcels[parcel.number] = parcel
            told = parcel.collect()
            if not parcel.job:
                parcel.take_back(range(len(parcel.items)))
            batches.append(reports_of([one for one in told if one.row["kind"][0] == Kind.FINISHED]))
            for number, item in enumerate(parcel.items):
                if item.stage in (Stage.QUEUED, Stage.BEGUN):
                    kind = Kind.STARTED if item.stage is Stage.BEGUN else Kind.HELD
                    rows = frames.about(kind, item.key, parcel.number)
                    rows["row"]["started"] = item.began
                    active.of[item.key] = parcel, number
                    batches.append(Reports(rows))
        return joined(batches)

    async def run(
        self,
        requests: trio.MemoryReceiveChannel[Request],
        report: Callable[[Reports], None],
        changed: Callable[[], None],
    ) -> None:
        """Carry out requests until the channel ends or a Stop is done."""
        self._active.report, self._active.changed = report, changed
        if not self._is_open:
            await self._open()
        for number in list(self._active.parcels):  # of some there is nothing to be told any more
            await self._active.tidy(number)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._sender.run)
            nursery.start_soon(self._collect)
            nursery.start_soon(self._watcher.run)
            if not self._site.durable:
                nursery.start_soon(self._touch)
            nursery.start_soon(self._until_idle, nursery.cancel_scope)
            async for request in requests:
                await self._obey(request)
            nursery.cancel_scope.cancel()
        if self._active.idle.is_set() and not self._active.of:
            await trio.to_thread.run_sync(self._place.close)

    async def _until_idle(self, scope: trio.CancelScope) -> None:
        await self._active.idle.wait()
        scope.cancel()

    async def _obey(self, request: Request) -> None:
        match request:
            case Launches():
                self._sender.put(request)
                if self._active.stop is not None:
                    self._sender.recall()
            case Recall(tickets):
                await self._withdraw([frames.key(one) for one in tickets])
            case Kill(tickets, message):
                running = await self._withdraw([frames.key(one) for one in tickets])
                await self._active.doom(dict.fromkeys(running, message))
            case Ack(number, seq):
                await self._active.acknowledge(number, seq)
            case Stop():
                await self._stop_all(request)
            case _:
                pass  # there is one place, and it has a queue of its own

    async def _withdraw(self, keys: Sequence[Key]) -> list[Key]:
        """Give back those of these tasks that have not begun; return those that have."""
        active = self._active
        numbers: dict[int, list[int]] = {}
        for key in self._sender.recall(keys):
            if key in active.of:
                parcel, number = active.of[key]
                numbers.setdefault(parcel.number, []).append(number)
        for batch, wanted in numbers.items():
            await active.take_back(active.parcels[batch], wanted)
        return [key for key in keys if key in active.of]

    async def _stop_all(self, stop: Stop) -> None:
        """Give back what has not begun and end what has, or leave all as it is."""
        active = self._active
        active.stop = stop
        self._sender.recall()
        if stop.leave and self._site.linger:
            active.idle.set()
            return
        running = await self._withdraw(list(active.of))
        await active.doom(dict.fromkeys(running, STOPPED_MESSAGE))
        if stop.immediate:
            with trio.move_on_after(END):
                for one in list(active.parcels.values()):
                    if one.job:
                        await active.attempt(self._place.cancel, one.number, [one.job])
            for key in running:
                if key in active.of:
                    parcel, number = active.of[key]
                    row = ended(parcel.items[number], parcel.number, Fate())
                    active.take(parcel, [parcel.end(number, row, STOPPED_MESSAGE)])
        active.rest()

    async def _collect(self) -> None:
        """Take in what comes, until cancelled."""
        active = self._active
        while True:
            began = trio.current_time()
            for parcel in list(active.parcels.values()):
                if parcel.is_open:
                    try:
                        active.take(parcel, await trio.to_thread.run_sync(parcel.collect))
                    except OSError as error:
                        active.complaints.add(f"what has come in cannot be kept: {error.strerror or error}")
            active.rest()
            await trio.sleep(min(max(COLLECT, 2 * (trio.current_time() - began)), SELDOM))

    async def _touch(self) -> None:
        """Let elements know that this engine is there."""
        while True:
            try:
                self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
                (self._home / ALIVE).touch()
            except OSError as error:
                self._active.complaints.add(f"'{self._home}' cannot be written to: {error.strerror or error}")
            await trio.sleep(TOUCH)

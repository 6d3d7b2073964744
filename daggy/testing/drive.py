"""Drives one executor as the engine does, and keeps what it reports."""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import trio

from daggy.attempt import Texts
from daggy.executor import (
    REPORT,
    Ack,
    Demand,
    Executor,
    Kind,
    Launch,
    Launches,
    Reason,
    Reports,
    Request,
    Rows,
    Stop,
    Ticket,
    Wanted,
)
from daggy.testing.entries import require

RUN, VERSION, EPOCH = 7, 2, 3
"""What every ticket of the checks carries."""

NEEDS = {"cores": 1.0}
"""What every task of the checks needs."""


class Drive:
    """One executor that runs: what was launched, and each report by its ticket.

    Args:
        executor: The one under test.
        seconds: How long to wait for anything, at most.
    """

    def __init__(self, executor: Executor, seconds: float) -> None:
        """Begin with nothing launched."""
        self.executor = executor
        self.seconds = seconds
        self.started: dict[Ticket, Rows] = {}
        self.ended: dict[Ticket, Rows] = {}
        self.messages: dict[Ticket, str] = {}
        self.results: dict[Ticket, str] = {}
        self.notes: dict[Ticket, str] = {}
        self.held: set[Ticket] = set()
        self.returned = trio.Event()
        self._launched: dict[Ticket, str] = {}  # with the machine
        self._seqs: dict[int, int] = {}
        self._news = trio.Event()
        self._send, self._receive = trio.open_memory_channel[Request](math.inf)

    async def run(self) -> None:
        """Run the executor until it returns."""
        await self.executor.run(self._receive, self._report, self._wake)
        self.returned.set()
        self._wake()

    def send(self, request: Request) -> None:
        """Send any request."""
        self._send.send_nowait(request)

    def launch(self, launches: Sequence[Launch], *, lane: int = 0, width: int = 1, on: str = "") -> list[Ticket]:
        """Launch on a machine, the first one if none is named; return the tickets in order."""
        machine = on or self.machine()
        tickets = [Ticket(RUN, VERSION, launch.index, EPOCH, launch.attempt) for launch in launches]
        self._launched.update(dict.fromkeys(tickets, machine))
        self.send(Launches(RUN, VERSION, EPOCH, machine, lane, width, launches, NEEDS))
        return tickets

    def take(self, reports: Reports, tickets: Sequence[Ticket], *, on: str = "") -> None:
        """Take reports that an earlier executor of the site left behind, about tickets launched as in `launch`."""
        self._launched.update(dict.fromkeys(tickets, on or self.machine()))
        self._report(reports)

    def machine(self) -> str:
        """Return the name of the first machine that takes tasks; empty if there is none."""
        return next((machine.name for machine in self.executor.capacity() if machine.open), "")

    async def until_there(self) -> None:
        """Wait for a machine that takes tasks; where there is none, one is wanted."""
        if not self.machine():
            self.send(Wanted([Demand(NEEDS, 2, 0.0)]))
        await self.until(lambda: bool(self.machine()), "a machine must come, with changed(), when one is wanted")

    def acknowledge(self) -> None:
        """Acknowledge everything reported so far."""
        for launcher, seq in self._seqs.items():
            self.send(Ack(launcher, seq))

    def close(self) -> None:
        """End the channel of requests."""
        self._send.close()

    async def until(self, holds: Callable[[], bool], what: str) -> None:
        """Wait until something holds after some report.

        Raises:
            AssertionError: it did not in time.
        """
        with trio.move_on_after(self.seconds):
            while not holds():
                self._news = trio.Event()
                await self._news.wait()
            return
        raise AssertionError(f"{what}: not within {self.seconds:g} s; reported: {self._summary()}")

    async def until_ended(self, tickets: Sequence[Ticket]) -> list[Rows]:
        """Wait until each of these is FINISHED or RECALLED; return their reports, scalars of REPORT."""
        await self.until(lambda: all(ticket in self.ended for ticket in tickets), "every launch must end in a report")
        return [self.ended[ticket] for ticket in tickets]

    async def until_started(self, ticket: Ticket) -> None:
        """Wait until this is reported as STARTED."""
        await self.until(lambda: ticket in self.started or ticket in self.ended, "a long task must be reported STARTED")
        require(ticket not in self.ended, f"a long task ended at once: {self._summary()}")

    async def until_returned(self) -> None:
        """Wait until `run` returned."""
        await self.until(self.returned.is_set, "run() must return")

    async def read(self, ticket: Ticket, stream: str, offset: int = 0, limit: int = 1 << 20) -> bytes:
        """Read output of an attempt that ended."""
        return await self.executor.read_log(RUN, VERSION, self.ended[ticket]["row"], stream, offset, limit)

    def _report(self, reports: Reports) -> None:
        require(reports.rows.dtype == REPORT, "reports must be arrays of REPORT")
        for place, row in enumerate(reports.rows):
            self._take(row, reports.texts(place))
        self._wake()

    def _take(self, report: Any, texts: Texts) -> None:
        row = report["row"]
        numbers = (report["run"], report["version"], row["index"], report["epoch"], row["attempt"])
        ticket = Ticket(*(int(number) for number in numbers))
        kind = Kind(int(report["kind"]))
        require(ticket in self._launched, f"report {kind.name} of ticket {ticket}, which was never launched")
        require(ticket not in self.ended, f"report {kind.name} of ticket {ticket}, which had ended")
        if report["seq"]:
            launcher = int(row["launcher"])
            self._seqs[launcher] = max(self._seqs.get(launcher, 0), int(report["seq"]))
        if texts.note:
            self.notes[ticket] = texts.note
        if kind is Kind.STARTED:
            is_news = ticket not in self.started or bool(texts.note)
            require(is_news, f"ticket {ticket} started twice, and there was no note")
            self._require_machine(report, ticket)
            self.started[ticket] = report
            return
        if kind is Kind.HELD:
            require(ticket not in self.started, f"ticket {ticket} is HELD, and had started")
            self.held.add(ticket)
            return
        Reason(int(row["reason"]))
        if kind is Kind.FINISHED:
            self._require_machine(report, ticket)
        self.ended[ticket] = report
        self.messages[ticket], self.results[ticket], _ = texts

    def _require_machine(self, report: Any, ticket: Ticket) -> None:
        """Check that a report says where its task was launched."""
        machines, place = self.executor.machines(), int(report["row"]["place"])
        require(place < len(machines), f"a report has place {place}, and machines() names {len(machines)}")
        wanted = self._launched[ticket]
        require(machines[place] == wanted, f"ticket {ticket} ran on '{wanted}'; its report says '{machines[place]}'")

    def _wake(self) -> None:
        self._news.set()

    def _summary(self) -> str:
        ended = {str(ticket): (int(row["kind"]), int(row["row"]["reason"])) for ticket, row in self.ended.items()}
        return f"started {[str(ticket) for ticket in self.started]}, ended {ended}"


@contextlib.asynccontextmanager
async def driving(
    executor: Executor, seconds: float, first: Callable[[Drive], None] = lambda _: None
) -> AsyncIterator[Drive]:
    """Run an executor; at the end it is stopped at once, and must return. `first` is called before it runs."""
    drive = Drive(executor, seconds)
    first(drive)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(drive.run)
        try:
            await drive.until_there()
            yield drive
            if not drive.returned.is_set():
                drive.acknowledge()
                with contextlib.suppress(trio.ClosedResourceError, trio.BrokenResourceError):
                    drive.send(Stop(immediate=True))
                await drive.until_returned()
        finally:
            nursery.cancel_scope.cancel()

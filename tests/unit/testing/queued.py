"""A place with a queue of its own, and an executor on it whose machine comes when it is wanted. Nothing really runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar

import numpy as np
import trio
from attrs import define, field

from daggy.errors import Problem
from daggy.executor import (
    REPORT,
    Executor,
    Kill,
    Kind,
    Launches,
    Machine,
    Reason,
    Recall,
    Reports,
    Request,
    Rows,
    Site,
    Stop,
    Ticket,
    Wanted,
    Work,
)

SLOTS = 2
"""Tasks that the place runs at once."""


@define
class Place:
    """What outlives executors: tickets that wait, and those that run; whether each runs until it is killed."""

    waiting: dict[Ticket, bool] = field(factory=dict)
    running: dict[Ticket, bool] = field(factory=dict)


class QueuedExecutor(Executor):
    """Has one machine while it is wanted or in use; leaves what is launched to the place."""

    Settings: ClassVar[type] = dict

    def __init__(self, places: dict[str, Place], site: Site) -> None:
        self.place = places.setdefault(site.instance, Place())
        self.is_there = False
        self.is_wanted = False

    def capacity(self) -> Sequence[Machine]:
        return [Machine("queue", None, slots=100, ahead=0)] if self.is_there else []

    def machines(self) -> Sequence[str]:
        return ["queue"]

    @property
    def fixed(self) -> bool:
        return False

    def check(self, work: Work) -> Iterable[Problem]:
        return ()

    def waits(self, ticket: Ticket) -> str:
        return "job 1: Resources" if ticket in self.place.waiting else ""

    async def recover(self, epoch: int) -> Reports:
        await trio.lowlevel.checkpoint()
        held = [row(Kind.HELD, ticket) for ticket in self.place.waiting]
        return Reports(
            np.concatenate([np.zeros(0, REPORT), *held, *(row(Kind.STARTED, t) for t in self.place.running)])
        )

    async def run(
        self,
        requests: trio.MemoryReceiveChannel[Request],
        report: Callable[[Reports], None],
        changed: Callable[[], None],
    ) -> None:
        self.say: Callable[[Rows], None] = lambda rows: report(Reports(rows))
        self.changed = changed
        async for request in requests:
            match request:
                case Launches():
                    self.launch(request)
                case Recall(tickets):
                    self.recall(tickets)
                case Kill(tickets):
                    self.kill(tickets)
                case Wanted(demands):
                    self.is_wanted = bool(demands)
                case Stop(leave=leave):
                    if not leave:
                        self.recall(list(self.place.waiting))
                        self.kill(list(self.place.running))
                    return
            self.start()
            self.resize()

    def launch(self, batch: Launches) -> None:
        assert batch.needs, "launches say what they need"
        for one in batch.launches:
            ticket = Ticket(batch.run, batch.version, one.index, batch.epoch, one.attempt)
            self.place.waiting[ticket] = one.argv != ["true"]

    def start(self) -> None:
        while self.place.waiting and len(self.place.running) < SLOTS:
            ticket = next(iter(self.place.waiting))
            is_long = self.place.waiting.pop(ticket)
            self.say(row(Kind.STARTED, ticket))
            if is_long:
                self.place.running[ticket] = True
            else:
                self.say(row(Kind.FINISHED, ticket))

    def resize(self) -> None:
        is_there = self.is_wanted or bool(self.place.waiting or self.place.running)
        if is_there is not self.is_there:
            self.is_there = is_there
            self.changed()

    def recall(self, tickets: Sequence[Ticket]) -> None:
        for ticket in tickets:
            if self.place.waiting.pop(ticket, None) is not None:
                self.say(row(Kind.RECALLED, ticket))

    def kill(self, tickets: Sequence[Ticket]) -> None:
        self.recall(tickets)
        for ticket in tickets:
            if self.place.running.pop(ticket, None):
                self.say(row(Kind.FINISHED, ticket, Reason.KILLED))

    async def read_log(self, run: int, version: int, row: Rows, stream: str, offset: int, limit: int) -> bytes:
        return b""


def row(kind: Kind, ticket: Ticket, reason: Reason = Reason.OK) -> Rows:
    """Return a row of REPORT."""
    rows = np.zeros(1, REPORT)
    rows["kind"], rows["run"], rows["version"], rows["epoch"] = kind, ticket.run, ticket.version, ticket.epoch
    told = rows["row"]
    told["index"], told["attempt"], told["reason"] = ticket.index, ticket.attempt, reason
    told["started"] = told["ended"] = 1.0
    return rows

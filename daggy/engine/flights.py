"""What is handed out, and where: so that a report frees what its task held."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from attrs import define, field, frozen

from daggy.attempt import Kind, Rows, Ticket
from daggy.engine.pool import Pool
from daggy.engine.shares import MachineUse, Needs, Share


@frozen(eq=False)
class Slot:
    """Where tasks were handed out to. One a share: compared by identity."""

    pool: Pool
    machine: MachineUse
    share: Share


FEW = 4
"""Up to so many reports are taken one by one."""

PEEK = struct.Struct("<8xB12xI4xdd55x")
"""kind, index, started, ended of one REPORT row."""

STARTED = int(Kind.STARTED)

Key = tuple[int, int]
"""A run and a version of its spec: what gives indexes their meaning."""


@define(eq=False)
class Flights:
    """Every task that an executor has and has not answered for, by (run, version) and index.

    `strays` are attempts that an earlier engine launched, that still run or are held and are no longer wanted: another
    attempt of the same task may be in flight, so they go by their tickets.
    """

    waiting: dict[Key, dict[int, Slot]] = field(factory=dict)
    running: dict[Key, dict[int, Slot]] = field(factory=dict)
    strays: dict[Ticket, Slot] = field(factory=dict)

    def sent(self, key: Key, indexes: Sequence[int], slot: Slot) -> None:
        """Note that these were handed out."""
        self.waiting.setdefault(key, {}).update(dict.fromkeys(indexes, slot))
        slot.share.waiting += len(indexes)
        slot.pool.sent(slot.share)

    def adopted(self, key: Key, index: int, slot: Slot, *, is_held: bool = False) -> None:
        """Note that a task which an earlier engine handed out still runs, or is held where it was handed to."""
        table = self.waiting if is_held else self.running
        table.setdefault(key, {})[index] = slot
        slot.share.waiting += is_held
        slot.share.running += not is_held

    def strayed(self, ticket: Ticket, slot: Slot) -> None:
        """Note that an attempt which is no longer wanted still runs, or may begin to."""
        self.strays[ticket] = slot
        slot.share.running += 1

    def release(self, tickets: Iterable[Ticket]) -> None:
        """Free what those of these that are strays have held: they have ended."""
        for ticket in tickets:
            if slot := self.strays.pop(ticket, None):
                slot.share.running -= 1

    def has(self, run: int) -> bool:
        """Return whether an executor has anything of a run."""
        return any(ticket.run == run for ticket in self.strays) or any(
            slots and key[0] == run for table in (self.waiting, self.running) for key, slots in table.items()
        )

    def drop(self, run: int) -> None:
        """Forget a run that leaves memory; an executor has nothing of it."""
        for table in (self.waiting, self.running):
            for key in [key for key in table if key[0] == run]:
                del table[key]
        self.release([ticket for ticket in self.strays if ticket.run == run])

    def reported(self, key: Key, rows: Rows, now: float) -> None:
        """Note what reports of one run and version say: who started, who is no longer there."""
        if len(rows) <= FEW:
            self._reported_few(key, rows, now)
            return
        index = rows["row"]["index"]
        started = rows["kind"] == Kind.STARTED
        if started.any():
            self._started(key, index[started].tolist(), now)
            rows, index = rows[~started], index[~started]
        waiting, running = self.waiting.setdefault(key, {}), self.running.setdefault(key, {})
        listed = index.tolist()
        slots = [waiting.pop(one, None) for one in listed]
        if running:
            for position, slot in enumerate(slots):
                if slot is None and (slot := running.pop(listed[position], None)) is not None:
                    slot.share.running -= 1
                    slot.share.waiting += 1  # taken off again below, with those that were never heard to start
                    slots[position] = slot
        for slot, count in Counter(slots).items():
            if slot is not None:
                slot.share.waiting -= count
                slot.share.moved = now
                slot.pool.changed(slot.machine)
                slot.share.recalling = slot.share.recalling and slot.share.waiting > 0
        self._learn(rows, slots)

    def _reported_few(self, key: Key, rows: Rows, now: float) -> None:
        """The same one by one: of a chain, arrays cost more than they carry."""
        waiting, running = self.waiting.setdefault(key, {}), self.running.setdefault(key, {})
        for kind, index, started, ended in PEEK.iter_unpack(rows.tobytes()):
            slot = None
            if kind == STARTED:
                self._started(key, [index], now)
            elif (slot := waiting.pop(index, None)) is not None:
                slot.share.waiting -= 1
            elif (slot := running.pop(index, None)) is not None:
                slot.share.running -= 1
            if slot is None:
                continue
            slot.pool.changed(slot.machine)
            slot.share.moved = now
            slot.share.recalling = slot.share.recalling and slot.share.waiting > 0
            if started > 0:
                slot.pool.learn(slot.share.needs, ended - started, 1)

    def _started(self, key: Key, indexes: list[int], now: float) -> None:
        waiting, running = self.waiting.setdefault(key, {}), self.running.setdefault(key, {})
        for index in indexes:
            slot = waiting.pop(index, None)
            if slot is not None:
                running[index] = slot
                slot.share.waiting -= 1
                slot.share.running += 1
                slot.share.moved = now
                slot.pool.changed(slot.machine)

    def _learn(self, rows: Rows, slots: list[Slot | None]) -> None:
        """Tell pools how long attempts took; of a batch of several kinds of needs, each learns from its own."""
        kinds: dict[tuple[Pool, Needs], int] = {}
        kind_of: dict[Slot | None, int] = {None: -1}
        for slot in set(slots) - {None}:
            assert slot is not None
            kind_of[slot] = kinds.setdefault((slot.pool, slot.share.needs), len(kinds))
        kind = np.array([kind_of[slot] for slot in slots], np.int64)
        started, ended = rows["row"]["started"], rows["row"]["ended"]
        ran = (started > 0) & (kind >= 0)
        counts = np.bincount(kind[ran], minlength=len(kinds)).tolist()
        seconds = np.bincount(kind[ran], (ended - started)[ran], len(kinds)).tolist()
        for (pool, needs), count, total in zip(kinds, counts, seconds, strict=True):
            if count:
                pool.learn(needs, total / count, count)

    def of_pool(self, pool: Pool) -> Iterator[tuple[Key, int, str]]:
        """Yield (run and version, index, machine) of everything that a pool's executor has."""
        for table in (self.waiting, self.running):
            for key, slots in table.items():
                for index, slot in slots.items():
                    if slot.pool is pool:
                        yield key, index, slot.machine.name

    def pool_of(self, ticket: Ticket) -> Pool | None:
        """Return the pool that has a ticket; None if it has been answered for."""
        if slot := self.strays.get(ticket):
            return slot.pool
        key = (ticket.run, ticket.version)
        slot = self.waiting.get(key, {}).get(ticket.index) or self.running.get(key, {}).get(ticket.index)
        return slot.pool if slot else None

    def waiting_on(self, share: Share) -> list[tuple[Key, int]]:
        """Return (run and version, index) of what waits on one share."""
        return [
            (key, index) for key, slots in self.waiting.items() for index, slot in slots.items() if slot.share is share
        ]

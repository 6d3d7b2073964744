"""What a machine elsewhere was sent and has not answered for, whatever becomes of the way to it."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Sequence

import numpy as np
from attrs import frozen

from daggy.attempt import REPORT, Kind, Reason, Reports, Rows, Ticket, chosen, joined
from daggy.launcher import frames
from daggy.launcher.frames import Key
from daggy.launcher.ledger import Ledger

LOG = logging.getLogger("daggy.launcher")


@frozen(eq=False)
class News:
    """What a meeting brings.

    Args:
        reports: What has not been reported before.
        unheard: Tasks that no launcher knows: they never began.
        strays: Tickets of what runs there and is not wanted.
    """

    reports: Reports
    unheard: Sequence[Key]
    strays: Sequence[Ticket]


class Outstanding:
    """The tasks that a machine has.

    Args:
        ledger: Keeps their tickets for the next engine; it begins with what it holds.
    """

    def __init__(self, ledger: Ledger) -> None:
        """Begin with what an earlier engine sent."""
        self._ledger = ledger
        self.tasks: dict[Key, float] = dict(ledger.found)
        """Each with its grace, seconds."""
        self.kills: dict[Key, str] = {}
        """Those that are to be ended, with the message."""
        self.reported: dict[int, int] = {}
        """The highest sequence number that was heard, by launcher."""
        self._started: set[Key] = set()
        self._unkept: dict[Key, tuple[int, int]] = {}  # ends that the next engine may have to be told: launcher, seq

    @property
    def longest_grace(self) -> float:
        """Seconds."""
        return max(self.tasks.values(), default=0.0)

    def held(self) -> Reports:
        """Return that all of them are there and may begin by themselves."""
        return Reports(np.concatenate([np.zeros(0, REPORT), *(frames.about(Kind.HELD, key, 0) for key in self.tasks)]))

    def add(self, sent: Iterable[tuple[Key, float]]) -> None:
        """Take note of tasks and their graces before they are sent.

        Raises:
            OSError: it cannot be written down; nothing is noted.
        """
        new = dict(sent)
        if new:
            self._ledger.add(new.items(), len(self.tasks) + len(self._unkept), self._needed)
        self.tasks.update(new)

    def _needed(self) -> dict[Key, float]:
        return {**self.tasks, **dict.fromkeys(self._unkept, 0.0)}

    def take(self, rows: Rows) -> list[bool]:
        """Take note of what these REPORTs answer for; return of which of them it was ours to say anything."""
        ours, back = [], list[Key]()
        told = zip(
            frames.kinds_and_keys(rows.tobytes()), rows["seq"].tolist(), rows["row"]["launcher"].tolist(), strict=True
        )
        for one, seq, launcher in told:
            kind, key = one[0], one[1:]
            if seq > self.reported.get(launcher, 0):
                self.reported[launcher] = seq
            ours.append(key in self.tasks)
            if kind == Kind.STARTED:
                self._started.add(key)
                continue
            self.tasks.pop(key, None)
            self.kills.pop(key, None)
            self._started.discard(key)
            if ours[-1] and kind == Kind.FINISHED and seq:
                self._unkept[key] = launcher, seq
            elif ours[-1] and kind == Kind.RECALLED:
                back.append(key)
        self._clear()
        self._came_back(back)
        return ours

    def _came_back(self, keys: list[Key]) -> None:
        """Write down that tasks are there no more: the next engine must not take their tickets for this machine's."""
        if keys and not self.is_clear:
            try:
                self._ledger.remove(keys)
            except OSError as error:  # it counts only if the engine dies before there is room, and they are sent again
                LOG.warning("what came back cannot be written down: %s", error)

    def kept(self, launcher: int, seq: int) -> None:
        """Take note that the ends which a launcher reported up to `seq` are kept: the next engine knows them."""
        for key in [key for key, (other, at) in self._unkept.items() if other == launcher and at <= seq]:
            del self._unkept[key]
        self._clear()

    def ackable(self, launcher: int) -> int:
        """Return up to which number a launcher may forget what it reported: all that is kept, or not wanted."""
        waiting = [seq for other, seq in self._unkept.values() if other == launcher]
        return min(waiting, default=self.reported.get(launcher, 0) + 1) - 1

    @property
    def is_clear(self) -> bool:
        """Whether it has no task, and all ends that it reported are kept."""
        return not self.tasks and not self._unkept

    def forget_others(self, launchers: Collection[int]) -> None:
        """Forget what was heard of launchers that are no more."""
        for number in self.reported.keys() - launchers:
            del self.reported[number]

    def _clear(self) -> None:
        if self.is_clear:
            self._ledger.clear()

    def news(self, told: Iterable[tuple[int, Reports]]) -> News:
        """Return what launchers, by number, tell at a meeting beyond what is known."""
        wanted: list[Reports] = []
        named: set[Key] = set()
        strays: list[Ticket] = []
        for number, reports in told:
            news = []
            self.reported[number] = max(self.reported.get(number, 0), int(reports.rows["seq"].max(initial=0)))
            for at, (kind, *ticket) in enumerate(frames.kinds_and_keys(reports.rows.tobytes())):
                key: Key = tuple(ticket)  # type: ignore[assignment]
                named.add(key)
                if key not in self.tasks:  # it was answered for: told before, or given up
                    if kind == Kind.STARTED:
                        strays.append(Ticket(*key))
                elif kind != Kind.STARTED or key not in self._started or at in reports.notes:
                    news.append(at)
            wanted.append(chosen(reports, news))
        return News(joined(wanted), [key for key in self.tasks if key not in named], strays)

    def lost(self, message: str, reason: Reason = Reason.LOST) -> Reports:
        """Return that all of them were lost, or ended for another reason."""
        rows = np.concatenate([np.zeros(0, REPORT), *(frames.about(Kind.FINISHED, key, 0) for key in self.tasks)])
        rows["row"]["reason"], rows["row"]["ended"] = reason, time.time()
        return Reports(rows, dict.fromkeys(range(len(rows)), message))

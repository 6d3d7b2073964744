"""Tasks that were lost with their launcher: each runs again at a launcher of its own.

One of them may have killed it, and would take the others along again and again.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import trio

from daggy.executor import Kind, Reason, Rows
from daggy.launcher import frames
from daggy.launcher.feeding import Account, Feeder
from daggy.launcher.host import Channel
from daggy.launcher.lanes import Lane
from daggy.seldom import Seldom

LOG = logging.getLogger("daggy.launcher")


class Suspects:
    """Runs the suspects of a host apart, within the widths of their lanes."""

    def __init__(
        self,
        feeder: Feeder,
        most: int,
        nursery: trio.Nursery,
        start: Callable[[], Awaitable[Channel]],
        serve: Callable[[Account], None],
    ) -> None:
        """Begin without any.

        Args:
            feeder: Has the lanes.
            most: Launchers of suspects at once, at most.
            nursery: Takes the tasks that start launchers.
            start: Starts a launcher.
            serve: Takes the account of a launcher that has been started.
        """
        self._feeder, self._most, self._nursery = feeder, most, nursery
        self._start, self._serve = start, serve
        self._seldom = Seldom()
        self._starting: dict[int, int] = {}  # launchers, by lane
        self._busy: set[int] = set()  # numbers of launchers that run a suspect
        self._idle: list[Account] = []  # launchers whose suspect has ended

    @property
    def is_starting(self) -> bool:
        """Whether a launcher is being started."""
        return any(self._starting.values())

    def suspect(self, rows: Rows) -> None:
        """Take note of the tasks that these REPORTs say were lost."""
        lost = rows[(rows["kind"] == Kind.FINISHED) & (rows["row"]["reason"] == Reason.LOST)]
        columns = lost["run"], lost["version"], lost["row"]["index"]
        self._feeder.suspected.update(zip(*(column.tolist() for column in columns), strict=True))

    def start(self) -> None:
        """Start launchers for suspects, as far as the widths of their lanes have room."""
        for lane in [lane for lane in self._feeder.lanes.values() if lane.suspects or lane.is_reserving]:
            while self._is_next(lane) and self._has_launcher and self._has_room(lane):
                if self._idle:
                    self._send(lane, self._idle.pop())
                else:
                    self._starting[lane.number] = self._starting.get(lane.number, 0) + 1
                    self._nursery.start_soon(self._start_for, lane)
            if lane.is_reserving and not self._is_next(lane):  # it was given back
                lane.is_reserving = False
                self._free(lane)

    @property
    def _has_launcher(self) -> bool:
        return bool(self._idle) or len(self._busy) + sum(self._starting.values()) < self._most

    def _send(self, lane: Lane, account: Account) -> None:
        """Send the first suspect of a lane to a launcher of its own."""
        self._busy.add(account.channel.number)
        key, (batch, launch) = lane.suspects.popitem(last=False)
        account.out[key] = lane, (batch, launch)
        account.channel.send(frames.launch(batch, [launch], 1))

    def _is_next(self, lane: Lane) -> bool:
        return len(lane.suspects) > self._starting.get(lane.number, 0)

    def _has_room(self, lane: Lane) -> bool:
        """Keep a part of a lane's width for one suspect; return whether other tasks have left it."""
        if not lane.is_reserving:
            lane.is_reserving = True
            lane.apart += 1
            self._feeder.rested([lane.number])
        used = sum(quota.most for quota in lane.quotas.values()) + self._feeder.occupied(lane.number) + lane.apart
        lane.is_reserving = used > lane.asked
        return not lane.is_reserving

    def _free(self, lane: Lane) -> None:
        lane.apart -= 1
        self._feeder.rested([lane.number])

    async def _start_for(self, lane: Lane) -> None:
        """Start a launcher and send it the first suspect of a lane, unless that has been given back meanwhile."""
        channel = None
        try:
            channel = await self._start()
        except (OSError, ValueError) as error:
            text = f"no launcher can be started for one task alone, it runs beside others: {error}"
            if said := self._seldom.of(text, trio.current_time()):
                LOG.warning(said)
            lane.waiting.update(lane.suspects)
            lane.suspects.clear()
        finally:
            self._starting[lane.number] -= 1
        account = Account(channel, is_apart=True) if channel else None
        if account is not None and lane.suspects:
            self._send(lane, account)
        else:
            self._free(lane)
        if account is not None:
            self._serve(account)
            self.release(account, is_kept=True)

    def release(self, account: Account, *, is_kept: bool) -> None:
        """Keep a launcher whose suspect has ended for the next one; without one let it go once its reports are kept."""
        if not account.is_apart or account.out or account.is_gone or account.channel.is_closing:
            return
        self._busy.discard(account.channel.number)
        if account not in self._idle:
            self._idle.append(account)
        if is_kept and not any(lane.suspects for lane in self._feeder.lanes.values()):
            self._idle.remove(account)
            account.channel.send(frames.stop(immediate=False))
            account.channel.close()

    def gone(self, account: Account) -> None:
        """Take note that a launcher is no more."""
        self._busy.discard(account.channel.number)
        if account in self._idle:
            self._idle.remove(account)

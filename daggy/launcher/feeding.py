"""Which launcher of a host gets which tasks: the lanes of the host, and what each of them has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from attrs import define, field, frozen

from daggy.executor import Kind, Launches
from daggy.launcher import frames
from daggy.launcher.frames import Key
from daggy.launcher.host import Channel
from daggy.launcher.lanes import Lane, Quota, Waiting

ONE_KEEPS_UP = 400.0
"""Processes a second that one launcher starts with ease."""
SWIFT = 0.02
"""Seconds: of tasks shorter than this, fewer than FEW are not worth moving from one launcher to another."""
FEW = 4


@define(eq=False)
class Account:
    """One launcher and what it has.

    Args:
        channel: The stream to it.
        out: What it was sent and has not come back, in the order sent, with its lane.
        started: Those of `out` that it has reported as started.
        moving: Those of `out` that are being taken back to go to another launcher.
        withdrawn: Those that the engine wants back, or ended.
        seq: The last sequence number that it reported.
        acked: The last one that it may forget.
        is_greeted: Whether it has answered.
        is_apart: Whether it gets suspects, one at a time, and nothing else.
        is_gone: Whether its stream has ended.
        trouble: Why it cannot write down what happens, and report it, at this moment; empty if it can.
    """

    channel: Channel
    out: dict[Key, tuple[Lane, Waiting]] = field(factory=dict)
    started: set[Key] = field(factory=set)
    moving: set[Key] = field(factory=set)
    withdrawn: set[Key] = field(factory=set)
    seq: int = 0
    acked: int = 0
    is_greeted: bool = False
    is_apart: bool = False
    is_gone: bool = False
    trouble: str = ""

    def of_lane(self, lane: Lane) -> list[Key]:
        """Return what it has of a lane, in the order sent."""
        return [key for key, (other, _) in self.out.items() if other is lane]


@frozen(eq=False)
class Heard:
    """What one frame of reports changes.

    Args:
        unwanted: Positions of reports that do not concern the engine.
        returned: By lane, tasks that come back to go to another launcher.
        lanes: The lanes in which something happened, and whether width was freed there.
    """

    unwanted: list[int] = field(factory=list)
    returned: dict[int, list[Key]] = field(factory=dict)
    lanes: dict[int, bool] = field(factory=dict)


@define(eq=False)
class Feeder:
    """The lanes of a host and its launchers' accounts.

    Args:
        occupied: Gives how much of a lane's width survivors use.
        lanes: By the engine's number.
        accounts: By the launcher's number; without those of launchers that run a suspect apart.
        suspected: Tasks (run, version, index) that were lost with a launcher: one of them may have killed it.
    """

    occupied: Callable[[int], int]
    lanes: dict[int, Lane] = field(factory=dict)
    accounts: dict[int, Account] = field(factory=dict)
    suspected: set[tuple[int, int, int]] = field(factory=set)

    def put(self, batch: Launches) -> tuple[Lane, bool]:
        """Put tasks in their lane; return it, and whether its width has changed. An empty batch only sets the width."""
        lane = self.lanes.get(batch.lane) or self.lanes.setdefault(batch.lane, Lane(batch.lane))
        run, version, epoch = batch.run, batch.version, batch.epoch
        for one in batch.launches:
            queue = lane.suspects if (run, version, one.index) in self.suspected else lane.waiting
            queue[run, version, one.index, epoch, one.attempt] = batch, one
        before = lane.width
        lane.asked, lane.epoch = batch.width, epoch
        self._set_room(lane)
        return lane, lane.width != before

    def _set_room(self, lane: Lane) -> None:
        """Give a lane what survivors and suspects leave of its width."""
        lane.width = max(0, lane.asked - self.occupied(lane.number) - lane.apart)

    def _free_apart(self, lane: Lane) -> None:
        lane.apart -= 1
        self._set_room(lane)

    def is_slow(self, lane: Lane, count: int) -> bool:
        """Return whether the tasks of a lane are so short that `count` launchers cannot keep up."""
        return bool(lane.waiting) and lane.width / max(lane.pace, 1e-3) > ONE_KEEPS_UP * count

    def rested(self, numbers: Iterable[int]) -> None:
        """Use the width that survivors freed in these lanes."""
        for lane in [self.lanes[number] for number in numbers if number in self.lanes]:
            self._set_room(lane)
            self.feed(lane, divide=True)

    def narrowed(self, account: Account, answer: frames.Narrowed) -> None:
        """Take in that a launcher has lowered a width: others may have it."""
        lane = self.lanes[answer.lane]
        lane.narrowed(account.channel.number, answer.width, answer.running)
        self.feed(lane, divide=True)

    def feed_all(self) -> None:
        """Divide all lanes anew: launchers have come or gone."""
        for lane in self.lanes.values():
            self.feed(lane, divide=True)

    def feed(self, lane: Lane, *, divide: bool = False) -> None:
        """Send each launcher what it can start, and a little more to go on with."""
        accounts = self.accounts
        if divide and accounts:
            for number, width in lane.divide([*accounts]):
                accounts[number].channel.send(frames.widen(lane.number, width, lane.epoch))
        ahead = lane.ahead
        quotas = [(number, quota) for number, quota in lane.quotas.items() if quota.width and number in accounts]
        for more in (0, ahead):  # first what can start at once, everywhere
            for position, (number, quota) in enumerate(quotas):
                if lane.waiting and quota.out <= quota.width + more // 2:
                    fair = -(-len(lane.waiting) // (len(quotas) - position))
                    room = quota.width + more - quota.out
                    self._send(lane, accounts[number], quota, min(room, fair) if more else room)
        if not lane.waiting and len(accounts) > 1:
            self._level(lane)

    def _send(self, lane: Lane, account: Account, quota: Quota, count: int) -> None:
        for batch, launches, keys in lane.take(count):
            account.out.update((key, (lane, (batch, one))) for key, one in zip(keys, launches, strict=True))
            quota.out += len(keys)
            account.channel.send(frames.launch(batch, launches, quota.width))

    def _level(self, lane: Lane) -> None:
        """Take tasks back that wait at one launcher while another has nothing to do."""
        idle = any(quota.out < quota.width for quota in lane.quotas.values())
        for number, quota in lane.quotas.items():
            account = self.accounts.get(number)
            surplus = quota.out - quota.width
            if surplus <= 0 or account is None or account.moving or (quota.width and not idle):
                continue
            mine = account.of_lane(lane)
            waiting = [key for key in mine if key not in account.started]
            slow = len(waiting) < len(mine) or lane.pace >= SWIFT
            if slow or surplus >= FEW or not quota.width:
                waiting = waiting[max(0, quota.width - (len(mine) - len(waiting))) :]
                account.moving.update(waiting[len(waiting) // 2 if quota.width else 0 :])
                account.channel.send(frames.recall(account.moving))

    def hear(self, account: Account, reported: frames.Reported) -> Heard:
        """Take in reports of a launcher."""
        heard = Heard()
        for at, (kind, *ticket) in enumerate(reported.keys):
            key: Key = tuple(ticket)  # type: ignore[assignment]
            known = account.out.get(key)
            if known is None:
                heard.unwanted.append(at)
                continue
            lane = known[0]
            freed = False
            if kind == Kind.STARTED:
                account.started.add(key)
                account.moving.discard(key)
            elif kind == Kind.RECALLED and key in account.moving:
                heard.returned.setdefault(lane.number, []).append(key)
                heard.unwanted.append(at)
            else:
                freed = self._back(account, key, lane, ended=kind == Kind.FINISHED)
            heard.lanes[lane.number] = freed or heard.lanes.get(lane.number, False)
        if reported.keys and reported.keys[-1][0] == Kind.FINISHED:
            self._pace(reported, heard.lanes)
        return heard

    def _back(self, account: Account, key: Key, lane: Lane, *, ended: bool) -> bool:
        """Take a task off a launcher's account; return whether that frees width for other launchers."""
        del account.out[key]
        account.started.discard(key)
        account.moving.discard(key)
        account.withdrawn.discard(key)
        if account.is_apart:
            if ended:
                self.suspected.discard(key[:3])
            self._free_apart(lane)
            return True
        if ended:
            return lane.ended(account.channel.number)
        lane.quotas[account.channel.number].out -= 1
        return False

    def _pace(self, reported: frames.Reported, lanes: Iterable[int]) -> None:
        attempts = reported.reports.rows["row"]
        started, ended = float(attempts["started"][-1]), float(attempts["ended"][-1])
        for number in lanes:
            self.lanes[number].paced(ended - started if started else 0.0)

    def go_on(self, account: Account, heard: Heard) -> list[Lane]:
        """Send what there is room for after reports; return the lanes in which something happened."""
        for number, keys in heard.returned.items():
            self._requeue(account, self.lanes[number], keys)
        lanes = [self.lanes[number] for number in heard.lanes]
        for lane in lanes:
            self.feed(lane, divide=heard.lanes[lane.number])
        return lanes

    def _requeue(self, account: Account, lane: Lane, keys: Sequence[Key]) -> None:
        if account.is_apart:
            for key in keys:
                lane.suspects[key] = account.out.pop(key)[1]
                self._free_apart(lane)
            return
        lane.give_back([(key, account.out.pop(key)[1]) for key in keys])
        account.moving.difference_update(keys)
        quota = lane.quotas.get(account.channel.number)
        if quota is not None:
            quota.out -= len(keys)

    def requeue_all(self, account: Account) -> None:
        """Put back in their lanes all tasks of a launcher that has died."""
        for lane in self.lanes.values():
            self._requeue(account, lane, account.of_lane(lane))

    def drop(self, number: int) -> None:
        """Close the account of a launcher that has gone."""
        self.accounts.pop(number, None)
        for lane in self.lanes.values():
            lane.quotas.pop(number, None)

    def suspects(self, account: Account) -> set[Key]:
        """Return what a launcher may have been running: what it had started, and what it had the width for."""
        if account.is_apart:
            return set(account.out)
        suspects = set(account.started)
        for lane in self.lanes.values():
            quota = lane.quotas.get(account.channel.number)
            suspects.update(account.of_lane(lane)[: quota.most if quota else 0])
        return suspects

    def take_waiting(self, keys: set[Key] | None = None) -> list[Key]:
        """Remove what waits for a launcher, or those of these tasks that do, and return it."""
        taken = []
        for queue in [queue for lane in self.lanes.values() for queue in (lane.waiting, lane.suspects)]:
            for key in [key for key in queue if keys is None or key in keys]:
                del queue[key]
                taken.append(key)
        return taken

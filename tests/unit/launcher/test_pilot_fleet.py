"""A pool of pilots at a place that does not do what it should, in simulated time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from daggy.attempt import Reason
from daggy.errors import Problem
from daggy.executor import Arrival, Demand, JoinError, NodeState, Request, Site, Stop, Visit, Wanted, Work
from daggy.launcher.host import Terms
from daggy.launcher.pilots.autoscaler import Autoscaler
from daggy.launcher.pilots.fleet import PilotFleet
from daggy.launcher.pilots.plan import Pilot, Size
from daggy.launcher.queues import Fate, QueueError

MINUTES = 60.0


class Place:
    """A queue in which pilots wait, or end at once."""

    noun = "job"

    def __init__(self, fate: Fate | None = None, *, is_away: bool = False) -> None:
        self.fate_of, self.is_away = fate, is_away
        self.submitted: list[float] = []
        self.cancelled: list[str] = []
        self.there: list[Pilot] = []
        self.looks = 0

    async def open(self) -> None:
        await trio.lowlevel.checkpoint()

    async def submit(self, slots: Sequence[int]) -> list[Pilot]:
        await trio.sleep(0.01)
        self.submitted.append(trio.current_time())
        made = [Pilot(f"{len(self.submitted)}_{slot}", slot, is_queued=True, said="PENDING") for slot in slots]
        if self.fate_of is None:
            self.there += made
        return made

    async def look(self) -> list[Pilot]:
        await trio.sleep(0.01)
        self.looks += 1
        if self.is_away:
            raise QueueError("nobody is there")
        return self.there

    async def cancel(self, jobs: Sequence[str]) -> None:
        await trio.lowlevel.checkpoint()
        self.cancelled += jobs
        self.there = [one for one in self.there if one.job not in jobs]

    async def cancel_all(self) -> None:
        await self.cancel([one.job for one in self.there])

    async def fate(self, pilot: Pilot) -> Fate:
        await trio.lowlevel.checkpoint()
        return self.fate_of or Fate("CANCELLED", is_over=True, was_cancelled=True)

    def forget(self, pilot: Pilot) -> None:
        """Nothing is left."""

    def close(self) -> None:
        """Nothing is left."""


class Pool(PilotFleet):
    def check(self, work: Work) -> Iterable[Problem]:
        return []


def pool(place: Place, directory: Path) -> Pool:
    size = Size(4, {"cores": 4.0}, 3600.0, 120.0)
    return Pool(Site("hpc", directory, "x", durable=False), Terms(), 900.0, size, place, 10.0, 60.0)


async def wanting(place: Place, directory: Path, tasks: Sequence[tuple[float, int]]) -> Pool:
    """Run a pool that is told at these times, in seconds from one to the next, how many tasks find no room."""
    made = pool(place, directory)
    send, receive = trio.open_memory_channel[Request](math.inf)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.run, receive, lambda _: None, lambda: None)
        for pause, count in tasks:
            send.send_nowait(Wanted([Demand({"cores": 1.0}, count, 0.0)] if count else []))
            await trio.sleep(pause)
        send.send_nowait(Stop())
    return made


@pytest.fixture
def clock() -> trio.testing.MockClock:
    return trio.testing.MockClock(autojump_threshold=0)


def test_what_fails_at_once_is_asked_for_ever_less_often(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    place = Place(Fate("FAILED on n1", is_over=True))
    made = trio.run(wanting, place, tmp_path, [(30 * MINUTES, 8)], clock=clock)
    assert 6 <= len(place.submitted) <= 14
    assert "ended before its agent had joined: FAILED on n1" in made.trouble


def test_what_somebody_cancels_is_asked_for_again(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    place = Place(Fate("CANCELLED", is_over=True, was_cancelled=True))
    made = trio.run(wanting, place, tmp_path, [(MINUTES, 8)], clock=clock)
    assert len(place.submitted) > 6
    assert made.trouble == ""


def test_what_waits_and_nothing_needs_any_more_is_cancelled_after_a_while(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    place = Place()
    trio.run(wanting, place, tmp_path, [(MINUTES, 16), (MINUTES, 4), (5 * MINUTES, 4), (5 * MINUTES, 0)], clock=clock)
    assert len(place.submitted) == 1
    assert len(place.cancelled) == 4
    assert place.there == []


def test_a_place_that_is_away_is_said_and_not_asked_for_more(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    place = Place(is_away=True)
    made = trio.run(wanting, place, tmp_path, [(10 * MINUTES, 8)], clock=clock)
    assert len(place.submitted) == 1
    assert made.trouble == "nobody is there"
    assert [(node.name, node.state) for node in made.nodes()] == [
        ("pilot-0", NodeState.PENDING),
        ("pilot-1", NodeState.PENDING),
    ]


def test_nothing_is_asked_of_a_place_while_nothing_is_there(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    place = Place()
    trio.run(wanting, place, tmp_path, [(10 * MINUTES, 0)], clock=clock)
    assert place.looks == 1
    assert not place.submitted


class Completing(Place):
    """A place whose pilots end while they run: no more listed, yet not over the first times that somebody asks."""

    asked = 0

    def __init__(self, ending: int = 1, *, is_ending: bool = False) -> None:
        super().__init__()
        self.ending, self.is_ending = ending, is_ending

    async def look(self) -> list[Pilot]:
        await trio.sleep(0.01)
        return []

    async def fate(self, pilot: Pilot) -> Fate:
        await trio.lowlevel.checkpoint()
        self.asked += 1
        if self.asked <= self.ending:
            return Fate("COMPLETING", is_ending=self.is_ending)
        return Fate("CANCELLED", is_over=True)


class Silent:
    """Machines of pilots that have joined, of which none is heard any more; keeps what is given up, and when."""

    launchers = None

    def __init__(self) -> None:
        self.sent = self
        self.tasks = [1]
        self.given_up: list[tuple[float, str]] = []

    def give_up(self, message: str, reason: Reason) -> None:
        del reason
        self.given_up.append((trio.current_time(), message))

    def remote_of(self, pilot: Pilot) -> Any:
        del pilot
        return None if self.given_up else self

    def taken(self) -> list[int]:
        return []

    def known(self) -> list[Pilot]:
        return []

    def changed(self) -> None:
        """Nobody looks."""


@pytest.mark.parametrize(("place", "least"), [(Completing(), 0.0), (Completing(30, is_ending=True), 2 * MINUTES)])
def test_a_pilot_that_was_still_ending_is_given_up_once_it_is_over(
    clock: trio.testing.MockClock, place: Completing, least: float
) -> None:
    machines: Any = Silent()

    async def scenario() -> None:
        scaler = Autoscaler("hpc", place, Size(1, {"cores": 4.0}, 3600.0, 120.0), 10.0, machines)
        scaler.want(Wanted([Demand({"cores": 1.0}, 1, 0.0)]))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(scaler.run)
            await trio.sleep(3)
            scaler.join("1_0")
            scaler.want(Wanted([]))
            await trio.sleep(MINUTES / 2 + 5 * least)
            nursery.cancel_scope.cancel()

    trio.run(scenario, clock=clock)
    ((at, message),) = machines.given_up
    assert at >= least
    assert message == "job 1_0: CANCELLED"


class Visitor(Visit):
    """A connection over which nothing is sent."""

    def __init__(self) -> None:
        _, self.words = trio.open_memory_channel[Mapping[str, Any]](0)

    async def say(self, word: Mapping[str, Any]) -> None:
        await trio.lowlevel.checkpoint()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        return b""

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


@pytest.mark.parametrize(("name", "is_final"), [("pilot-0", False), ("pilot-4", True), ("box", True), ("pilot-", True)])
def test_who_is_not_taken_is_told_whether_to_try_again(tmp_path: Path, name: str, *, is_final: bool) -> None:
    made = pool(Place(), tmp_path)  # it does not run yet
    with pytest.raises(JoinError) as caught:
        trio.run(made.join, Arrival(name, "x", "/tmp", "/tmp", job="1_0"), Visitor())
    assert caught.value.is_final is is_final

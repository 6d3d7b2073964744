"""Widths shared among launchers: never exceeded in sum whatever the delays, and nothing is left undone."""

from __future__ import annotations

from collections import deque

from hypothesis import given, strategies as st

from daggy.executor import Launch, Launches
from daggy.launcher.lanes import Lane


class FarLane:
    """One lane at a launcher, and the messages on their way to and from it."""

    def __init__(self) -> None:
        self.width = self.running = self.waiting = 0
        self.orders: deque[tuple[str, int]] = deque()
        self.answers: deque[tuple[str, int, int]] = deque()

    def hear(self) -> None:
        what, number = self.orders.popleft()
        if what == "width":
            if number < self.width:
                self.answers.append(("narrowed", number, self.running))
            self.width = number
        else:
            self.waiting += number
        self.start()

    def start(self) -> None:
        while self.waiting and self.running < self.width:
            self.waiting -= 1
            self.running += 1

    def end(self) -> None:
        if self.running:
            self.running -= 1
            self.answers.append(("ended", 0, 0))
            self.start()


class Simulation:
    def __init__(self, number: int) -> None:
        self.lane = Lane(number)
        self.far: dict[int, FarLane] = {}
        self.done = self.sent = 0

    def divide(self) -> None:
        if self.far:
            for launcher, width in self.lane.divide([*self.far]):
                self.far[launcher].orders.append(("width", width))

    def add(self) -> None:
        self.far[len(self.far) + 1] = FarLane()
        self.divide()

    def widen(self, width: int) -> None:
        self.lane.width = width
        self.divide()

    def submit(self, count: int) -> None:
        batch = Launches(1, 1, 1, "m", self.lane.number, self.lane.width, ())
        for index in range(self.sent, self.sent + count):
            self.lane.waiting[1, 1, index, 1, 1] = batch, Launch(index, 1, [], {}, "")
        self.sent += count

    def feed(self) -> None:
        for launcher, far in self.far.items():
            quota = self.lane.quotas[launcher]
            if quota.width:
                count = sum(len(keys) for _, _, keys in self.lane.take(quota.width + 1 - quota.out))
                quota.out += count
                far.orders.append(("tasks", count))

    def hear(self, launcher: int) -> None:
        what, width, running = self.far[launcher].answers.popleft()
        if what == "narrowed":
            self.lane.narrowed(launcher, width, running)
            self.divide()
        else:
            self.done += 1
            if self.lane.ended(launcher):
                self.divide()

    def running(self) -> int:
        return sum(far.running for far in self.far.values())


MOVES = st.one_of(
    st.tuples(st.just("add"), st.just(0)),
    st.tuples(st.just("submit"), st.integers(1, 10)),
    st.tuples(st.sampled_from(["order", "answer", "end", "feed"]), st.integers(0, 5)),
)


def move(simulation: Simulation, what: str, number: int) -> None:
    launcher = 1 + number % len(simulation.far)
    far = simulation.far[launcher]
    if what == "add":
        if len(simulation.far) < 4:
            simulation.add()
    elif what == "submit":
        simulation.submit(number)
    elif what == "feed":
        simulation.feed()
    elif what == "order" and far.orders:
        far.hear()
    elif what == "answer" and far.answers:
        simulation.hear(launcher)
    elif what == "end":
        far.end()


@given(st.integers(0, 3), st.integers(1, 7), st.lists(MOVES, max_size=80))
def test_never_more_than_the_width_at_once_and_all_is_done_in_the_end(
    number: int, width: int, moves: list[tuple[str, int]]
) -> None:
    simulation = Simulation(number)
    simulation.add()
    simulation.widen(width)
    for one in moves:
        move(simulation, *one)
        assert simulation.running() <= width
    for _ in range(1000):
        for launcher, far in simulation.far.items():
            while far.orders:
                far.hear()
            far.end()
            while far.answers:
                simulation.hear(launcher)
            assert simulation.running() <= width
        simulation.feed()
    stranded = sum(far.waiting for far in simulation.far.values() if not far.width)
    assert simulation.done + stranded == simulation.sent  # those are recalled: the launchers' business, not the lane's
    quotas = [quota.width for quota in simulation.lane.quotas.values()]
    assert sum(quotas) == width
    assert max(quotas) - min(quotas) <= 1


@given(st.integers(0, 20), st.integers(1, 6), st.integers(0, 9))
def test_the_division_is_even_and_whole(width: int, count: int, number: int) -> None:
    targets = Lane(number, width).targets(range(count))
    assert sum(targets.values()) == width
    assert max(targets.values()) - min(targets.values()) <= 1


@given(st.lists(st.integers(0, 9), max_size=6), st.integers(0, 12), st.integers(0, 12))
def test_tasks_are_taken_in_order_and_in_runs_of_one_batch(sizes: list[int], first: int, second: int) -> None:
    lane = Lane(0)
    expected = []
    for run, size in enumerate(sizes):
        batch = Launches(run, 1, 1, "m", 0, 1, ())
        for index in range(size):
            lane.waiting[run, 1, index, 1, 1] = batch, Launch(index, 1, [], {}, "")
            expected.append((run, index))
    taken = []
    for count in (first, second):
        for batch, launches, keys in lane.take(count):
            assert [key[2] for key in keys] == [launch.index for launch in launches]
            taken += [(batch.run, launch.index) for launch in launches]
    assert taken == expected[: first + second]
    assert [(key[0], key[2]) for key in lane.waiting] == expected[first + second :]


def test_what_comes_back_waits_before_the_others_in_its_order() -> None:
    lane = Lane(0)
    batch = Launches(1, 1, 1, "m", 0, 1, ())
    for index in range(6):
        lane.waiting[1, 1, index, 1, 1] = batch, Launch(index, 1, [], {}, "")
    ((_, launches, keys),) = lane.take(3)
    lane.give_back([(key, (batch, launch)) for key, launch in zip(keys, launches, strict=True)])
    assert [key[2] for key in lane.waiting] == list(range(6))


def test_tasks_ahead_follow_how_long_tasks_take() -> None:
    lane = Lane(0)
    for _ in range(40):
        lane.paced(0.001)
    assert lane.ahead > 20
    for _ in range(40):
        lane.paced(1.0)
    assert lane.ahead == 0

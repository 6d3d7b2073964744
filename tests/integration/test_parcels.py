"""Parcels and the program that runs their elements, by hand in place of a batch system."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from daggy.attempt import LINKED, STOPPED, Kind, Reason
from daggy.executor import Launch, Launches
from daggy.launcher import bundle, frames, logs
from daggy.launcher.parcels.folder import ALIVE, Item, Parcel, Shelf, Stage, Told
from daggy_slurm.script import ELEMENT

RUN, VERSION, EPOCH = 7, 2, 3
COMMON = {"environment": {"PATH": os.environ["PATH"]}, "inherit": False, "output_bytes": 0}


class Desk:
    """A state directory, a directory for parcels, and the program of elements."""

    def __init__(self, place: Path) -> None:
        self.state, self.home, self.program = place / "state", place / "home", bundle.install(place / "shared")
        self.state.mkdir()
        self.instance = os.urandom(8).hex()
        self.words = place / "words"
        self.shelf = Shelf(self.state, self.state / "parcels")

    def parcel(self, *scripts: str, each: int = 1) -> Parcel:
        launches = [Launch(at, 1, ["/bin/sh", "-c", script], {}, "/") for at, script in enumerate(scripts)]
        items = [Item((RUN, VERSION, one.index, EPOCH, one.attempt)) for one in launches]
        made = Parcel(self.home / "1", self.state, 1, items, each)
        self.shelf.add(made)
        made.write(
            {**COMMON, "instance": self.instance},
            [(Launches(RUN, VERSION, EPOCH, "place", 0, 1, launches, {"cores": 1.0}), launches)],
        )
        return made

    def start(self, parcel: Parcel, element: int = 0) -> subprocess.Popen[bytes]:
        order = [sys.executable, "-I", "-S", "-E", "-c", ELEMENT, str(self.program), str(parcel.folder), str(element)]
        with self.words.open("wb") as words:
            return subprocess.Popen([*order, str(parcel.each)], stderr=words)

    def run(self, parcel: Parcel, element: int = 0) -> None:
        assert self.start(parcel, element).wait(60) == 0
        assert self.words.read_text() == ""

    def output(self, told: Told, stream: str = "stdout") -> bytes:
        return logs.read(self.state, RUN, VERSION, told.row["row"][0], stream, 0, 1 << 30)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    assert not list(Path(os.environ.get("TMPDIR") or "/tmp").glob(f"daggy-{made.instance}-*"))


def ends(told: Sequence[Told]) -> dict[int, Told]:
    return {one.number: one for one in told if one.row["kind"][0] == Kind.FINISHED}


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)  # there is no event of another process to wait for


def test_an_element_runs_its_tasks_one_after_the_other_and_tells_all_of_them(desk: Desk) -> None:
    parcel = desk.parcel("echo a; echo b >&2", "exit 3", "head -c 2000000 /dev/zero", "echo other", each=3)
    desk.run(parcel)
    told = parcel.collect()
    assert [int(one.row["kind"][0]) for one in told] == [Kind.STARTED, Kind.FINISHED] * 3
    found = ends(told)
    assert (desk.output(found[0]), desk.output(found[0], "stderr")) == (b"a\n", b"b\n")
    assert (found[1].row["row"]["reason"][0], found[1].row["row"]["code"][0]) == (Reason.EXIT, 3)
    assert found[2].row["row"]["flags"][0] & LINKED
    assert desk.output(found[2]) == bytes(2_000_000)
    assert [int(one.row["seq"][0]) for one in found.values()] == [1, 2, 3]
    assert parcel.collect() == []
    assert parcel.is_open
    desk.run(parcel, 1)
    assert desk.output(ends(parcel.collect())[3]) == b"other\n"
    assert not parcel.is_open


def test_what_ran_once_never_runs_again(desk: Desk, tmp_path: Path) -> None:
    parcel = desk.parcel(f"echo >> {tmp_path}/ran")
    desk.run(parcel)
    desk.run(parcel)
    assert (tmp_path / "ran").read_text() == "\n"


@pytest.mark.parametrize("has_links", [True, False])
def test_what_was_taken_back_never_begins_and_what_has_begun_is_not_taken_back(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_links: bool
) -> None:
    if not has_links:  # as on a filesystem that has none, which cannot be had here

        def refused(*_: object) -> None:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

        monkeypatch.setattr("os.link", refused)
    parcel = desk.parcel(f"echo 0 >> {tmp_path}/ran", f"echo 1 >> {tmp_path}/ran", each=2)
    assert parcel.take_back([0]) == [0]
    desk.run(parcel)
    assert (tmp_path / "ran").read_text() == "1\n"
    assert parcel.take_back([0, 1]) == []
    assert list(ends(parcel.collect())) == [1]


def test_a_parcel_that_is_gone_does_nothing(desk: Desk, tmp_path: Path) -> None:
    parcel = desk.parcel(f"echo >> {tmp_path}/ran")
    parcel.remove()
    desk.run(parcel)
    assert not (tmp_path / "ran").exists()
    assert parcel.take_back([0]) == [0]


def test_a_task_that_is_doomed_is_ended_with_the_message_whether_it_runs_or_begins_later(desk: Desk) -> None:
    parcel = desk.parcel("exec sleep 1000", "exec sleep 1000", each=2)
    process = desk.start(parcel)
    until(parcel.collect)
    parcel.doom({0: "enough", 1: "enough, too"})
    process.send_signal(signal.SIGUSR1)
    assert process.wait(60) == 0
    found = ends(parcel.collect())
    assert [one.row["row"]["reason"][0] for one in found.values()] == [Reason.KILLED] * 2
    assert [one.message for one in found.values()] == ["enough", "enough, too"]


def test_what_a_job_takes_with_it_when_it_ends_says_so(desk: Desk) -> None:
    parcel = desk.parcel("exec sleep 1000", "echo never", each=2)
    process = desk.start(parcel)
    until(parcel.collect)
    process.terminate()
    assert process.wait(60) == 0
    (told,) = ends(parcel.collect()).values()
    assert told.row["row"]["flags"][0] & STOPPED
    assert parcel.items[1].stage is Stage.QUEUED


def test_a_task_that_ends_itself_by_a_signal_is_not_taken_for_that(desk: Desk) -> None:
    parcel = desk.parcel("kill -TERM $$")
    desk.run(parcel)
    (told,) = ends(parcel.collect()).values()
    assert (told.row["row"]["reason"][0], told.row["row"]["flags"][0] & STOPPED) == (Reason.SIGNAL, 0)


def test_nothing_begins_for_an_engine_that_has_gone(desk: Desk, tmp_path: Path) -> None:
    parcel = desk.parcel(f"echo >> {tmp_path}/ran")
    alive = desk.home / ALIVE
    alive.touch()
    os.utime(alive, (time.time() - 1000, time.time() - 1000))
    desk.run(parcel)
    assert not (tmp_path / "ran").exists()
    alive.touch()
    desk.run(parcel)
    assert (tmp_path / "ran").exists()


def test_the_next_engine_is_told_all_of_it(desk: Desk) -> None:
    parcel = desk.parcel("echo kept", "exec sleep 1000", "true", "true")
    parcel.name_job("51")
    desk.run(parcel, 0)
    process = desk.start(parcel, 1)
    until(lambda: parcel.collect() and parcel.items[1].stage is Stage.BEGUN)
    assert parcel.take_back([2]) == [2]
    lost = frames.about(Kind.FINISHED, parcel.items[3].key, parcel.number)
    lost["row"]["reason"] = Reason.LOST
    assert parcel.give_up(3, lost, "its job is gone") is not None
    (again,) = desk.shelf.parcels()
    told = ends(again.collect())
    assert again.job == "51"
    assert desk.output(told[0]) == b"kept\n"
    assert (told[3].row["row"]["reason"][0], told[3].message) == (Reason.LOST, "its job is gone")
    assert [item.stage for item in again.items] == [Stage.ENDED, Stage.BEGUN, Stage.BACK, Stage.ENDED]
    process.terminate()
    assert process.wait(60) == 0

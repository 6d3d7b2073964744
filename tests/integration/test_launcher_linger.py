"""A launcher whose engine dies or leaves, over its wire: what it keeps, whom it lets in, when it goes."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from daggy.attempt import Kind, Reason
from daggy.errors import DirectoryError
from daggy.executor import Machine, Site
from daggy.launcher import dead_launchers, frames, meeting
from daggy.launcher.host import Found, Met, Terms
from daggy.launcher.local_channel import LocalChannel
from daggy.launcher.local_host import LocalHost
from daggy.launcher.program.wire import VERSION
from tests.integration.linger_rig import Scene, becomes, hello, launch, scene

GATED = ["sh", "-c", "while ! test -e gate; do sleep 0.02; done; echo ran >> ran"]


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Scene]:
    with scene(tmp_path) as made:
        yield made


def site(at: Scene) -> Site:
    return Site("default", at.directory, "t", durable=True, linger=True)


async def found(at: Scene, epoch: int) -> Found:
    """What an engine finds on this machine."""
    return await LocalHost(site(at), Machine("here", {}), Terms(), 1).meet(epoch)


async def met(at: Scene, epoch: int) -> Met:
    """The one launcher that lives, whose channel is dropped again."""
    (one,) = (await found(at, epoch)).alive
    assert isinstance(one.channel, LocalChannel)
    one.channel.drop()
    return one


def reasons(rows: dict[int, object]) -> dict[int, Reason]:
    return {index: Reason(int(row["row"]["reason"])) for index, row in rows.items()}  # type: ignore[index]


def test_what_ended_and_what_runs_is_told_to_the_next_engine(at: Scene) -> None:
    first = at.start(hello(at.directory, epoch=5), launch(at.directory, ["true"], GATED))
    first.until(lambda: 1 in first.reported(Kind.STARTED) and 0 in first.reported(Kind.FINISHED))
    first.close()
    second = at.call()
    second.send(hello(at.directory, epoch=6))
    second.until(lambda: second.is_greeted)
    assert reasons(second.reported(Kind.FINISHED)) == {0: Reason.OK}
    (row,) = second.reported(Kind.STARTED).values()
    assert (row["run"], row["version"], row["row"]["index"], row["epoch"], row["row"]["attempt"]) == (7, 1, 1, 5, 1)
    second.send(frames.ack(1))
    (at.directory / "gate").touch()
    second.until(lambda: 1 in second.reported(Kind.FINISHED))
    second.close()
    third = at.call()
    third.send(hello(at.directory, epoch=6))
    third.until(lambda: third.is_greeted)
    assert list(third.reported(Kind.FINISHED)) == [1]


def test_a_later_engine_takes_the_place_of_an_earlier_one_and_an_earlier_one_is_refused(at: Scene) -> None:
    first = at.start(hello(at.directory, epoch=5))
    first.until(lambda: first.is_greeted)
    second = at.call()
    second.send(hello(at.directory, epoch=6))
    second.until(lambda: second.is_greeted)
    first.until_hung_up()
    stale = at.call()
    stale.send(hello(at.directory, epoch=5) + launch(at.directory, ["touch", "stale"]))
    stale.until_hung_up()
    assert [answer.epoch for answer in stale.heard if isinstance(answer, frames.Hello)] == [6]
    second.send(launch(at.directory, ["touch", "fresh"], epoch=6))
    second.until(lambda: second.reported(Kind.FINISHED))
    assert not (at.directory / "stale").exists()


def test_what_has_not_started_when_an_engine_comes_is_its_to_send_again(at: Scene) -> None:
    first = at.start(hello(at.directory, epoch=5), launch(at.directory, GATED, ["touch", "twice"], width=1))
    first.until(lambda: 0 in first.reported(Kind.STARTED))
    first.close()
    second = at.call()
    second.send(hello(at.directory, epoch=6))
    second.until(lambda: second.is_greeted)
    assert list(second.reported(Kind.STARTED)) == [0]
    (at.directory / "gate").touch()
    second.until(lambda: 0 in second.reported(Kind.FINISHED))
    second.close()
    os.kill(at.pid(), signal.SIGKILL)
    becomes(lambda: not at.alive())
    assert dead_launchers.read(at.directory, "t", 1).reports.rows["row"]["index"].tolist() == [0]
    assert not (at.directory / "twice").exists()


def test_without_an_engine_it_goes_on_with_what_it_has_accepted(at: Scene) -> None:
    first = at.start(hello(at.directory, epoch=5), launch(at.directory, GATED, GATED, GATED, width=1))
    first.until(lambda: 0 in first.reported(Kind.STARTED))
    first.close()
    (at.directory / "gate").touch()
    becomes(lambda: (at.directory / "ran").exists() and (at.directory / "ran").read_text().count("ran") == 3)


def test_it_is_a_process_of_its_own_that_no_hangup_ends(at: Scene) -> None:
    first = at.start(hello(at.directory, epoch=5), launch(at.directory, GATED))
    first.until(lambda: 0 in first.reported(Kind.STARTED))
    pid = at.pid()
    assert os.getsid(pid) == pid
    os.kill(pid, signal.SIGHUP)
    (at.directory / "gate").touch()
    first.until(lambda: 0 in first.reported(Kind.FINISHED))
    assert reasons(first.reported(Kind.FINISHED)) == {0: Reason.OK}


def test_its_socket_is_its_owners_alone(at: Scene) -> None:
    first = at.start(hello(at.directory, epoch=5))
    first.until(lambda: first.is_greeted)
    assert stat.S_IMODE((at.home / "socket").stat().st_mode) == 0o600
    assert stat.S_IMODE(at.home.stat().st_mode) == 0o700


def test_who_speaks_nonsense_at_the_socket_is_hung_up_on(at: Scene) -> None:
    first = at.start(hello(at.directory, epoch=5), launch(at.directory, GATED))
    first.until(lambda: 0 in first.reported(Kind.STARTED))
    for nonsense in (b"\x00\x00\x00\x00h", b"\x02\x00\x00\x00h{}", b"\x04\x00\x00\x00hnull", launch(at.directory)):
        other = at.call()
        other.send(nonsense)
        other.until_hung_up()
    (at.directory / "gate").touch()
    first.until(lambda: 0 in first.reported(Kind.FINISHED))


def test_one_that_boots_after_it_was_taken_for_dead_starts_nothing(at: Scene) -> None:
    """Its engine died while it was being started; the next one has heard everybody and launches."""
    trio.run(found, at, 6)
    late = at.start(hello(at.directory, epoch=5), launch(at.directory, ["touch", "twice"]))
    late.close()
    at.started[0].wait(20)
    becomes(lambda: not at.alive())
    assert not (at.directory / "twice").exists()


def test_without_an_engine_and_without_work_it_leaves_and_its_spool_stays(at: Scene) -> None:
    first = at.start(hello(at.directory, epoch=5, linger=0.3), launch(at.directory, GATED, ["true"]))
    first.until(lambda: 1 in first.reported(Kind.FINISHED) and 0 in first.reported(Kind.STARTED))
    first.close()
    (at.directory / "gate").touch()
    assert at.started[0].wait(20) == 0
    there = trio.run(found, at, 6)
    (left,) = there.dead
    assert not there.alive
    assert {int(row["row"]["index"]) for row in left.reports.rows} == {0, 1}
    assert not left.reports.rows["row"]["reason"].any()


def test_one_whose_directory_was_removed_leaves_when_its_tasks_have_ended(at: Scene) -> None:
    gate = at.directory / "gate"
    first = at.start(hello(at.directory, epoch=5, linger=0.2), launch(at.directory, GATED))
    first.until(lambda: 0 in first.reported(Kind.STARTED))
    first.close()
    shutil.rmtree(at.directory / "launchers")
    shutil.rmtree(at.directory / "runs")
    gate.touch()
    assert at.started[0].wait(20) == 0
    assert (at.directory / "ran").exists()


@pytest.mark.parametrize("way", ["other version", "later engine"])
def test_one_that_cannot_be_taken_up_is_named_with_the_mend(at: Scene, way: str) -> None:
    first = at.start(
        hello(at.directory, epoch=5 if way == "other version" else 7), launch(at.directory, GATED, epoch=7)
    )
    first.until(lambda: first.is_greeted)
    spoken = hello(at.directory, epoch=6)
    said = spoken.replace(b'"version":%d' % VERSION, b'"version":2') if way == "other version" else spoken
    other = at.call()
    other.send(said)
    other.until_hung_up()
    (answer,) = [one for one in other.heard if isinstance(one, frames.Hello)]
    assert (answer.pid, answer.version) == (at.pid(), VERSION)
    if way == "later engine":
        with pytest.raises(DirectoryError, match=rf"process {at.pid()} works for a later engine \(7; this one: 6\)"):
            trio.run(found, at, 6)
    (at.directory / "gate").touch()
    first.until(lambda: 0 in first.reported(Kind.FINISHED))


def test_one_of_another_version_is_refused(at: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    first = at.start(hello(at.directory, epoch=5), launch(at.directory, GATED))
    first.until(lambda: 0 in first.reported(Kind.STARTED))
    monkeypatch.setattr(frames, "VERSION", VERSION + 1)
    monkeypatch.setattr(meeting, "VERSION", VERSION + 1)
    with pytest.raises(DirectoryError, match=rf"process {at.pid()} was started by another version of Daggy"):
        trio.run(found, at, 6)
    (at.directory / "gate").touch()
    first.until(lambda: 0 in first.reported(Kind.FINISHED))


def test_one_that_hangs_is_killed_and_what_it_ran_is_lost(at: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    first = at.start(hello(at.directory, epoch=5), launch(at.directory, GATED, ["true"]))
    first.until(lambda: 0 in first.reported(Kind.STARTED) and 1 in first.reported(Kind.FINISHED))
    pid = at.pid()
    os.kill(pid, signal.SIGSTOP)
    first.close()
    monkeypatch.setattr(meeting, "UNSAID", 0.3)
    there = trio.run(found, at, 6)
    (left,) = there.dead
    assert not there.alive
    assert at.started[0].wait(20) == -signal.SIGKILL
    assert {int(row["row"]["index"]): row["row"]["reason"] for row in left.reports.rows} == {
        0: Reason.LOST,
        1: Reason.OK,
    }


def test_one_that_is_only_starting_is_waited_for(at: Scene) -> None:
    """Its engine died when it had barely been told whose it is."""
    first = at.start()
    first.send(hello(at.directory, epoch=5), launch(at.directory, GATED))
    becomes(at.alive)
    first.close()
    assert list(trio.run(met, at, 6).lanes) in ([], [(7, 1, 0, 5, 1)])


def test_what_comes_right_behind_the_greeting_is_heard(at: Scene) -> None:
    """Tasks end at any moment, also while an engine is told what runs."""
    count = 300
    first = at.start(hello(at.directory, epoch=5), launch(at.directory, *[["true"]] * count, width=4))
    first.until(lambda: first.reported(Kind.FINISHED))
    first.close()
    heard: Counter[int] = Counter()

    async def take_up(epoch: int) -> None:
        (one,) = (await found(at, epoch)).alive
        running = {key[2] for key in one.lanes}

        def take(said: list[frames.Answer]) -> None:
            for told in [answer for answer in said if isinstance(answer, frames.Reported)]:
                ended = told.reports.rows[told.reports.rows["kind"] == Kind.FINISHED]
                heard.update(ended["row"]["index"].tolist())
            if running <= heard.keys():
                one.channel.close(leave=True)

        take([frames.Reported(one.reports, [])])
        with trio.fail_after(20):
            await one.channel.serve(take)

    trio.run(take_up, 6)
    assert heard
    assert set(heard.values()) == {1}


def test_a_path_longer_than_an_address_is_no_obstacle(tmp_path: Path) -> None:
    long = tmp_path / ("d" * 100) / ("e" * 100)
    long.mkdir(parents=True)
    with scene(long) as at:
        first = at.start(hello(long, epoch=5), launch(long, GATED))
        first.until(lambda: 0 in first.reported(Kind.STARTED))
        first.close()
        assert list(trio.run(met, at, 6).lanes) == [(7, 1, 0, 5, 1)]
        (long / "gate").touch()


def room(directory: Path) -> None:
    directory.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(directory)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small filesystem")


def test_what_ended_and_found_no_room_is_not_launched_again(tmp_path: Path) -> None:
    """More ends than the last page of the spool takes, on a disk that has no other."""
    disk, count = tmp_path / "disk", 60
    room(disk)
    os.mkfifo(tmp_path / "gate")
    try:
        with scene(disk) as at:
            first = at.start(
                hello(disk, epoch=5), launch(tmp_path, *[["sh", "-c", "read x < gate"]] * count, width=count)
            )
            with (tmp_path / "gate").open("w"):
                first.until(lambda: len(first.reported(Kind.STARTED)) == count)
                with pytest.raises(OSError, match="No space"):
                    (disk / "filler").write_bytes(bytes(1 << 20))
            first.until(lambda: any(isinstance(one, frames.Trouble) and one.message for one in first.heard))
            first.close()
            second = at.call()
            second.send(hello(disk, epoch=6))
            second.until(lambda: second.is_greeted)
            assert {*second.reported(Kind.STARTED), *second.reported(Kind.FINISHED)} == {*range(count)}, (
                "they would run again"
            )
            assert second.reported(Kind.STARTED)
            assert any(isinstance(one, frames.Trouble) and one.message for one in second.heard)
            (disk / "filler").unlink()
            second.until(lambda: len(second.reported(Kind.FINISHED)) == count)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)

"""A machine elsewhere: its tasks, and what becomes of them when the relay, the launcher or the way to it dies."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from daggy.attempt import Reason, Reports
from daggy.executor import Ack, Kill, Kind, NodeState, Recall, Stop
from daggy.launcher import frames
from daggy.launcher.line import UnfitError
from daggy.launcher.program.relay import MARK
from tests.integration.fork_rig import Rig, appears, at_work_with, becomes, site
from tests.integration.remote_rig import NAME, FarFleet, LocalWay, remote, spools

APPEND = "echo {0} >> log; echo {0}; until [ -e gate ]; do sleep 0.02; done; echo end {0} >> log"


def gated(at_work: Rig, *indexes: int) -> None:
    at_work.launch(*(at_work.task("sh", "-c", APPEND.format(index), index=index) for index in indexes))


def open_gate(directory: Path) -> None:
    (directory / "gate").touch()


def lines(directory: Path) -> list[str]:
    return sorted((directory / "log").read_text().splitlines())


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


async def again(at_work: Rig, way: LocalWay, relays: int) -> None:
    """Wait until the machine has been met by another relay."""
    await becomes(lambda: len(way.lines) > relays and at_work.executor.capacity())


@pytest.mark.trio
@pytest.mark.parametrize("durable", [False, True])
async def test_tasks_run_elsewhere_and_leave_nothing_there(tmp_path: Path, durable: bool) -> None:
    async with remote(tmp_path, durable=durable) as (at_work, _):
        row = await at_work.run("sh", "-c", "echo out; echo err >&2; exit 3")
        assert (int(row["reason"]), int(row["code"])) == (Reason.EXIT, 3)
        assert await at_work.output(0) == b"out\n"
        assert await at_work.output(0, "stderr") == b"err\n"
        if durable:
            at_work.send.send_nowait(Ack(int(row["launcher"]), 1))
        at_work.send.send_nowait(Stop())
    assert spools(tmp_path) == []
    assert (tmp_path / "far" / "instance").exists() is False
    assert any((tmp_path / "far").glob("*/*/*/runs/7")) is durable


@pytest.mark.trio
async def test_large_output_is_read_in_parts(tmp_path: Path) -> None:
    async with remote(tmp_path) as (at_work, _):
        await at_work.run("sh", "-c", "yes | head -c 3000000")
        assert await at_work.output(0) == b"y\n" * 1_500_000


@pytest.mark.trio
async def test_output_of_a_running_task_is_read(tmp_path: Path) -> None:
    async with remote(tmp_path) as (at_work, _):
        gated(at_work, 1)
        await at_work.until(lambda: 1 in at_work.started)
        assert await at_work.output(1) == b"1\n"
        open_gate(tmp_path)
        await at_work.until(lambda: 1 in at_work.finished)


@pytest.mark.trio
@pytest.mark.parametrize("durable", [False, True])
async def test_a_relay_that_is_killed_costs_nothing(tmp_path: Path, durable: bool) -> None:
    async with remote(tmp_path, durable=durable) as (at_work, way):
        gated(at_work, 1, 2)
        await at_work.until(lambda: {1, 2} <= at_work.started.keys())
        way.kill()
        await again(at_work, way, 1)
        open_gate(tmp_path)
        await at_work.until(lambda: {1, 2} <= at_work.finished.keys())
        assert [int(row["reason"]) for row in at_work.finished.values()] == [Reason.OK] * 2
        assert await at_work.output(1) == b"1\n"
    assert lines(tmp_path) == ["1", "2", "end 1", "end 2"]


@pytest.mark.trio
async def test_a_machine_that_cannot_run_a_relay_is_refused_with_the_reason(tmp_path: Path) -> None:
    async with remote(tmp_path) as (at_work, way):
        way.python = "/nowhere/python"
        way.kill()
        await becomes(lambda: at_work.executor.nodes()[0].state == NodeState.REFUSED)
        (node,) = at_work.executor.nodes()
        assert node.name == NAME
        assert node.why == "'/nowhere/python' cannot be run here: No such file or directory"
        assert at_work.executor.trouble == f"{NAME} is refused: {node.why}"
        assert at_work.executor.capacity() == []


@pytest.mark.trio
async def test_tasks_that_wait_come_back_when_it_falls_silent(tmp_path: Path) -> None:
    async with remote(tmp_path, cores=1) as (at_work, way):
        at_work.launch(*(at_work.task("sh", "-c", APPEND.format(at), index=at) for at in range(200)), width=1)
        await at_work.until(lambda: 0 in at_work.started)
        way.kill()
        await at_work.until(lambda: len(at_work.recalled) == 199)
        open_gate(tmp_path)
        await at_work.until(lambda: 0 in at_work.finished)
    assert lines(tmp_path) == ["0", "end 0"]


@pytest.mark.trio
async def test_a_launcher_that_is_killed_there_is_buried(tmp_path: Path) -> None:
    async with remote(tmp_path) as (at_work, _):
        await at_work.run("true", index=5)
        gated(at_work, 1)
        await at_work.until(lambda: 1 in at_work.started)
        (lock,) = (tmp_path / "far").glob("*/*/*/launchers/*/lock")
        os.kill(int(lock.read_text().split()[0]), signal.SIGKILL)
        await at_work.until(lambda: 1 in at_work.finished)
        assert int(at_work.finished[1]["reason"]) == Reason.LOST
        row = await at_work.run("true", index=6)
        assert int(row["reason"]) == Reason.OK
    assert lines(tmp_path) == ["1"]


@pytest.mark.trio
async def test_a_kill_reaches_what_runs_there_also_when_it_was_silent(tmp_path: Path) -> None:
    async with remote(tmp_path) as (at_work, way):
        gated(at_work, 1, 2)
        await at_work.until(lambda: {1, 2} <= at_work.started.keys())
        at_work.send.send_nowait(Kill([at_work.ticket(1)], "killed by me"))
        await at_work.until(lambda: 1 in at_work.finished)
        way.kill()
        await becomes(lambda: not at_work.executor.capacity())
        at_work.send.send_nowait(Kill([at_work.ticket(2)], "killed by me"))
        await at_work.until(lambda: 2 in at_work.finished)
        assert [int(row["reason"]) for row in at_work.finished.values()] == [Reason.KILLED] * 2
        assert at_work.messages[2] == "killed by me"


@pytest.mark.trio
async def test_a_machine_that_is_silent_beyond_its_lease_ends_its_tasks(tmp_path: Path) -> None:
    async with remote(tmp_path, lease=1.0) as (at_work, way):
        at_work.launch(at_work.task("sh", "-c", APPEND.format(1), index=1, grace=0.5))
        await at_work.until(lambda: 1 in at_work.started)
        way.kill(signal.SIGSTOP)
        (lock,) = (tmp_path / "far").glob("*/*/*/launchers/*/lock")
        launcher = int(lock.read_text().split()[0])
        (task,) = children(launcher)
        await becomes(lambda: not Path(f"/proc/{task}").exists())
        way.kill(signal.SIGCONT)
        await at_work.until(lambda: 1 in at_work.finished)
        assert int(at_work.finished[1]["reason"]) == Reason.LOST
        assert at_work.messages[1].startswith("no word from the server for ")


@pytest.mark.trio
async def test_recalled_tasks_come_back(tmp_path: Path) -> None:
    async with remote(tmp_path) as (at_work, _):
        gated(at_work, 1)
        at_work.launch(at_work.task("true", index=2), lane=0, width=1)
        await at_work.until(lambda: 1 in at_work.started)
        at_work.send.send_nowait(Recall([at_work.ticket(1), at_work.ticket(2)]))
        open_gate(tmp_path)
        await at_work.until(lambda: 1 in at_work.finished)
        await at_work.until(lambda: 2 in at_work.finished or 2 in at_work.recalled)
    assert (await appears(tmp_path / "log")) == "1\nend 1\n"


@pytest.mark.trio
async def test_small_outputs_come_home_and_outlive_their_machine(tmp_path: Path) -> None:
    async with remote(tmp_path) as (at_work, _):
        for index in range(3):
            await at_work.run("sh", "-c", f"echo out {index}; echo err >&2; exit {index}", index=index)
        copy = tmp_path / "state" / "runs" / "7" / "packs"
        size = sum(int(row["stdout"] + row["stderr"]) for row in at_work.finished.values())
        await becomes(lambda: sum(path.stat().st_blocks > 0 for path in copy.iterdir()) == 1)
        (kept,) = copy.iterdir()
        await becomes(lambda: kept.stat().st_size == size and b"out 0" in kept.read_bytes())
        shutil.rmtree(tmp_path / "far")
        assert [await at_work.output(index) for index in range(3)] == [b"out 0\n", b"out 1\n", b"out 2\n"]
        assert await at_work.output(2, "stderr") == b"err\n"


@pytest.mark.trio
async def test_the_next_engine_knows_at_once_what_was_sent_and_hears_of_it_later(tmp_path: Path) -> None:
    async with remote(tmp_path) as (at_work, _):
        at_work.launch(*(at_work.task("sh", "-c", APPEND.format(at), index=at) for at in range(3)), width=2)
        await at_work.until(lambda: len(at_work.started) == 2)
    async with remote(tmp_path, epoch=2) as (at_work, _):
        rows = at_work.recovered.rows
        known = {int(row["row"]["index"]): Kind(int(row["kind"])) for row in rows}
        assert {index: kind for index, kind in known.items() if index < 3} == dict.fromkeys(range(3), Kind.HELD)
        await at_work.until(lambda: len(at_work.started) == 2 and 2 in at_work.recalled)
        open_gate(tmp_path)
        await at_work.until(lambda: {0, 1} <= at_work.finished.keys())
        assert [int(at_work.finished[at]["reason"]) for at in (0, 1)] == [Reason.OK] * 2
    assert lines(tmp_path) == ["0", "1", "end 0", "end 1"]


@pytest.mark.trio
async def test_a_machine_without_room_gets_nothing_more_until_it_has_some(tmp_path: Path) -> None:
    async with remote(tmp_path, cores=1) as (at_work, _):
        at_work.launch(*(at_work.task("sh", "-c", APPEND.format(at), index=at) for at in range(200)), width=1)
        await at_work.until(lambda: 0 in at_work.started)
        (lock,) = (tmp_path / "far").glob("*/*/*/launchers/*/lock")
        launcher = int(lock.read_text().split()[0])
        _, most = resource.prlimit(launcher, resource.RLIMIT_FSIZE)
        resource.prlimit(launcher, resource.RLIMIT_FSIZE, (1, most))  # every write to a file fails
        open_gate(tmp_path)
        await becomes(lambda: at_work.executor.nodes()[0].state == NodeState.REFUSED)
        assert at_work.executor.nodes()[0].why.endswith("; make room, and it goes on by itself")
        assert at_work.executor.capacity() == []
        await at_work.until(lambda: len(at_work.recalled) > 100)
        resource.prlimit(launcher, resource.RLIMIT_FSIZE, (most, most))
        await becomes(at_work.executor.capacity)
        await at_work.until(lambda: len(at_work.finished) + len(at_work.recalled) == 200)
        assert not at_work.finished.keys() & set(at_work.recalled)
        ran = sorted(str(index) for index in at_work.finished)
    assert [line for line in lines(tmp_path) if "end" not in line] == ran


@pytest.mark.trio
@pytest.mark.parametrize("durable", [False, True])
async def test_what_an_engine_left_that_kept_nothing_and_was_killed_is_removed_by_the_next_of_any(
    tmp_path: Path, durable: bool
) -> None:
    async with remote(tmp_path, durable=durable) as (at_work, way):
        await at_work.run("echo", "out")
        (left,) = (tmp_path / "far").glob("tests-*")
        copy = tmp_path / "far" / "another"  # as if that one had been killed, together with its launchers
        shutil.copytree(left, copy, ignore=shutil.ignore_patterns("socket"))
        for mark in copy.glob("*/*/passing"):
            os.utime(mark, (0, 0))
        way.kill()
        await again(at_work, way, 1)
        assert copy.exists() is durable
        assert left.exists()


@pytest.mark.trio
@pytest.mark.parametrize(
    "said", ["\\x05\\x00\\x00\\x00a\\x00\\x00\\x00\\x00x", "\\xff\\xff\\xff\\xffR", "\\x02\\x00\\x00\\x00b\\x00\\x00"]
)
async def test_a_machine_that_talks_nonsense_is_refused_and_the_fleet_goes_on(tmp_path: Path, said: str) -> None:
    async with remote(tmp_path) as (at_work, way):
        sound, way.boot = way.boot, lambda _: [sys.executable, "-c", nonsense(said)]
        way.kill()
        await becomes(lambda: at_work.executor.nodes()[0].state == NodeState.REFUSED)
        assert (
            "cannot be understood" in at_work.executor.nodes()[0].why or "comes from" in at_work.executor.nodes()[0].why
        )
        way.boot = sound


def nonsense(said: str) -> str:
    return f"import os; os.write(1, {MARK!r} + b'{said}'); os.read(0, 1 << 20)"


@pytest.mark.trio
async def test_reports_about_tasks_that_a_machine_was_not_sent_are_not_passed_on(tmp_path: Path) -> None:
    async with remote(tmp_path) as (at_work, _):
        await at_work.run("true", index=1)
        member = at_work.executor._remotes[0]
        (number,) = {int(row["launcher"]) for row in at_work.finished.values()}
        theirs = frames.about(Kind.FINISHED, (7, 1, 5, 1, 1), number)
        others = frames.about(Kind.FINISHED, frames.key(at_work.ticket(2)), number + 1)
        member.sent.add([(frames.key(at_work.ticket(2)), 1.0)])
        member.preemption.give(Reports(np.concatenate([theirs, others])))
        assert set(at_work.finished) == {1}
        with pytest.raises(UnfitError):
            at_work.executor._owns(1, number)


@pytest.mark.trio
async def test_a_server_of_an_older_copy_of_the_directory_is_refused_by_what_runs(tmp_path: Path) -> None:
    async with remote(tmp_path) as (at_work, way):
        gated(at_work, 1)
        await at_work.until(lambda: 1 in at_work.started)
        older = FarFleet(site(tmp_path / "state", durable=True), LocalWay(Path(way.directory)), lease=60.0, cores=4.0)
        async with at_work_with(older, tmp_path, 0):
            await becomes(lambda: older.nodes()[0].state == NodeState.REFUSED)
            why = older.nodes()[0].why
            assert "works for a later engine (1; this one: 0)" in why
            assert "is this server's directory an older copy?" in why
        open_gate(tmp_path)
        await at_work.until(lambda: 1 in at_work.finished)
    assert lines(tmp_path) == ["1", "end 1"]

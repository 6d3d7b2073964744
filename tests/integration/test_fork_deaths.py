"""Who dies, and what is still known: launchers, engines, both; with a spool and without."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import trio

from daggy.executor import LINKED, STOPPED, Ack, Kill, Kind, Reason, Reports, Request, Ticket
from daggy.launcher.fleet import Fleet
from daggy.launcher.launchers import Launchers
from daggy.launcher.local_channel import LocalChannel
from daggy.launcher.program.spool import RECORD
from daggy_fork import ForkExecutor, ForkSettings
from tests.integration.fork_rig import Rig, alive, appears, becomes, gone, rig, site

DURABLE = pytest.mark.parametrize("durable", [False, True])


def launchers_at(executor: Fleet) -> Launchers:
    (launchers,) = executor._fleet
    assert isinstance(launchers, Launchers)
    return launchers


def launcher_pids(executor: Fleet) -> list[int]:
    channels = [account.channel for account in launchers_at(executor).accounts.values()]
    return [one.process.pid for one in channels if isinstance(one, LocalChannel) and one.process is not None]


def fresh(directory: Path) -> ForkExecutor:
    return ForkExecutor(ForkSettings(workers=2), site(directory, durable=True))


def by_index(reports: Reports) -> dict[int, Reason]:
    return {int(row["row"]["index"]): Reason(int(row["row"]["reason"])) for row in reports.rows}


@pytest.mark.trio
@DURABLE
async def test_a_launcher_that_dies_loses_what_it_ran_and_nothing_else(tmp_path: Path, durable: bool) -> None:
    async with rig(tmp_path, durable=durable, workers=2) as at_work:
        for index in range(3):
            await at_work.run("echo", "kept", index=index)
        sleeper = f"(setsid sleep 1000 & echo $! > {tmp_path}/pid.$DAGGY_TASK_INDEX); sleep 1000"
        at_work.launch(*(at_work.task("sh", "-c", sleeper, index=index) for index in (3, 4)), width=2)
        at_work.launch(*(at_work.task("true", index=index) for index in (5, 6, 7)), width=2)
        pids = [int(await appears(tmp_path / f"pid.{index}")) for index in (3, 4)]
        await at_work.until(lambda: {3, 4} <= {*at_work.started})
        for pid in launcher_pids(at_work.executor):
            os.kill(pid, signal.SIGKILL)
        await at_work.until(lambda: len(at_work.finished) == 8)
        reasons = {index: Reason(int(row["reason"])) for index, row in at_work.finished.items()}
        assert reasons == {**dict.fromkeys((0, 1, 2, 5, 6, 7), Reason.OK), 3: Reason.LOST, 4: Reason.LOST}
        assert at_work.messages[3] == "its launcher died"
        for pid in pids:
            await gone(pid)
        assert not at_work.recalled
        if durable:
            assert at_work.finished[3]["started"] > 0


@pytest.mark.trio
@DURABLE
async def test_what_is_killed_does_not_start_because_its_launcher_dies_first(tmp_path: Path, durable: bool) -> None:
    async with rig(tmp_path, durable=durable, workers=1) as at_work:
        at_work.launch(at_work.task("sleep", "1000", index=1), at_work.task("true", index=2), width=1)
        await at_work.until(lambda: 1 in at_work.started)
        (account,) = launchers_at(at_work.executor).accounts.values()
        assert len(account.out) == 2
        (pid,) = launcher_pids(at_work.executor)
        os.kill(pid, signal.SIGSTOP)
        at_work.send.send_nowait(Kill([Ticket(7, 1, 2, 1, 1)]))
        await at_work.until_obeyed()
        os.kill(pid, signal.SIGKILL)
        await at_work.until(lambda: at_work.finished)
        await at_work.until(lambda: 2 in at_work.recalled or 2 in at_work.started)
        assert (at_work.recalled, [*at_work.finished]) == ([2], [1])


@pytest.mark.trio
@DURABLE
async def test_launchers_that_die_all_the_time_lose_no_task(tmp_path: Path, durable: bool) -> None:
    """Whatever was being done when a launcher was killed ends once: finished, or lost."""
    async with rig(tmp_path, durable=durable, workers=2) as at_work:
        count = 400
        at_work.launch(*(at_work.task("true", index=index) for index in range(count)), width=2)
        for goal in range(50, count, 50):
            await at_work.until(lambda goal=goal: len(at_work.finished) >= goal)  # type: ignore[misc]
            for pid in launcher_pids(at_work.executor):
                with suppress(ProcessLookupError):  # killed the last time, and not missed yet
                    os.kill(pid, signal.SIGKILL)
        await at_work.until(lambda: len(at_work.finished) == count)
        reasons = [int(row["reason"]) for row in at_work.finished.values()]
        assert set(reasons) <= {Reason.OK, Reason.LOST}
        assert reasons.count(Reason.OK) > count / 2


@pytest.mark.trio
async def test_finishes_outlive_the_engine_until_they_are_acknowledged(tmp_path: Path) -> None:
    async with rig(tmp_path, durable=True) as at_work:
        for index in range(3):
            await at_work.run("sh", "-c", f"echo {index}; exit {index}", index=index)
    assert len((await fresh(tmp_path).recover(2)).rows) == 3
    executor = fresh(tmp_path)
    reports = await executor.recover(3)
    assert by_index(reports) == {0: Reason.OK, 1: Reason.EXIT, 2: Reason.EXIT}
    assert reports.rows["seq"].tolist() == [1, 2, 3]
    assert await executor.read_log(7, 1, reports.rows[1]["row"], "stdout", 0, 99) == b"1\n"
    send, receive = trio.open_memory_channel[Request](10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(executor.run, receive, Rig(executor, tmp_path, send).report, lambda: None)
        send.send_nowait(Ack(1, 2))
        send.send_nowait(Ack(1, 3))
        send.close()
    assert not len((await fresh(tmp_path).recover(4)).rows)


@pytest.mark.trio
async def test_what_was_acknowledged_is_forgotten(tmp_path: Path) -> None:
    async with rig(tmp_path, durable=True) as at_work:
        row = await at_work.run("true")
        at_work.send.send_nowait(Ack(int(row["launcher"]), 1))
        await at_work.run("true", index=1)
        at_work.send.send_nowait(Ack(int(row["launcher"]), 2))
    assert not [path for path in (tmp_path / "launchers").rglob("*") if path.is_file()]
    assert not len((await fresh(tmp_path).recover(2)).rows)


@pytest.mark.trio
async def test_the_number_of_a_launcher_is_never_given_again(tmp_path: Path) -> None:
    for expected in (1, 2, 3):
        async with rig(tmp_path) as at_work:
            assert (await at_work.run("echo", str(expected)))["launcher"] == expected
            assert await at_work.output(0) == b"%d\n" % expected


ENGINE = """
import sys, trio
from pathlib import Path
from daggy_fork import ForkExecutor, ForkSettings
from daggy.executor import Launch, Launches, Site

async def main():
    directory, durable = Path(sys.argv[1]), sys.argv[2] == "True"
    executor = ForkExecutor(ForkSettings(workers=2), Site("default", directory, sys.argv[3], durable))
    await executor.recover(1)
    send, receive = trio.open_memory_channel(10)
    done = 0

    def report(reports):
        for row in reports.rows:
            print(row["kind"], row["row"]["index"], flush=True)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(executor.run, receive, report, lambda: None)
        launch = lambda index, script: Launch(index, 1, ["sh", "-c", script], {}, str(directory), None, 0.0, 1.0)
        quick = [launch(index, "echo quick") for index in range(20)]
        slow = [launch(20, f"echo begun; setsid sleep 1000 & echo $! > {directory}/pid; wait")]
        stubborn = [launch(21, f"trap '' TERM; echo $$ > {directory}/stubborn; while :; do sleep 0.01; done")]
        waiting = [launch(22, "echo never")]
        send.send_nowait(Launches(7, 1, 1, executor.capacity()[0].name, 0, 2, quick + slow + stubborn + waiting))
        await trio.sleep_forever()

trio.run(main)
"""


def engine(directory: Path, *, durable: bool) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-c",
        textwrap.dedent(ENGINE),
        str(directory),
        str(durable),
        site(directory, durable=durable).instance,
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, start_new_session=True)


def launchers_of(directory: Path) -> list[int]:
    """Return the living launchers of a directory: it is in their argument or their open files."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if b"daggy.launcher.program" in (process / "cmdline").read_bytes() and any(
                str(link.readlink()).startswith(str(directory)) for link in (process / "fd").iterdir()
            ):
                found.append(int(process.name))
        except OSError:
            continue
    return found


async def begun(directory: Path) -> list[int]:
    return [int(await appears(directory / name)) for name in ("pid", "stubborn")]


@pytest.mark.trio
@DURABLE
async def test_launchers_whose_engine_is_killed_end_their_tasks_and_leave(tmp_path: Path, durable: bool) -> None:
    with engine(tmp_path, durable=durable) as process:
        try:
            pids = await begun(tmp_path)
        finally:
            process.kill()
        for pid in pids:
            await gone(pid)
        await becomes(lambda: not launchers_of(tmp_path))


@pytest.mark.trio
async def test_an_engine_that_comes_back_hears_all_that_was_finished(tmp_path: Path) -> None:
    with engine(tmp_path, durable=True) as process:
        try:
            pids = await begun(tmp_path)
        finally:
            process.kill()
    reports = await fresh(tmp_path).recover(2)  # waits for the launchers that are still leaving
    assert not [pid for pid in pids if alive(pid)]
    reasons = by_index(reports)
    assert reasons == {**dict.fromkeys(range(20), Reason.OK), 20: Reason.KILLED, 21: Reason.KILLED}
    stopped = reports.rows[reports.rows["row"]["reason"] == Reason.KILLED]
    assert (stopped["row"]["flags"] & STOPPED).all()
    assert set(reports.rows["kind"].tolist()) == {Kind.FINISHED}
    assert {reports.messages[at] for at in np.flatnonzero(reports.rows["row"]["reason"]).tolist()} == {"daggy stopped"}


@pytest.mark.trio
async def test_when_both_die_finishes_are_kept_and_the_rest_is_killed_and_lost(tmp_path: Path) -> None:
    with engine(tmp_path, durable=True) as process:
        try:
            pids = await begun(tmp_path)
            await becomes(lambda: len([*(tmp_path / "runs/7/packs").glob("*.stdout")]) == 2)  # of both that run
        finally:
            process.send_signal(signal.SIGSTOP)  # or it ends the tasks of the first launcher that dies
            for pid in launchers_of(tmp_path):
                os.kill(pid, signal.SIGKILL)
            process.kill()
    assert [pid for pid in pids if alive(pid)] == pids
    executor = fresh(tmp_path)
    reports = await executor.recover(2)
    assert not [pid for pid in pids if alive(pid)]
    assert by_index(reports) == {**dict.fromkeys(range(20), Reason.OK), 20: Reason.LOST, 21: Reason.LOST}
    (row,) = reports.rows["row"][reports.rows["row"]["index"] == 20]
    assert row["flags"] & LINKED
    assert await executor.read_log(7, 1, row, "stdout", 0, 99) == b"begun\n"
    assert by_index(await fresh(tmp_path).recover(3)) == by_index(reports)


@pytest.mark.trio
async def test_after_another_start_of_the_machine_all_is_lost_and_nobody_is_killed(tmp_path: Path) -> None:
    with engine(tmp_path, durable=True) as process:
        try:
            pids = await begun(tmp_path)
        finally:
            process.send_signal(signal.SIGSTOP)  # as above
            for pid in launchers_of(tmp_path):
                os.kill(pid, signal.SIGKILL)
            process.kill()
    try:
        start_again(tmp_path)
        reports = await fresh(tmp_path).recover(2)
        assert by_index(reports) == {**dict.fromkeys(range(20), Reason.OK), 20: Reason.LOST, 21: Reason.LOST}
        assert [pid for pid in pids if alive(pid)] == pids
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)


def start_again(directory: Path) -> None:
    """Give all spools another boot id, in their first records."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()
    for path in directory.glob("launchers/*/spool/*"):
        segment = path.read_bytes()
        length, _ = RECORD.unpack_from(segment)
        header = segment[RECORD.size : RECORD.size + length].replace(boot, b"0" * len(boot))
        assert json.loads(header[1:])["boot"].startswith("000")
        path.write_bytes(RECORD.pack(length, zlib.crc32(header)) + header + segment[RECORD.size + length :])


@pytest.mark.trio
async def test_a_spool_that_cannot_be_read_to_its_end_is_said_and_what_came_before_counts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with rig(tmp_path, durable=True, workers=1) as at_work:
        for index in range(3):
            await at_work.run("echo", "kept", index=index)
        (pid,) = launcher_pids(at_work.executor)
        os.kill(pid, signal.SIGSTOP)
        damage(tmp_path)
        os.kill(pid, signal.SIGKILL)
        await becomes(lambda: any("cannot be read to its end" in record.message for record in caplog.records))
        assert await at_work.output(0) == b"kept\n"


def damage(directory: Path) -> None:
    """Change a byte in the middle of the one spool: that is not the torn end that a crash leaves."""
    (segment,) = directory.glob("launchers/*/spool/*")
    data = bytearray(segment.read_bytes())
    data[len(data) * 2 // 3] ^= 255
    segment.write_bytes(data)

"""The fork executor where launchers outlive their engines: what it takes up, leaves, and never loses."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from daggy.executor import Ack, Kill, Kind, Launch, Reason, Reports, Request, Stop, Ticket
from daggy_fork import ForkExecutor, ForkSettings
from tests.integration.fork_rig import Rig, alive, becomes, site

pytestmark = pytest.mark.trio


def executor(directory: Path, pool: str = "default", others: frozenset[str] = frozenset()) -> ForkExecutor:
    return ForkExecutor(ForkSettings(workers=4), site(directory, durable=True, pool=pool, others=others, linger=True))


@pytest.fixture(autouse=True)
def _nobody_stays(tmp_path: Path) -> Iterator[None]:
    yield
    for lock in (tmp_path / "launchers").glob("*/lock"):
        pid = int((lock.read_text().split() or ["0"])[0])
        if not pid:  # it is only starting: without its lock it ends by itself
            lock.unlink()
        elif alive(pid) and b"daggy.launcher" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGTERM)


class CrashError(Exception):
    """An engine is no more, or an executor fails."""


@asynccontextmanager
async def working(one: ForkExecutor, directory: Path, *, dies: bool = True) -> AsyncIterator[Rig]:
    """Run one that has recovered; at the end it is dropped where it stands, as its engine dies."""
    send, receive = trio.open_memory_channel[Request](1000)
    rig = Rig(one, directory, send)
    try:
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(one.run, receive, rig.report, lambda: None)
                yield rig
                if dies:
                    raise CrashError
    except* CrashError:
        pass


def gated(rig: Rig, index: int = 0) -> Launch:
    script = f"echo $$ > {rig.directory}/pid.{index}; while ! test -e gate; do sleep 0.02; done; echo ran >> ran"
    return rig.task("sh", "-c", script, index=index)


def rows_of(reports: Reports, kind: Kind) -> dict[int, Any]:
    return {int(row["row"]["index"]): row for row in reports.rows if row["kind"] == kind}


async def test_what_runs_is_taken_up_by_the_next_executor(tmp_path: Path) -> None:
    first = executor(tmp_path)
    await first.recover(1)
    async with working(first, tmp_path) as rig:
        rig.launch(gated(rig), rig.task("true", index=1))
        await rig.until(lambda: 0 in rig.started and 1 in rig.finished)
    second = executor(tmp_path)
    reports = await second.recover(2)
    assert list(rows_of(reports, Kind.FINISHED)) == [1]
    (row,) = rows_of(reports, Kind.STARTED).values()
    assert int(row["epoch"]) == 1
    async with working(second, tmp_path) as rig:
        (tmp_path / "gate").touch()
        await rig.until(lambda: 0 in rig.finished)
        assert rig.finished[0]["reason"] == Reason.OK
        launcher = int(rig.finished[0]["launcher"])
        rig.send.send_nowait(Ack(launcher, 2))
        await becomes(lambda: not list((tmp_path / "launchers" / str(launcher)).glob("*")))
    assert (tmp_path / "ran").read_text() == "ran\n"


async def test_an_executor_that_fails_in_one_engine_life_is_succeeded(tmp_path: Path) -> None:
    for _ in range(3):
        one = executor(tmp_path)
        reports = await one.recover(1)
        async with working(one, tmp_path) as rig:
            if not len(reports.rows):
                rig.launch(gated(rig))
                await rig.until(lambda: 0 in rig.started)
            else:
                assert list(rows_of(reports, Kind.STARTED)) == [0]
    (tmp_path / "gate").touch()
    one = executor(tmp_path)
    reports = await one.recover(1)
    async with working(one, tmp_path) as rig:
        rig.report(reports)
        await rig.until(lambda: 0 in rig.finished)
    assert (tmp_path / "ran").read_text() == "ran\n"


async def test_what_a_successor_takes_up_counts_in_the_width_of_its_lane(tmp_path: Path) -> None:
    one = executor(tmp_path)
    await one.recover(1)
    async with working(one, tmp_path) as rig:
        rig.launch(*(gated(rig, index) for index in range(2)), width=2)
        await rig.until(lambda: len(rig.started) == 2)
    one = executor(tmp_path)
    await one.recover(1)
    async with working(one, tmp_path, dies=False) as rig:
        rig.launch(*(gated(rig, index) for index in range(2, 6)), width=3)
        await rig.until(lambda: rig.started)
        rig.launch(rig.task("true", index=9), lane=1, width=1)
        await rig.until(lambda: 9 in rig.finished)
        with trio.move_on_after(0.5):
            await rig.until(lambda: len(rig.started) > 2)
        assert len({*rig.started} - {9}) == 1, "more than three at once"
        (tmp_path / "gate").touch()
        await rig.until(lambda: {*range(6)} <= {*rig.finished})
        rig.send.send_nowait(Stop())


async def test_launchers_of_a_pool_that_is_no_more_are_taken_up_by_one(tmp_path: Path) -> None:
    gone = executor(tmp_path, "gone")
    await gone.recover(1)
    async with working(gone, tmp_path) as rig:
        rig.launch(gated(rig))
        await rig.until(lambda: 0 in rig.started)
    pools = {name: executor(tmp_path, name, frozenset({"a", "b"} - {name})) for name in ("a", "b")}
    found = [await one.recover(2) for one in pools.values()]
    assert [list(rows_of(reports, Kind.STARTED)) for reports in found] == [[0], []]
    async with working(pools["a"], tmp_path, dies=False) as left, working(pools["b"], tmp_path, dies=False) as right:
        (tmp_path / "gate").touch()
        await left.until(lambda: 0 in left.finished)
        assert left.finished[0]["reason"] == Reason.OK
        for rig in (left, right):
            rig.send.send_nowait(Stop())


async def test_what_is_taken_up_can_be_killed_and_read(tmp_path: Path) -> None:
    one = executor(tmp_path)
    await one.recover(1)
    async with working(one, tmp_path) as rig:
        rig.launch(rig.task("sh", "-c", "echo hello; exec sleep 1000"))
        await rig.until(lambda: 0 in rig.started)
    one = executor(tmp_path)
    reports = await one.recover(2)
    async with working(one, tmp_path, dies=False) as rig:
        rig.report(reports)
        await becomes(lambda: one._fleet)
        assert await rig.output(0) == b"hello\n"
        rig.send.send_nowait(Kill([Ticket(7, 1, 0, 1, 1)], "enough"))
        await rig.until(lambda: 0 in rig.finished)
        assert rig.finished[0]["reason"] == Reason.KILLED
        assert rig.messages[0] == "enough"
        rig.send.send_nowait(Stop())


async def test_leaving_gives_back_what_waits_and_lets_go_on_what_runs(tmp_path: Path) -> None:
    one = executor(tmp_path)
    await one.recover(1)
    async with working(one, tmp_path, dies=False) as rig:
        rig.launch(*(gated(rig, index) for index in range(4)), width=2)
        await rig.until(lambda: len(rig.started) == 2)
        rig.send.send_nowait(Stop(leave=True))
    (tmp_path / "gate").touch()
    await becomes(lambda: (tmp_path / "ran").exists() and (tmp_path / "ran").read_text().count("ran") == 2)
    one = executor(tmp_path)
    reports = await one.recover(2)
    async with working(one, tmp_path, dies=False) as rig:
        rig.report(reports)
        await rig.until(lambda: len(rig.finished) == 2)
        rig.send.send_nowait(Stop())
    assert (tmp_path / "ran").read_text().count("ran") == 2

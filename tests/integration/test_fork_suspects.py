"""A task that kills its launcher takes its neighbours along once: what was lost runs again apart."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from daggy.executor import Kill, Reason, Stop, Ticket
from tests.integration.fork_rig import Rig, rig

Daggy = Callable[..., subprocess.CompletedProcess[str]]
DURABLE = pytest.mark.parametrize("durable", [False, True])
KILLER = ("sh", "-c", "sleep 0.1; kill -9 $PPID; sleep 1000")


async def lose(at_work: Rig, *others: tuple[str, ...]) -> None:
    """Run a task 0 that kills its launcher beside others, and forget that all of them were lost."""
    count = 1 + len(others)
    at_work.launch(*(at_work.task(*argv, index=index) for index, argv in enumerate((KILLER, *others))), width=count)
    await at_work.until(lambda: len(at_work.finished) == count)
    assert {int(row["reason"]) for row in at_work.finished.values()} == {Reason.LOST}
    at_work.finished.clear()
    at_work.started.clear()


def again(at_work: Rig, index: int, *argv: str, width: int) -> None:
    at_work.launch(at_work.task(*argv, index=index)._replace(attempt=2), width=width)


def most_at_once(at_work: Rig) -> int:
    """Return how many tasks ran at the same time, at most."""
    known = [row for row in at_work.finished.values() if row["started"]]  # not of what was lost without a spool
    moments = [(float(row["started"]), 1) for row in known] + [(float(row["ended"]), -1) for row in known]
    now = most = 0
    for _, change in sorted(moments):
        now += change
        most = max(most, now)
    return most


@pytest.mark.parametrize("kept", [[], ["--dir", "state"]])
def test_the_neighbours_of_a_task_that_kills_its_launcher_complete(
    daggy: Daggy, tmp_path: Path, kept: list[str]
) -> None:
    innocent = {"details": {"command": ["sleep", "0.{{ N }}"]}, "crash_limit": 1}
    tasks = {"killer": {"details": {"command": KILLER}, "priority": 5}, "innocent": innocent}
    (tmp_path / "spec.json").write_text(json.dumps({"parameters": {"N": {"range": [4, 10]}}, "tasks": tasks}))
    ended = daggy("run", "--workers", "4", "--json", *kept, "spec.json")
    counts = json.loads(ended.stdout)["counts"]
    assert (counts["completed"], counts["errored"]) == (6, 1), ended.stderr


@pytest.mark.trio
@DURABLE
async def test_what_runs_apart_counts_in_the_width_of_its_lane(tmp_path: Path, durable: bool) -> None:
    async with rig(tmp_path, durable=durable, workers=4) as at_work:
        await lose(at_work, ("sleep", "1000"), ("sleep", "1000"))
        at_work.launch(*(at_work.task("sleep", "0.1", index=index) for index in range(10, 20)), width=2)
        for index in (1, 2):
            again(at_work, index, "sleep", "0.3", width=2)
        again(at_work, 0, *KILLER, width=2)
        await at_work.until(lambda: len(at_work.finished) == 13)
        reasons = {index: Reason(int(row["reason"])) for index, row in at_work.finished.items()}
        assert reasons.pop(0) is Reason.LOST
        assert set(reasons.values()) == {Reason.OK}
        assert most_at_once(at_work) <= 2
        suspects = {int(at_work.finished[index]["launcher"]) for index in range(3)}
        assert int(at_work.finished[10]["launcher"]) not in suspects


@pytest.mark.trio
@DURABLE
@pytest.mark.parametrize("way", ["kill", "stop"])
async def test_what_waits_to_run_apart_is_given_back(tmp_path: Path, durable: bool, way: str) -> None:
    async with rig(tmp_path, durable=durable, workers=2) as at_work:
        await lose(at_work, ("sleep", "1000"))
        at_work.launch(at_work.task("sleep", "1000", index=5), width=1)
        await at_work.until(lambda: 5 in at_work.started)
        again(at_work, 1, "touch", "never", width=1)
        await at_work.until_obeyed()
        at_work.send.send_nowait(Kill([Ticket(7, 1, 1, 1, 2)]) if way == "kill" else Stop())
        await at_work.until(lambda: 1 in at_work.recalled)
        assert not at_work.finished.keys() - {5}
        if way == "kill":
            at_work.send.send_nowait(Kill([at_work.ticket(5)]))
            again(at_work, 0, "true", width=1)
            await at_work.until(lambda: at_work.finished.keys() == {0, 5})
            assert at_work.finished[0]["reason"] == Reason.OK
    assert not (tmp_path / "never").exists()

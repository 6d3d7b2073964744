"""Tasks that need GPUs get their own, whichever launcher starts them, and keep them when it dies."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from daggy.executor import Launch, Launches, Stop
from tests.integration.fork_rig import Rig, becomes, rig
from tests.integration.linger_rig import launchers

SHOW = 'echo "$DAGGY_GPUS" > gpus.$0; until [ -e gate ]; do sleep 0.02; done'


def launch(at_work: Rig, *launches: Launch, gpus: float, lane: int = 0, width: int = 4) -> None:
    machine = at_work.executor.capacity()[0].name
    needs = {"cores": 1.0, "gpus": gpus}
    at_work.send.send_nowait(Launches(7, 1, 1, machine, lane, width, launches, needs))


def shown(at_work: Rig, index: int, **more: Any) -> Launch:
    return at_work.task("sh", "-c", SHOW, str(index), index=index, **more)


def seen(directory: Path, index: int) -> list[str]:
    path = directory / f"gpus.{index}"
    return path.read_text().strip().split(",") if path.exists() and path.read_text().endswith("\n") else []


def launcher(directory: Path) -> int:
    (pid,) = launchers(directory)
    return pid


@pytest.mark.trio
async def test_tasks_that_run_at_once_have_different_gpus(tmp_path: Path) -> None:
    async with rig(tmp_path, resources={"gpus": 4.0}) as at_work:
        launch(at_work, shown(at_work, 1), shown(at_work, 2), gpus=1, width=2)
        launch(at_work, shown(at_work, 3), gpus=2, lane=1, width=1)
        await becomes(lambda: all(seen(tmp_path, index) for index in (1, 2, 3)))
        used = [name for index in (1, 2, 3) for name in seen(tmp_path, index)]
        assert sorted(used) == ["0", "1", "2", "3"]
        assert len(seen(tmp_path, 3)) == 2
        (tmp_path / "gate").touch()
        await at_work.until(lambda: {1, 2, 3} <= at_work.finished.keys())
        launch(at_work, shown(at_work, 4), gpus=4, lane=2, width=1)
        await at_work.until(lambda: 4 in at_work.finished)
        assert seen(tmp_path, 4) == ["0", "1", "2", "3"]


@pytest.mark.trio
async def test_a_task_sees_what_it_needs(tmp_path: Path) -> None:
    async with rig(tmp_path) as at_work:
        script = "echo $DAGGY_RESOURCE_CORES $DAGGY_RESOURCE_SCRATCH_GB ${DAGGY_GPUS-none}"
        machine = at_work.executor.capacity()[0].name
        one = at_work.task("sh", "-c", script, index=1)
        at_work.send.send_nowait(Launches(7, 1, 1, machine, 0, 1, [one], {"cores": 2.0, "scratch-gb": 0.5}))
        await at_work.until(lambda: 1 in at_work.finished)
        assert await at_work.output(1) == b"2 0.5 none\n"


@pytest.mark.trio
async def test_a_gpu_stays_taken_while_anything_of_its_task_is_alive(tmp_path: Path) -> None:
    """The launcher is killed; what it ran is ended, and only then are its GPUs given to others."""
    async with rig(tmp_path, durable=True, resources={"gpus": 1.0}) as at_work:
        launch(at_work, shown(at_work, 1), gpus=1, width=1)
        await becomes(lambda: seen(tmp_path, 1))
        await at_work.until(lambda: 1 in at_work.started)
        os.kill(launcher(tmp_path), signal.SIGKILL)
        launch(at_work, shown(at_work, 2), gpus=1, width=1)
        await at_work.until(lambda: 1 in at_work.finished)
        await becomes(lambda: seen(tmp_path, 2))
        assert seen(tmp_path, 2) == ["0"]
        (tmp_path / "gate").touch()
        await at_work.until(lambda: 2 in at_work.finished)
        at_work.send.send_nowait(Stop())

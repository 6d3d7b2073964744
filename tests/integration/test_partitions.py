"""A machine that is cut off without a word: shorter than its lease costs nothing, longer is proven lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from daggy.attempt import Reason
from daggy.executor import NodeState
from tests.integration.fork_rig import Rig, becomes
from tests.integration.netns_rig import Network, network
from tests.integration.sshd_rig import Sshd, sshd
from tests.integration.test_ssh_deaths import at_work, gated

pytestmark = [pytest.mark.trio, pytest.mark.slow]


@pytest.fixture
def cable() -> Iterator[Network]:
    with network() as made:
        yield made


@pytest.fixture
def far(tmp_path: Path, cable: Network) -> Iterator[Sshd]:
    with sshd(tmp_path / "sshd", cable.address, cable.inside) as server:
        yield server


def state(rig: Rig) -> NodeState:
    return rig.executor.nodes()[0].state


def lines(directory: Path) -> list[str]:
    return sorted((directory / "log").read_text().splitlines())


async def test_a_partition_shorter_than_the_lease_costs_nothing_however_often(
    tmp_path: Path, far: Sshd, cable: Network
) -> None:
    async with at_work(tmp_path, far) as rig:
        gated(rig, 1, 2)
        await rig.until(lambda: {1, 2} <= rig.started.keys())
        for _ in range(2):
            cable.cut()
            await becomes(lambda: state(rig) == NodeState.SILENT)
            assert rig.executor.nodes()[0].lost_in is not None
            cable.join()
            await becomes(lambda: state(rig) == NodeState.UP)
        cable.cut()
        await becomes(lambda: state(rig) == NodeState.SILENT)
        (tmp_path / "gate").touch()
        await becomes(lambda: lines(tmp_path) == ["1", "2", "end 1", "end 2"])
        assert rig.finished == {}
        cable.join()
        await rig.until(lambda: {1, 2} <= rig.finished.keys())
        assert [int(row["reason"]) for row in rig.finished.values()] == [Reason.OK] * 2
    assert lines(tmp_path) == ["1", "2", "end 1", "end 2"]


async def test_a_partition_longer_than_the_lease_is_proven_on_both_sides(
    tmp_path: Path, far: Sshd, cable: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daggy.launcher.remote.SPARE", 2.0)
    async with at_work(tmp_path, far, lease="4s") as rig:
        rig.launch(rig.task("sh", "-c", "echo 1 >> log; trap 'echo ended >> log; exit 1' TERM; sleep 1000 & wait",
                            index=1, grace=1.0))  # fmt: skip
        await rig.until(lambda: 1 in rig.started)
        cable.cut()
        await becomes(lambda: lines(tmp_path) == ["1", "ended"])  # nobody told it: its lease ran out
        await rig.until(lambda: 1 in rig.finished)
        assert int(rig.finished[1]["reason"]) == Reason.LOST
        assert rig.messages[1] == "far has not been heard from for 4 s"
        cable.join()
        await becomes(lambda: state(rig) == NodeState.UP)
        await rig.run("true", index=3)
        assert int(rig.finished[3]["reason"]) == Reason.OK
    assert lines(tmp_path) == ["1", "ended"]

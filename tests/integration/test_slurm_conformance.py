"""Both ways of using Slurm fulfil the interface of executors, on a real cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from attrs import evolve

from daggy.engine.configuration import AgentsSettings
from daggy.executor import Arrival, Executor, Site, Visit
from daggy.server.agents import Agents
from daggy.server.entrance import AgentsOnly, door
from daggy.server.listening import Listening
from daggy.testing import check_executor
from daggy_slurm import SlurmExecutor, SlurmSettings
from tests.integration.slurm_rig import Slurm, cluster

pytestmark = pytest.mark.slurm


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    with cluster() as found:
        yield found


def test_arrays_pass_the_checks(slurm: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CONF", str(slurm.configuration))
    shared = str(tmp_path / "shared")
    settings = SlurmSettings(mode="arrays", shared=shared, shared_is_local=True, most=100, cores=1, interval="1s")
    trio.run(
        lambda: check_executor(
            lambda site: SlurmExecutor(settings, site), tmp_path / "sites", durable=True, holds=50, seconds=60
        )
    )


class Desk:
    """Takes agents for whichever executor was made last."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.executor: Executor | None = None

    async def join(self, pool: str, arrival: Arrival, visit: Visit) -> None:
        del pool
        assert self.executor is not None
        await self.executor.join(arrival, visit)

    async def check(self, settings: SlurmSettings) -> None:
        with door(AgentsSettings("127.0.0.1"), self.place, 0) as found:

            def make(site: Site) -> Executor:
                self.executor = SlurmExecutor(settings, evolve(site, entrance=found.entrance))
                return self.executor

            agents = Agents(self.place, lambda _: False, lambda: ["default"], self.join)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(Listening(AgentsOnly(agents), found.listener, found.tls).run)
                await check_executor(make, self.place / "sites", processes=False, grows=True, seconds=60)
                nursery.cancel_scope.cancel()


def test_pilots_pass_the_checks(slurm: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CONF", str(slurm.configuration))
    shared = str(tmp_path / "shared")
    settings = SlurmSettings(shared=shared, shared_is_local=True, cores=2, most=2, time="10m", idle="2s", interval="1s")
    trio.run(Desk(tmp_path).check, settings)

"""An engine with machines elsewhere, reached through real relays: what it makes of their coming, going and failing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar, Literal

import pytest
import trio

from daggy.engine.directory import StateDirectory
from daggy.engine.engine import Engine
from daggy.engine.nodes import NodeStatus
from daggy.errors import Problem
from daggy.executor import Machine, Site, Work
from daggy.launcher.far_host import FarHost
from daggy.launcher.fleet import Fleet
from daggy.launcher.host import Terms
from tests.integration.engine_rig import KeptTracker, submit
from tests.integration.fork_rig import becomes
from tests.integration.remote_rig import LocalWay

pytestmark = pytest.mark.trio

GOOD, BAD = Terms(), Terms({"PATH": "/nowhere"}, inherit=False)


class Lab(Fleet):
    """Two machines elsewhere, on one of which nothing can be found to run."""

    Settings: ClassVar[type] = dict

    def __init__(self, far: Path, site: Site) -> None:
        self.ways = {name: LocalWay(far / name) for name in ("sound", "broken")}
        super().__init__(
            site,
            [
                FarHost(
                    Machine(name, {"cores": 2.0}), site, BAD if name == "broken" else GOOD, way.directory, way, 60.0
                )
                for name, way in self.ways.items()
            ],
        )

    @property
    def placement(self) -> Literal["pack", "spread"]:
        return "spread"

    @property
    def fixed(self) -> bool:
        return True

    def check(self, work: Work) -> Iterable[Problem]:
        del work
        return ()


def nodes(engine: Engine) -> dict[str, NodeStatus]:
    return {node.name: node for node in engine.nodes.listed()}


async def test_a_machine_on_which_everything_fails_does_not_eat_a_run(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    directory.mkdir()
    labs: list[Lab] = []

    def make(site: Site) -> Lab:
        labs.append(Lab(tmp_path / "far", site))
        return labs[-1]

    with StateDirectory.open(directory) as place, trio.fail_after(60):
        engine = Engine(KeptTracker(), {"lab": make}, place, default_pool="lab", threads=False)
        async with engine.open():
            await becomes(lambda: len(labs[0].capacity()) == 2)
            task = {"details": {"command": ["sh", "-c", "sleep 0.02", "{{ N }}"]}}
            run = await submit(engine, {"one": task}, parameters={"N": list(range(1000))})
            await becomes(lambda: nodes(engine)["broken"].state == "refused")
            assert "8 attempts in a row" in nodes(engine)["broken"].why
            assert nodes(engine)["sound"].state == "up"
            await becomes(lambda: run.counts()["completed"] > 50)
            assert run.counts()["errored"] < 200

"""An agent behind a cable that is cut without a word: shorter than its lease costs nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.agent_rig import field, state
from tests.integration.netns_rig import network
from tests.integration.test_agents import gated, lines, running, whole


@pytest.mark.slow
def test_a_partition_shorter_than_the_lease_costs_nothing(tmp_path: Path) -> None:
    with network() as cable, field(tmp_path, lease="5m") as place:
        place.address = f"http://{cable.ours}:{place.port}"
        with place.serving("--ip", cable.ours, "--allow-remote") as server:
            place.joined(server, "--resource", "cores=2", inside=cable.inside)
            run = server.submit(gated(tmp_path, 3))
            server.until(lambda: running(server, run) == 2)
            cable.cut()
            server.until(lambda: state(server, "box") == "silent")
            (tmp_path / "gate").touch()
            server.until(lambda: len(lines(tmp_path)) == 4)  # they end there, and a third one does not begin
            assert running(server, run) == 2
            cable.join()
            assert server.ended(run)["state"] == "completed"
            assert lines(tmp_path) == whole(3)

"""A server for fuzzers: nothing that is submitted to it starts a process, and it has runs to be asked about."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.integration.serve_rig import Server, serving, shell, task

HERE = Path(__file__).parent

DIAMOND: Mapping[str, Any] = {
    "pull": shell("echo {{ N }}; echo oops >&2; test {{ N }} != 2"),
    "use": shell("cat", [{"task": "pull", "match": ["N"]}], expand=["N"]),
    "sum": task("true", parents=["use"]),
    "clean": task("echo", "clean", parents=[{"task": "sum", "on": "ended"}]),
}

SPEC: Mapping[str, Any] = {
    "directory": "/",
    "name": "diamond",
    "tags": {"env": "test"},
    "parameters": {"N": ["1", "2", "3"]},
    "tasks": DIAMOND,
}


@contextmanager
def quiet_server(directory: Path) -> Iterator[Server]:
    """Serve a directory with four runs that have ended, really run: one of them partly again, one edited.

    Args:
        directory: An empty one; the state is in `state` of it.
    """
    state = directory / "state"
    with serving(state) as server:
        runs = [_submitted(server) for _ in range(4)]
        assert [server.ended(run)["state"] for run in runs] == ["errored"] * 4
        changes: list[tuple[int, Any]] = [(2, {"requeue": "sum"}), (3, {"spec": {**SPEC, "name": "other"}})]
        for run, change in changes:
            assert server.api("PATCH", f"/runs/{run}", json=change).status_code == 200
            server.ended(run)
    configuration = directory / "quiet.json"
    configuration.write_text(json.dumps({"pools": {"default": {"executor": "quiet"}}}))
    with serving(state, "--config", str(configuration), PYTHONPATH=str(_installed(directory))) as server:
        yield server


def _submitted(server: Server) -> int:
    return int(server.api("POST", "/runs", json=SPEC).json()["run_id"])


def _installed(directory: Path) -> Path:
    """Install the quiet executor where only this server looks."""
    place = directory / "plugins"
    told = place / "daggy_quiet-0.dist-info"
    told.mkdir(parents=True)
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: daggy-quiet\nVersion: 0\n")
    (told / "entry_points.txt").write_text("[daggy.executors]\nquiet = daggy_quiet:QuietExecutor\n")
    (place / "daggy_quiet.py").write_text((HERE / "daggy_quiet.py").read_text())
    return place

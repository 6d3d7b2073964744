"""Functions on other machines: the worker goes there with each call, and results and messages come back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.integration.agent_rig import field
from tests.integration.serve_rig import Server, serving
from tests.integration.sshd_rig import sshd

MODELS = """
import os

def where(n: int) -> dict:
    return {"n": n, "here": os.getcwd()}

def fails() -> None:
    raise LookupError("nothing there")
"""
TASKS = {
    "where": {"details": {"function": "models:where", "arguments": {"n": "{{ N }}"}}, "parameters": {"N": [1, 2]}},
    "fails": {"details": {"function": "models:fails"}},
}


def told(server: Server, run: int) -> list[tuple[str, str, Any]]:
    server.ended(run)
    attempts = [server.get(f"/runs/{run}/tasks/{index}")["attempts"][0] for index in range(3)]
    return sorted((one["reason"], one["message"], one["result"] and one["result"]["here"]) for one in attempts)


def expected(place: Path) -> list[tuple[str, str, Any]]:
    return [("exit", "LookupError: nothing there", None), ("ok", "", str(place)), ("ok", "", str(place))]


def test_at_an_agent(tmp_path: Path) -> None:
    with field(tmp_path) as place, place.serving() as server:
        agent = place.joined(server, "--resource", "cores=2")
        (agent.work / "models.py").write_text(MODELS)
        assert told(server, server.submit(TASKS)) == expected(agent.work)


def test_over_ssh(tmp_path: Path) -> None:
    (tmp_path / "models.py").write_text(MODELS)
    with sshd(tmp_path / "sshd") as far:
        config = tmp_path / "daggy.json"
        config.write_text(json.dumps({"pools": {"lab": {"executor": "ssh", **far.settings()}}}))
        with serving(tmp_path / "state", "--config", str(config)) as server:
            assert told(server, server.submit(TASKS, directory=str(tmp_path))) == expected(tmp_path)

"""Another engine has taken over: a command ends what it runs, and says so."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration import serve_rig
from tests.integration.serve_rig import PATIENCE, environment, serving, shell

FENCED = """
import os, sys
from pathlib import Path
from daggy.cli import main
from daggy.errors import FencedError
from daggy_sqlite import SqliteTracker

append = SqliteTracker.append

def fenced(self, entries):
    if Path(os.environ["FENCED"]).exists():
        raise FencedError("the state of 'here' was taken over by host b")
    append(self, entries)

SqliteTracker.append = fenced
sys.exit(main())
"""
COMMAND = [sys.executable, "-c", FENCED]
SAID = "the state of 'here' was taken over by host b\n"
TASKS = {
    "long": shell("trap 'touch ended; exit 0' TERM; touch begun; while :; do sleep 0.05; done"),
    "short": shell("while ! test -e begun; do sleep 0.02; done; touch fenced"),
}


def test_a_run_that_another_engine_took_over_ends_its_tasks_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text(json.dumps({"tasks": TASKS}))
    command = [*COMMAND, "run", "spec.json", "-j", "2", "--dir", "state"]
    variables = environment(FENCED=str(tmp_path / "fenced"))
    done = subprocess.run(
        command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 3
    assert done.stderr.endswith(SAID)
    assert (tmp_path / "ended").exists()


def test_a_server_that_another_one_took_over_ends_its_tasks_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They would outlive it otherwise."""
    monkeypatch.setattr(serve_rig, "DAGGY", COMMAND)
    (tmp_path / "config.json").write_text('{"pools": {"default": {"executor": "fork", "workers": 2}}}')
    settings = ["--config", str(tmp_path / "config.json")]
    with serving(tmp_path / "state", *settings, FENCED=str(tmp_path / "fenced")) as server:
        server.submit(TASKS)
        assert server.process.wait(PATIENCE) == 3
        assert server.errors.read_text().endswith(SAID)
    assert (tmp_path / "ended").exists()

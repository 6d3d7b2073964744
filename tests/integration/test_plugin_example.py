"""Third-party plug-ins: built, installed, found by their entry points, and held to the same rules."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import daggy
from tests.integration.serve_rig import command, serving, shell

EXAMPLE = Path(__file__).parent / "plugin_example"

USE = """
import sys
from pathlib import Path
import trio
from daggy import plugins
from daggy.executor import Site
from daggy.testing import check_executor

assert "daggy_plain" not in sys.modules
assert "plain" in plugins.EXECUTORS.installed()
assert "daggy_plain" not in sys.modules, "listing must not import"


def make(site: Site):
    return plugins.make_executor("plain", {"prefix": ["env", "MARK=1"]}, site)


trio.run(lambda: check_executor(make, Path(sys.argv[1]), processes=False))
print(type(make(Site("p", Path("/"), "i", False))).__module__)
"""


USE_KIND = """
import sys
from pathlib import Path
from daggy.kind import KINDS, kind_of
from daggy.testing import check_kind

assert "sql" in KINDS.installed()
assert "daggy_sql" not in sys.modules, "listing must not import"
check_kind(type(kind_of("sql")), Path(sys.argv[1]), {"database": ":memory:", "query": "select 1", "separator": ";"})
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the example into a directory of its own, offline; return that."""
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    command += ["--disable-pip-version-check", "--root-user-action=ignore", "--target", str(target), str(EXAMPLE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return target


def run(installed: Path, *arguments: str) -> str:
    """Run a Python that finds the example; return what it prints."""
    core = str(Path(daggy.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(installed), core])}
    command = [sys.executable, "-W", "error", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_third_party_executor_is_found_and_passes_the_checks(installed: Path, tmp_path: Path) -> None:
    assert run(installed, "-c", USE, str(tmp_path)) == "daggy_plain\n"


def test_a_third_party_kind_is_found_and_passes_the_checks(installed: Path, tmp_path: Path) -> None:
    run(installed, "-c", USE_KIND, str(tmp_path))


def test_tasks_of_a_third_party_kind_run_beside_others(installed: Path, tmp_path: Path) -> None:
    sql = {"database": "{{ run.tags.base }}.db"}
    spec = {
        "directory": str(tmp_path),
        "tags": {"base": "numbers"},
        "parameters": {"N": {"range": [1, 5]}},
        "tasks": {
            "make": {"details": {"sql": {**sql, "query": "create table numbers (n, square)"}}},
            "fill": {
                "parents": ["make"],
                "max_parallel": 1,
                "details": {"sql": {**sql, "query": "insert into numbers values ({{ N }}, {{ N * N }})"}},
            },
            "sum": {
                "parents": ["fill"],
                "details": {"sql": {**sql, "query": "select count(*), sum(square) from numbers"}},
            },
            "end": {"parents": ["sum"], "details": {"command": ["echo", "done"]}},
        },
    }
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    place = ("--dir", str(tmp_path / "state"))
    run(installed, "-m", "daggy", "run", str(tmp_path / "spec.json"), *place)
    assert run(installed, "-m", "daggy", "logs", "last", "sum", *place).endswith("4,30\n")
    (tmp_path / "numbers.db").unlink()
    run(installed, "-m", "daggy", "run", str(tmp_path / "spec.json"), *place)  # read back: nothing runs again
    assert not (tmp_path / "numbers.db").exists()


def test_a_run_whose_kind_is_not_installed_any_more_waits_until_it_is(installed: Path, tmp_path: Path) -> None:
    core, gate, state = str(Path(daggy.__file__).parents[1]), tmp_path / "gate", tmp_path / "state"
    both = os.pathsep.join([str(installed), core])
    sql = {"sql": {"database": ":memory:", "query": "select 1"}}
    with serving(state, PYTHONPATH=both) as server:
        first = shell(f"until [ -e {gate} ]; do sleep 0.1; done")
        run = server.submit({"first": first, "then": {"parents": ["first"], "details": sql}})
        server.until(lambda: server.get(f"/runs/{run}")["counts"]["running"] == 1)
        server.process.kill()
    with serving(state, PYTHONPATH=core) as server:
        (shown,) = server.get("/runs")["items"]
        assert "unknown key 'sql'" in shown["held"]
        assert "held" in command("ls", "--dir", str(state), cwd=tmp_path).stdout
        refused = server.api("GET", f"/runs/{run}")
        assert refused.status_code == 503
        assert "install what it uses" in refused.text
        assert server.ended(server.submit({"other": shell("true")}))["state"] == "completed"
        server.process.kill()
    gate.touch()
    with serving(state, PYTHONPATH=both) as server:
        assert server.ended(run)["state"] == "completed"
        assert server.get(f"/runs/{run}")["held"] == ""


def test_the_example_is_small() -> None:
    for name, most in (("daggy_plain.py", 55), ("daggy_sql.py", 25)):
        lines = (EXAMPLE / name).read_text().splitlines()
        code = [line for line in lines if line.strip() and not line.startswith(("import ", "from ", '"""'))]
        assert len(code) <= most

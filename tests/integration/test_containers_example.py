"""The example of an executor whose machines a command leads to: sandboxes of this machine, held to the same rules."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import trio

from daggy.executor import Executor, Site
from daggy.testing import check_executor
from tests.integration.serve_rig import command

EXAMPLE = Path(__file__).parents[2] / "examples" / "containers"
SANDBOX = ["unshare", "--user", "--map-root-user", "--mount"]


def sandbox() -> list[str]:
    """Return a command that runs another one in namespaces of its own, or just runs it where none can be made."""
    has_one = shutil.which("unshare") and subprocess.run([*SANDBOX, "true"], check=False).returncode == 0
    return SANDBOX if has_one else ["env"]


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("daggy_containers", EXAMPLE / "daggy_containers.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["daggy_containers"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_it_passes_the_checks_of_executors(example: ModuleType, tmp_path: Path) -> None:
    def make(site: Site) -> Executor:
        settings = example.ContainersSettings(
            {"box": sandbox()}, {"cores": 4.0}, sys.executable, str(tmp_path / "far"), 60.0
        )
        made: Executor = example.ContainersExecutor(settings, site)
        return made

    async def check() -> None:
        await check_executor(make, tmp_path, durable=True, linger=True)

    trio.run(check)


def test_it_is_installed_and_used_by_a_configuration(tmp_path: Path) -> None:
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    pip += ["--disable-pip-version-check", "--root-user-action=ignore", "--target", str(site), str(EXAMPLE)]
    installed = subprocess.run(pip, capture_output=True, text=True, timeout=120, check=False)
    assert installed.returncode == 0, installed.stderr
    boxes = {name: sandbox() for name in ("one", "two")}
    pool = {"executor": "containers", "containers": boxes, "python": sys.executable, "directory": str(tmp_path / "far")}
    (tmp_path / "daggy.json").write_text(json.dumps({"pools": {"default": pool}}))
    tasks = {"hello": {"details": {"shell": "echo hello {{ N }} > {{ N }}.txt"}}}
    spec = {"parameters": {"N": [1, 2, 3, 4]}, "tasks": tasks}
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    ran = command("run", "--config", "daggy.json", "spec.json", cwd=tmp_path, PYTHONPATH=str(site))
    assert ran.returncode == 0, ran.stderr
    assert sorted(path.read_text() for path in tmp_path.glob("*.txt")) == [f"hello {n}\n" for n in range(1, 5)]

"""Somebody else's executor: built, installed elsewhere, found by its entry point, and held to the same rules."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import daggy

EXAMPLE = Path(__file__).parent / "plugin_example"

USE = """
import sys
from pathlib import Path
import trio
from daggy import plugins
from daggy.executor import Site
from daggy.testing import check_executor

assert "daggy_plain" not in sys.modules
assert "plain" in plugins.installed(plugins.EXECUTORS)
assert "daggy_plain" not in sys.modules, "listing must not import"


def make(site: Site):
    return plugins.make_executor("plain", {"prefix": ["env", "MARK=1"]}, site)


trio.run(lambda: check_executor(make, Path(sys.argv[1]), processes=False))
print(type(make(Site("p", Path("/"), "i", False))).__module__)
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


def test_a_third_party_executor_is_found_and_passes_the_checks(installed: Path, tmp_path: Path) -> None:
    core = str(Path(daggy.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(installed), core])}
    command = [sys.executable, "-W", "error", "-c", USE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "daggy_plain\n"


def test_the_example_is_small() -> None:
    lines = (EXAMPLE / "daggy_plain.py").read_text().splitlines()
    code = [line for line in lines if line.strip() and not line.startswith(("import ", "from ", '"""'))]
    assert len(code) <= 55

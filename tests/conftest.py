"""What every test may use: profiles of hypothesis, a worker for each core, and the command line as users run it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Shared machines pause: a slow example is no failure, a slow search is cut by max_examples.
settings.register_profile("local", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("local"), derandomize=True, print_blob=True)
settings.register_profile("deep", settings.get_profile("local"), max_examples=5000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "local"))

# The tests start hundreds of interpreters: without bytecode each would compile Daggy again, for half of its time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

MOST_WORKERS = 8


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Spread folders over one worker process a core, unless the command line says otherwise.

    A file or a test that is named runs in this process, where `-s` and a debugger work.
    """
    options = config.option
    if not config.pluginmanager.hasplugin("xdist") or hasattr(config, "workerinput"):
        return
    if options.numprocesses is not None or options.usepdb:
        return
    if any("::" in name or name.endswith(".py") for name in config.args):
        return
    options.numprocesses = min(len(os.sched_getaffinity(0)), MOST_WORKERS)
    options.dist = "worksteal"


@pytest.fixture
def daggy(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs the command line to its end: `daggy("check", "spec.json", cwd=…, stdin=…)`."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DAGGY_")}
    environment |= {"XDG_STATE_HOME": str(tmp_path / "state-home"), "COLUMNS": "120", "NO_COLOR": "1"}
    program = [sys.executable, "-c", "import sys; from daggy.cli import main; sys.exit(main())"]

    def run(
        *arguments: str, cwd: Path = tmp_path, stdin: str = "", timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*program, *arguments],
            cwd=cwd,
            env=environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run

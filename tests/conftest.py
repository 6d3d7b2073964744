"""What every test may use: how long hypothesis searches, locally and in CI, and the command line as users run it."""

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

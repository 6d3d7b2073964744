"""Schemathesis against a real server: every answer is as the API's description says, and none is a bug.

`DAGGY_API_EXAMPLES=200` looks further than CI does with 8, `DAGGY_API_SEED` elsewhere. The same seed asks the same
questions as long as the answers are the same: what fails now and then with one seed depends on when things happen in
the server, and is a fault there.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hostile.api_rig import HERE, quiet_server
from tests.integration.serve_rig import Server

EXAMPLES = int(os.environ.get("DAGGY_API_EXAMPLES", "3"))
SEED = os.environ.get("DAGGY_API_SEED", "1")

CONFIGURATION = """
hooks = "{hooks}"
seed = {seed}
request-timeout = 30
continue-on-failure = true
suppress-health-check = ["all"]

[headers]
Authorization = "Bearer {token}"

[generation]
max-examples = {examples}
database = "none"

[phases.stateful]
max-steps = 6
generation.max-examples = {examples}

# What fits its schema may still not fit what there is: a name, a place, a version.
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "404", "409"]

# DELETE kills a run, and keeps it unless it is told to forget it.
[checks.use_after_free]
enabled = false

[[operations]]
include-operation-id = ["submit_run", "change_run", "kill_run", "list_tasks", "read_log"]
checks.positive_data_acceptance.expected-statuses = ["2xx", "400", "404", "409", "412", "416", "422"]

# A stream as OpenAPI 3.1 knows it is a text; what its events hold is looked at elsewhere.
[[operations]]
include-operation-id = ["follow_all", "follow_run"]
checks.response_schema_conformance.enabled = false
max-stream-events = 1
request-timeout = 1
"""


def run_schemathesis(server: Server, place: Path) -> subprocess.CompletedProcess[str]:
    """Put the description of a server to the test in all phases."""
    configuration = place / "schemathesis.toml"
    configuration.write_text(
        CONFIGURATION.format(hooks=HERE / "api_hooks.py", seed=SEED, token=server.token, examples=EXAMPLES)
    )
    (place / "openapi.json").write_text(server.http.get("/openapi.json").text)
    program = "import sys; from schemathesis.cli import schemathesis; sys.exit(schemathesis())"
    arguments = ["--config-file", str(configuration), "run", "openapi.json", "--url", server.address]
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=60 * max(10, EXAMPLES),
        check=False,
        env={**os.environ, "NO_COLOR": "1", "NO_PROXY": "*"},
    )


@pytest.mark.slow
def test_the_api_is_as_it_is_described_whatever_it_is_asked(tmp_path: Path) -> None:
    with quiet_server(tmp_path) as server:
        done = run_schemathesis(server, tmp_path)
        sys.stdout.write(done.stdout)
        assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-5_000:]
        tested = re.search(r"Tested: (\d+)", done.stdout)
        assert tested is not None, done.stdout
        assert int(tested[1]) == sum(len(item) for item in server.http.get("/openapi.json").json()["paths"].values())
        assert server.http.get("/ready").status_code == 200
        said = server.errors.read_text()
        assert "Traceback" not in said, said[-20_000:]
        assert server.stop() == 0

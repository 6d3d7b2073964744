"""Carriers are known by the locks that they hold, and nothing of Beam is loaded where its executor is."""

from __future__ import annotations

import ast
import fcntl
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import daggy_beam
from daggy_beam.carrier import TRIES, Carrier

PATIENCE = 60


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "1000"])
    yield process
    process.kill()
    process.wait(PATIENCE)


def carrier(place: Path) -> Carrier:
    return Carrier.make(place / "7", 7, 3, {"file": "bundle.py"})


def noted(one: Carrier, **told: object) -> None:
    (one.folder / "note").write_text(json.dumps({"message": "RUNNING", "beam": told}))


def test_whoever_has_the_id_of_a_dead_carrier_is_left_alone(tmp_path: Path, stranger: subprocess.Popen[bytes]) -> None:
    one = carrier(tmp_path)
    (one.folder / "carrier").write_text(str(stranger.pid))
    assert not one.is_out
    one.end()
    with (one.folder / "carrier").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert one.is_out
        assert stranger.poll() is None
        one.end()
        assert stranger.wait(PATIENCE) == -15


def test_carriers_are_found_again_with_their_sizes(tmp_path: Path) -> None:
    carrier(tmp_path)
    (tmp_path / "8").mkdir()
    assert {number: one.elements for number, one in Carrier.found(tmp_path).items()} == {7: 3}
    assert Carrier.found(tmp_path / "nowhere") == {}


@pytest.mark.parametrize(
    ("state", "endpoint", "loopback", "tries", "expected"),
    [
        ("RUNNING", "localhost:1", False, 1, True),
        ("unreachable", "localhost:1", False, 1, True),
        ("RUNNING", "", False, 1, False),
        ("RUNNING", "localhost:1", True, 1, False),
        ("DONE", "localhost:1", False, 1, False),
        ("RUNNING", "localhost:1", False, TRIES, False),
    ],
)
def test_a_job_is_taken_up_that_outlives_its_carrier(
    tmp_path: Path, state: str, endpoint: str, loopback: bool, tries: int, expected: bool
) -> None:
    one = carrier(tmp_path)
    assert not one.has_left
    noted(one, state=state, jobs=[{"endpoint": endpoint, "loopback": loopback, "job_id": "j"}])
    one.tries = tries
    assert one.has_left is expected


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({}, False),
        ({"state": "STARTING"}, False),
        ({"state": "FAILED", "job_id": ""}, False),
        ({"state": "RUNNING"}, True),
        ({"state": "FAILED", "job_id": "j"}, True),
    ],
)
def test_a_job_is_submitted_once_its_runner_has_it(tmp_path: Path, told: dict[str, str], expected: bool) -> None:
    one = carrier(tmp_path)
    noted(one, **told)
    assert one.has_submitted is expected


def test_what_a_job_says_last_is_the_last_line_of_the_log(tmp_path: Path) -> None:
    one = carrier(tmp_path)
    assert (one.said(), one.last_words()) == ("STARTING", "")
    (one.folder / "log").write_bytes(b"first\ndaggy: no job service answers\n\n")
    noted(one, state="RUNNING")
    assert (one.said(), one.last_words()) == ("RUNNING", "no job service answers")


def test_beam_is_imported_by_what_runs_elsewhere_alone() -> None:
    folder = Path(daggy_beam.__file__).parent
    importing = set()
    for path in folder.glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.partition(".")[0] in ("apache_beam", "grpc") for name in names):
                importing.add(path.name)
    assert importing == {"bundle.py"}
    said = "import sys, daggy_beam; print('daggy_beam.executor' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert done.stdout == "False\n"

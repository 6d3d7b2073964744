"""A state directory that is removed, moved or replaced under `daggy run` or a server."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.command_rig import DEADLINE, Start, starting, wait_for

TASKS = {
    "hold": {
        "details": {"shell": "trap 'echo $$ > termed; exit 0' TERM; echo $$ > pid; mv pid ready; sleep 60 & wait"}
    },
    "quick": {"expand": ["N"], "details": {"shell": "sleep 0.05"}},
}


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    (tmp_path / "tmp").mkdir()
    spec = {"directory": str(tmp_path), "parameters": {"N": {"range": [0, 100_000]}}, "tasks": TASKS}
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    with starting(tmp_path, TMPDIR=str(tmp_path / "tmp"), XDG_STATE_HOME=str(tmp_path)) as begin:
        yield begin


def ends_in_order(tmp_path: Path, process: subprocess.Popen[bytes], named: Path) -> None:
    """The process says what is gone and how to go on, its task got TERM, and nothing is made anew there."""
    _, said = process.communicate(timeout=DEADLINE)
    lines = [line for line in said.decode().splitlines() if "removed, moved or replaced" in line]
    assert process.returncode == 3, said
    assert len(lines) == 1, said
    assert f"'{named}' was removed" in lines[0]
    assert b"Traceback" not in said
    assert b"bug" not in said
    assert (tmp_path / "termed").read_text() == (tmp_path / "ready").read_text()


@pytest.mark.parametrize("is_kept", [True, False], ids=["kept", "passing"])
def test_a_run_whose_directory_is_removed_ends(start: Start, tmp_path: Path, is_kept: bool) -> None:
    place = ["--dir", "state"] if is_kept else []
    process = start("run", *place, "-j", "2", "spec.json", stderr=subprocess.PIPE)
    wait_for((tmp_path / "ready").exists, process)
    directory = tmp_path / "state" if is_kept else next((tmp_path / "tmp").glob("daggy-*"))
    directory.rename(tmp_path / "gone")  # at once: while it is emptied, more may be written there
    ends_in_order(tmp_path, process, directory)
    assert not directory.exists()


@pytest.mark.parametrize("name", ["daggy.db", "lock", "launchers"])
def test_so_does_one_that_has_lost_a_part_of_it(start: Start, tmp_path: Path, name: str) -> None:
    process = start("run", "--dir", "state", "-j", "2", "spec.json", stderr=subprocess.PIPE)
    wait_for((tmp_path / "ready").exists, process)
    part = tmp_path / "state" / name
    shutil.rmtree(part) if part.is_dir() else part.unlink()
    ends_in_order(tmp_path, process, part)


@pytest.mark.parametrize("is_kept", [True, False], ids=["kept", "passing"])
def test_a_server_whose_directory_is_removed_ends(start: Start, tmp_path: Path, is_kept: bool) -> None:
    directory = tmp_path / "daggy"
    place = ["--dir", "daggy"] if is_kept else []
    server = start("serve", "--port", "0", *place, stderr=subprocess.PIPE)
    wait_for((directory / "address").exists, server)
    start("submit", "--dir", "daggy", "spec.json").wait(DEADLINE)
    wait_for((tmp_path / "ready").exists, server)
    directory.rename(tmp_path / "gone")
    ends_in_order(tmp_path, server, directory)
    assert not directory.exists()

"""`daggy.run(spec)`: what scripts and notebooks call."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import daggy
from daggy.errors import SpecError, UnavailableError, UsageError

COUNT = {
    "parameters": {"N": [1, 2]},
    "tasks": {
        "square": {"details": {"shell": "echo {{ N * N }} > $DAGGY_RESULT"}, "result": True},
        "sum": {"details": {"shell": "echo '{\"all\": 5}' > $DAGGY_RESULT"}, "result": True, "parents": ["square"]},
    },
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shell(text: str, **more: Any) -> dict[str, Any]:
    return {"tasks": {"only": {"details": {"shell": text}, **more}}}


def test_a_run_comes_to_state_counts_and_results(capfd: pytest.CaptureFixture[str]) -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)]
    ended = daggy.run(COUNT)
    assert (ended.state, ended.counts["completed"], ended.run["name"]) == ("completed", 3, "run")
    assert ended.results == {"square.N:1": 1, "square.N:2": 4, "sum": {"all": 5}}
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)] == handlers
    assert capfd.readouterr() == ("", "")
    place = ended.directory
    assert place.exists()
    del ended
    assert not place.exists()


def test_a_directory_keeps_the_run_and_files_are_read(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / "twice.json").write_text(json.dumps(shell("test -e mended")))
    first = daggy.run(folder / "twice.json", dir="state", workers=1, show=True)
    assert (first.state, first.counts["errored"], first.results) == ("errored", 1, {})
    assert "only errored: exit 1" in capfd.readouterr().err
    (folder / "mended").touch()
    assert daggy.run("twice.json", "state").state == "completed"
    assert daggy.run("twice.json", "state").state == "completed"
    with pytest.raises(UsageError, match="other"):
        daggy.run({"name": "other", **shell("true")}, dir="state")


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        (shell("true", parents=["none"]), "tasks.only.parents[0]: no task named 'none'"),
        (shell("true", colour=1), "tasks.only.colour: unknown key 'colour'"),
        ("missing.json", "missing.json: cannot be read: No such file or directory"),
    ],
)
def test_a_bad_spec_is_refused_with_its_problems(spec: Any, problem: str) -> None:
    with pytest.raises(SpecError) as refused:
        daggy.run(spec)
    assert problem in str(refused.value)
    assert refused.value.problems


def test_what_is_no_plain_data_is_refused() -> None:
    with pytest.raises(UsageError, match="no plain data"):
        daggy.run({"tasks": {"x": object()}})


def test_a_directory_that_cannot_be_used_is_told(folder: Path) -> None:
    (folder / "file").write_text("")
    with pytest.raises(UnavailableError, match="file"):
        daggy.run(shell("true"), dir="file/state")


def test_it_runs_within_an_event_loop_and_can_be_called_again() -> None:
    async def cell() -> list[str]:
        return [daggy.run(shell("true")).state for _ in range(2)]

    assert asyncio.run(cell()) == ["completed", "completed"]


def test_an_interrupt_stops_the_run_and_is_raised(folder: Path) -> None:
    os.mkfifo(folder / "started")
    program = (
        "import daggy, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # which a job in the background does not inherit
        "try:\n"
        "    daggy.run({'tasks': {'only': {'details': {'shell': 'echo > started; exec sleep 600'}}}}, dir='state')\n"
        "except KeyboardInterrupt:\n"
        "    sys.exit(7)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program]) as process:
        try:
            (folder / "started").read_text()
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 7
        finally:
            process.kill()
    tasks = subprocess.run(
        [sys.executable, "-m", "daggy", "tasks", "last", "--dir", "state", "--json"], capture_output=True, check=True
    )
    assert [task["state"] for task in json.loads(tasks.stdout)["items"]] == ["queued"]

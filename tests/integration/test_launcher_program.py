"""The launcher itself, spoken to over its pipes: what it refuses, how it leaves, that it runs anywhere."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from daggy.attempt import STOPPED, Kind, Reason
from daggy.executor import Launch, Launches
from daggy.launcher import frames
from daggy.launcher.local_host import local_command
from daggy.launcher.numbers import claim

DEADLINE = 20.0


class Wire:
    """Both ends of a launcher's pipes."""

    def __init__(self, process: subprocess.Popen[bytes], directory: Path) -> None:
        self.process, self.directory = process, directory
        self.cutter = frames.Frames()
        self.heard: list[frames.Answer] = []

    def send(self, frame: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(frame)
        self.process.stdin.flush()

    def hello(self, *, epoch: int = 5, durable: bool = False, directory: Path | None = None) -> None:
        more: dict[str, Any] = {"environment": {}, "inherit": True, "output_bytes": 0}
        home = str(directory or self.directory)
        if durable:
            assert claim(Path(home)) == 1
        self.send(frames.hello(epoch=epoch, launcher=1, directory=home, instance="t", durable=durable, **more))

    def launch(self, *argvs: list[str], epoch: int = 5, width: int = 2) -> None:
        launches = [Launch(index, 1, argv, {}, str(self.directory)) for index, argv in enumerate(argvs)]
        self.send(frames.launch(Launches(7, 1, epoch, "m", 0, width, launches), launches, width))

    def hear(self) -> bool:
        """Take in what comes next; False at the end."""
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], DEADLINE)[0], "the launcher says nothing"
        data = os.read(self.process.stdout.fileno(), 1 << 16)
        self.heard += self.cutter.feed(data)
        return bool(data)

    def reported(self, kind: Kind) -> dict[int, int]:
        """Return index and reason of all reports of a kind so far."""
        rows = [row for answer in self.heard if isinstance(answer, frames.Reported) for row in answer.reports.rows]
        return {int(row["row"]["index"]): int(row["row"]["reason"]) for row in rows if row["kind"] == kind}

    def until(self, kind: Kind, *indexes: int) -> None:
        while not set(indexes) <= self.reported(kind).keys():
            assert self.hear(), "the launcher has gone"


@contextmanager
def launcher(directory: Path, command: list[str] | None = None) -> Iterator[Wire]:
    argv = command or local_command()
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/", start_new_session=True) as one:
        try:
            yield Wire(one, directory)
        finally:
            assert one.stdin is not None
            one.stdin.close()


def test_launches_of_an_older_engine_are_given_back(tmp_path: Path) -> None:
    with launcher(tmp_path) as wire:
        wire.hello(epoch=5)
        wire.launch(["touch", "old"], epoch=4)
        wire.until(Kind.RECALLED, 0)
        wire.launch(["touch", "new"], epoch=5)
        wire.until(Kind.FINISHED, 0)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["new"]


def test_an_older_engine_is_hung_up_on(tmp_path: Path) -> None:
    with launcher(tmp_path) as wire:
        wire.hello(epoch=5)
        wire.hello(epoch=4)
        while wire.hear():
            pass
        assert wire.process.wait() == 0


def test_a_launcher_whose_engine_says_no_more_ends_its_tasks_and_says_so(tmp_path: Path) -> None:
    with launcher(tmp_path) as wire:
        wire.hello()
        wire.launch(["sleep", "1000"])
        wire.until(Kind.STARTED, 0)
        assert wire.process.stdin is not None
        wire.process.stdin.close()
        wire.until(Kind.FINISHED, 0)
        assert wire.reported(Kind.FINISHED) == {0: Reason.KILLED}


def test_a_launcher_asked_to_terminate_ends_its_tasks_and_says_so(tmp_path: Path) -> None:
    with launcher(tmp_path) as wire:
        wire.hello()
        wire.launch(["sleep", "1000"], ["sleep", "1000"], ["true"])
        wire.until(Kind.STARTED, 0, 1)
        wire.process.send_signal(signal.SIGTERM)
        wire.until(Kind.FINISHED, 0, 1)
        assert wire.reported(Kind.RECALLED) == {2: 0}
        assert wire.reported(Kind.FINISHED) == {0: Reason.KILLED, 1: Reason.KILLED}
        (last,) = [answer for answer in wire.heard if isinstance(answer, frames.Reported)][-1:]
        assert (last.reports.rows["row"]["flags"] == STOPPED).all()
        assert set(last.reports.messages.values()) == {"daggy stopped"}
        while wire.hear():
            pass
        assert wire.process.wait() == 0


def test_an_engine_that_does_not_listen_stops_no_task(tmp_path: Path) -> None:
    """Reports pile up in the launcher, not in a blocked write."""
    with launcher(tmp_path) as wire:
        wire.hello()
        many = 900  # of 98 bytes each: more than a pipe holds
        wire.launch(*[[""]] * many, ["sh", "-c", "echo > done; read x < fifo"])
        os.mkfifo(tmp_path / "fifo")
        with (tmp_path / "fifo").open("w"):  # opens once the last task runs
            assert (tmp_path / "done").exists()
        wire.until(Kind.FINISHED, *range(many + 1))


@pytest.mark.parametrize("ignored", [[], ["INT", "TERM", "HUP", "CHLD", "PIPE", "USR1", "RTMIN"]])
def test_what_a_launcher_inherits_of_signals_is_not_passed_on(tmp_path: Path, ignored: list[str]) -> None:
    """A shell with traps starts it, or a program that blocks every signal."""
    if ignored:
        command = ["bash", "-c", f"trap '' {' '.join(ignored)}; exec \"$@\"", "bash", *local_command()]
    else:
        block = (
            "import os, signal as s, sys; s.pthread_sigmask(0, s.valid_signals()); os.execv(sys.argv[1], sys.argv[1:])"
        )
        command = [sys.executable, "-c", block, *local_command()]
    with launcher(tmp_path, command) as wire:
        wire.hello()
        wire.launch(["sh", "-c", "cat /proc/self/status > status"], ["sleep", "1000"])
        wire.until(Kind.FINISHED, 0)
        status = dict(line.split(":\t", 1) for line in (tmp_path / "status").read_text().splitlines())
        own = 0b11 << 31  # signals 32 and 33, which are the C library's: its posix_spawn ignores them
        assert {mask: int(status[mask], 16) & ~own for mask in ("SigBlk", "SigIgn")} == {"SigBlk": 0, "SigIgn": 0}
        wire.until(Kind.STARTED, 1)
        wire.process.send_signal(signal.SIGTERM)
        wire.until(Kind.FINISHED, 1)
        assert wire.reported(Kind.FINISHED)[1] == Reason.KILLED


@pytest.mark.parametrize("environment", [{}, {"LANG": "C", "LC_CTYPE": "POSIX", "MARK": "\udcff="}])
def test_tasks_get_the_environment_that_the_launcher_was_given(tmp_path: Path, environment: dict[str, str]) -> None:
    command = ["env", "-i", *[f"{name}={value}" for name, value in environment.items()], *local_command()]
    with launcher(tmp_path, command) as wire:
        wire.hello()
        wire.launch(["/bin/sh", "-c", "/bin/cat /proc/self/environ > given"])
        wire.until(Kind.FINISHED, 0)
    pairs = dict(pair.split("=", 1) for pair in os.fsdecode((tmp_path / "given").read_bytes()).split("\0") if pair)
    assert {name: value for name, value in pairs.items() if not name.startswith("DAGGY_")} == {
        "PWD": str(tmp_path),  # the shell's own
        **environment,
    }


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_the_first_process_of_a_container_reaps_what_outlives_its_task(tmp_path: Path) -> None:
    container = ["unshare", "--map-root-user", "--pid", "--fork"]
    if subprocess.run([*container, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to make process namespaces")
    with launcher(tmp_path, [*container, *local_command()]) as wire:
        wire.hello()
        wire.launch(["sh", "-c", "sleep 1000 & :"])
        wire.until(Kind.FINISHED, 0)
        (first,) = children(wire.process.pid)
        (orphan,) = children(first)
        os.kill(orphan, signal.SIGKILL)
        ended = time.monotonic() + DEADLINE
        while orphan in children(first):
            assert time.monotonic() < ended, "it stays a zombie"
            time.sleep(0.01)


def room(directory: Path) -> None:
    """Put a small filesystem at `directory`, or skip the test."""
    directory.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(directory)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small filesystem")


def test_a_full_disk_stops_launching_and_room_sets_it_going_again(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    room(disk)
    try:
        with launcher(tmp_path) as wire:
            wire.hello(durable=True, directory=disk)
            wire.launch(["echo", "x" * 3000], ["true"])
            wire.until(Kind.FINISHED, 0, 1)
            with pytest.raises(OSError, match="No space"):
                (disk / "filler").write_bytes(bytes(1 << 20))
            wire.heard.clear()
            wire.launch(*[["echo", "y" * 3000]] * 20)
            while not any(isinstance(answer, frames.Trouble) and answer.message for answer in wire.heard):
                assert wire.hear()
            assert len(wire.reported(Kind.FINISHED)) < 20
            (disk / "filler").unlink()
            wire.until(Kind.FINISHED, *range(20))
            while frames.Trouble("") not in wire.heard:
                assert wire.hear()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)

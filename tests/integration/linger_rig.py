"""A launcher that lives on without an engine, spoken to over its pipes and its socket, for tests."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from daggy.attempt import Kind
from daggy.executor import Launch, Launches
from daggy.launcher import frames
from daggy.launcher.local_host import local_command
from daggy.launcher.numbers import claim

DEADLINE = 20.0


def hello(directory: Path, *, epoch: int, number: int = 1, linger: float = 60.0, **more: Any) -> bytes:
    base: dict[str, Any] = {"environment": {}, "inherit": True, "output_bytes": 0, "instance": "t", **more}
    return frames.hello(epoch=epoch, launcher=number, directory=str(directory), durable=True, linger=linger, **base)


def launch(directory: Path, *argvs: list[str], epoch: int = 5, width: int = 2, first: int = 0) -> bytes:
    launches = [Launch(first + at, 1, argv, {}, str(directory)) for at, argv in enumerate(argvs)]
    return frames.launch(Launches(7, 1, epoch, "m", 0, width, launches), launches, width)


def launchers(place: Path) -> list[int]:
    """Return the process ids that launchers wrote into their locks, anywhere below a folder that may change meanwhile.

    `Path.glob` fails on a folder that goes while it looks.
    """
    found = []
    for folder, _, names in os.walk(place):
        if "lock" in names and Path(folder).parent.name == "launchers":
            with suppress(FileNotFoundError, IndexError):  # it went, or its launcher is only starting
                found.append(int((Path(folder) / "lock").read_text().split()[0]))
    return sorted(found)


class Line:
    """One way to a launcher: what is said over it, and all that was heard."""

    def __init__(self, source: int, sink: int) -> None:
        self.source, self.sink = source, sink
        self.cutter = frames.Frames()
        self.heard: list[frames.Answer] = []

    def send(self, *data: bytes) -> None:
        for one in data:
            assert os.write(self.sink, one) == len(one)

    def hear(self) -> bool:
        """Take in what comes next; False at the end."""
        assert select.select([self.source], [], [], DEADLINE)[0], "the launcher says nothing"
        try:
            data = os.read(self.source, 1 << 16)
        except ConnectionResetError:
            data = b""
        self.heard += self.cutter.feed(data)
        return bool(data)

    def until(self, condition: Callable[[], Any]) -> None:
        while not condition():
            assert self.hear(), "the launcher has hung up"

    def until_hung_up(self) -> None:
        while self.hear():
            pass

    def reported(self, kind: Kind) -> dict[int, Any]:
        """Return the reports of a kind so far, by index."""
        rows = [row for answer in self.heard if isinstance(answer, frames.Reported) for row in answer.reports.rows]
        return {int(row["row"]["index"]): row for row in rows if row["kind"] == kind}

    @property
    def is_greeted(self) -> bool:
        return any(isinstance(answer, frames.Hello) for answer in self.heard)

    def close(self) -> None:
        for descriptor in {self.source, self.sink} - {-1}:
            os.close(descriptor)
        self.source = self.sink = -1


class Scene:
    """A directory with one launcher, and those who speak to it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.home = directory / "launchers" / str(claim(directory, "default"))
        self.lines: list[Line] = []
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, *said: bytes) -> Line:
        """Start the launcher; it finds all this in its pipe."""
        theirs, sink = os.pipe()
        source, out = os.pipe()
        line = Line(source, sink)
        line.send(*said)
        with (self.home / "log").open("wb") as log:
            self.started.append(
                subprocess.Popen(local_command(), stdin=theirs, stdout=out, stderr=log, start_new_session=True)
            )
        os.close(theirs)
        os.close(out)
        self.lines.append(line)
        return line

    def call(self) -> Line:
        """Come to its socket."""
        folder = os.open(self.home, os.O_RDONLY)
        with socket.socket(socket.AF_UNIX) as end:
            end.connect(f"/proc/self/fd/{folder}/socket")
            descriptor = end.detach()
        os.close(folder)
        line = Line(descriptor, descriptor)
        self.lines.append(line)
        return line

    def pid(self) -> int:
        """Return who keeps the launcher's lock."""
        return int((self.home / "lock").read_text().split()[0])

    def end(self) -> None:
        for line in self.lines:
            line.close()
        for pid in {*([self.pid()] if self.alive() else []), *(one.pid for one in self.started)}:
            try:
                os.kill(pid, signal.SIGCONT)
                os.kill(pid, signal.SIGTERM)
            except ProcessLookupError:
                continue
        for one in self.started:
            one.wait(DEADLINE)
        becomes(lambda: not self.alive())

    def alive(self) -> bool:
        lock = self.home / "lock"
        words = lock.read_text().split() if lock.exists() else []
        return bool(words) and alive(int(words[0]))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def becomes(condition: Callable[[], Any]) -> None:
    """Wait for what other processes do: they tell nobody."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "never happened"
        time.sleep(0.01)


@contextmanager
def scene(directory: Path) -> Iterator[Scene]:
    made = Scene(directory)
    try:
        yield made
    finally:
        made.end()

"""Real Beam, for tests: attempts of a Beam program as a launcher starts them, and a job service on loopback."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from daggy_beam import BeamKind
from daggy_beam.kind import BeamSettings

PATIENCE = 120.0
"""Seconds that anything may take here before it counts as broken."""

EMBEDDED = "beam:env:embedded_python:v1"

GATED = """\
import os, sys, time
import apache_beam as beam

folder, count = sys.argv[1], int(sys.argv[2])


class Gated(beam.DoFn):
    def __init__(self, folder):
        self.folder = folder

    def process(self, element):
        import os, time
        import apache_beam as beam
        with open(os.path.join(self.folder, "lines"), "a") as file:
            file.write("%d\\n" % element)
        while not os.path.exists(os.path.join(self.folder, "gate")):
            time.sleep(0.05)
        beam.metrics.Metrics.counter("test", "elements").inc()
        yield element


if __name__ == "__main__":
    with beam.Pipeline() as pipeline:
        pipeline | beam.Create(range(count)) | beam.ParDo(Gated(folder))
    print("after the pipeline")
"""
"""Writes each element to `lines`, and goes on with the next once there is `gate`.

It imports where it is used: older Beams pickle functions of `__main__` without their globals.
"""

SERVICE = """\
import json, os, sys, time
import grpc
from apache_beam.portability.api import beam_job_api_pb2 as api
from apache_beam.runners.portability.local_job_service import LocalJobServicer

folder, port = sys.argv[1], int(sys.argv[2])


def held(name):
    open(os.path.join(folder, name), "w").close()
    while os.path.exists(os.path.join(folder, "hold-" + name)):
        time.sleep(0.05)


class Held(LocalJobServicer):
    def Prepare(self, *args, **more):
        held("prepare")
        return super().Prepare(*args, **more)

    def Run(self, *args, **more):
        held("run")
        return super().Run(*args, **more)

    def Drain(self, request, context):
        if not os.path.exists(os.path.join(folder, "drains")):
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "as Beam's own")
        self._jobs[request.job_id].set_state(api.JobState.DRAINED)
        return api.DrainJobResponse(state=api.JobState.DRAINED)


service = Held(os.path.join(folder, "staged"))
with open(os.path.join(folder, "port.new"), "w") as file:
    file.write(str(service.start_grpc_server(port)))
os.rename(os.path.join(folder, "port.new"), os.path.join(folder, "port"))
ask = os.path.join(folder, "ask")
while True:
    time.sleep(0.02)
    if os.path.exists(ask):
        with open(os.path.join(folder, "jobs"), "w") as file:
            json.dump({job._job_name: api.JobState.Enum.Name(job.state) for job in list(service._jobs.values())}, file)
        os.unlink(ask)
"""
"""Beam's local job service, which holds a request for as long as a file says so, and drains if one says so.

It tells the states of its jobs when there is a file `ask`.
"""


def beam_python() -> str:
    """Return an interpreter that has Beam. Skip where there is none; in CI that is a failure."""
    if importlib.util.find_spec("apache_beam") is not None:
        return sys.executable
    named = os.environ.get("DAGGY_BEAM_PYTHON", "")
    if not named:
        text = "no Apache Beam: pip install 'daggy[beam]', or name an interpreter that has it in DAGGY_BEAM_PYTHON"
        pytest.fail(text) if os.environ.get("CI") else pytest.skip(text)
    return named


def until(condition: Callable[[], Any], what: Callable[[], str] = lambda: "") -> None:
    """Look again until it holds, or patience has ended."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.02)


class JobService:
    """A job service process; `folder` holds what it says and what holds it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, 0
        folder.mkdir()
        self.start()

    def start(self) -> None:
        """Start it, on the port that it had before."""
        (self.folder / "port").unlink(missing_ok=True)
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [beam_python(), "-c", SERVICE, str(self.folder), str(self.port)], stdout=log, stderr=log
            )
        until((self.folder / "port").exists, (self.folder / "log").read_text)
        self.port = int((self.folder / "port").read_text())

    def stop(self) -> None:
        """Kill it: it forgets its jobs."""
        self.process.kill()
        self.process.wait()

    @property
    def endpoint(self) -> str:
        """Where it is."""
        return f"localhost:{self.port}"

    def hold(self, request: str) -> None:
        """Hold the next requests of a name: "prepare" or "run"."""
        (self.folder / request).unlink(missing_ok=True)
        (self.folder / f"hold-{request}").touch()

    def holds(self, request: str) -> bool:
        """Return whether a request has come."""
        return (self.folder / request).exists()

    def let_go(self, request: str) -> None:
        """Answer what was held."""
        (self.folder / f"hold-{request}").unlink()

    def jobs(self) -> dict[str, str]:
        """Return the states of its jobs by name."""
        (self.folder / "ask").touch()
        until(lambda: not (self.folder / "ask").exists(), (self.folder / "log").read_text)
        found: dict[str, str] = json.loads((self.folder / "jobs").read_text())
        return found


@contextmanager
def job_service(folder: Path) -> Iterator[JobService]:
    """Run a job service for as long as the block lasts."""
    service = JobService(folder)
    try:
        yield service
    finally:
        service.stop()


class Attempt:
    """One attempt at a task of the kind `beam`: a process, with the files that a launcher gives it.

    Args:
        directory: Where it runs.
        settings: As in `details.beam`; `python` is Beam's if they name none.
        number: The attempt's.
        before: The attempt whose note it finds.
        named: Whether it has what a launcher gives.
    """

    def __init__(
        self, directory: Path, settings: Mapping[str, Any], number: int = 1, before: Attempt | None = None, *,
        named: bool = True,
    ) -> None:  # fmt: skip
        command = BeamKind().command(BeamSettings(**{"python": beam_python(), **settings}))
        self.name = f"i-1-0-{number}"
        self.place = directory / f".attempt-{number}"
        self.place.mkdir()
        (self.place / "result").touch()
        given = {
            "DAGGY_TICKET": f"i:1.0.0.1.{number}",
            "DAGGY_NOTE": str(self.place / "note"),
            "DAGGY_RESULT": str(self.place / "result"),
        }
        if before is not None:
            given["DAGGY_NOTE_BEFORE"] = str(before.place / "note")
        clean = {name: value for name, value in os.environ.items() if not name.startswith("DAGGY_")}
        (self.place / "in").write_text(command.stdin or "")
        with (
            (self.place / "in").open() as stdin, (self.place / "out").open("wb") as out,
            (self.place / "err").open("wb") as err,
        ):  # fmt: skip
            self.process = subprocess.Popen(
                command.argv, stdin=stdin, stdout=out, stderr=err, cwd=directory,
                env={**clean, **command.environment, **(given if named else {})}, start_new_session=True,
            )  # fmt: skip

    @property
    def out(self) -> str:
        """What it has printed."""
        return (self.place / "out").read_text()

    @property
    def err(self) -> str:
        """What it has printed as errors."""
        return (self.place / "err").read_text()

    @property
    def note(self) -> dict[str, Any]:
        """What its note says."""
        found: dict[str, Any] = json.loads((self.place / "note").read_text())["beam"]
        return found

    @property
    def result(self) -> Any:
        """Its result; None: there is none."""
        text = (self.place / "result").read_text()
        return json.loads(text) if text else None

    def until(self, condition: Callable[[], Any]) -> None:
        """Look again until it holds, or this attempt has ended."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert self.process.poll() is None, self.err
            assert time.monotonic() < deadline, self.err
            time.sleep(0.02)

    def until_state(self, state: str) -> None:
        """Wait until its note says so."""
        self.until(lambda: (self.place / "note").exists() and self.note["state"] == state)

    def ended(self) -> int:
        """Wait for its end; return the exit code."""
        return self.process.wait(PATIENCE)

    def end(self, why: str) -> int:
        """End it as a launcher does, and wait; return the exit code."""
        (self.place / "note.end").write_text(why)
        self.process.send_signal(signal.SIGTERM)
        return self.ended()

    def kill(self) -> None:
        """Kill it and what it has started, as a machine that fails does."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

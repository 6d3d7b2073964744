"""A server as `daggy serve` is one, in a process of its own, with a pool that does nothing or starts processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import trio
from attrs import frozen

from daggy.engine.configuration import Configuration, Retention, ServerSettings
from daggy.executor import Executor, Launches, Reports, Request as RequestToExecutor, Rows, Site, Stop
from daggy.server.serving import Request, serve
from daggy.testing.noop import NoopExecutor, NoopSettings, finish
from tests.bench.asking import PATIENCE, Asker, is_ready
from tests.bench.fresh import BenchError, Figures, fresh_command

PACE = 0.1
"""Seconds that a task takes which has no process and is to take its time."""

LOOK = 0.002
"""Seconds between two looks at whether a server is ready."""


class PacedExecutor(NoopExecutor):
    """Finishes what it is given a moment later, so that a drain takes its time: `workers / PACE` tasks a second."""

    async def run(
        self,
        requests: trio.MemoryReceiveChannel[RequestToExecutor],
        report: Callable[[Reports], None],
        changed: Callable[[], None],
    ) -> None:
        """Report every launch as finished, PACE seconds after it came, until the channel ends or a Stop comes."""

        async def pass_on(rows: Rows) -> None:
            await trio.sleep(PACE)
            report(Reports(rows))

        async with trio.open_nursery() as nursery:
            async for request in requests:
                if isinstance(request, Launches):
                    nursery.start_soon(pass_on, finish(request, time.time() + PACE))
                elif isinstance(request, Stop):
                    return


EXECUTORS: Mapping[str, Callable[[Site], Executor]] = {
    "noop": lambda site: NoopExecutor(NoopSettings(), site),
    "paced": lambda site: PacedExecutor(NoopSettings(workers=2000), site),
}
"""By name; everything else is what the configuration says."""


@frozen
class Served(Configuration):
    """A configuration whose pools may be of no plug-in that is installed: `kind` is a key of EXECUTORS, or "fork"."""

    kind: str = "fork"

    def executors(self) -> dict[str, Callable[[Site], Executor]]:
        """Return by pool what makes its executor."""
        make = EXECUTORS.get(self.kind)
        return dict.fromkeys(self.pools, make) if make else super().executors()


def served(directory: str, executor: str, retention: int, *, kept: bool) -> Figures:
    """Serve until SIGTERM: what the process of a `Service` does.

    Args:
        directory: The state directory.
        executor: "fork", two tasks at once; "noop", any number; or "paced", 20,000 a second.
        retention: Ended runs that are kept.
        kept: Whether in SQLite; else in memory.
    """
    pools = {"default": {"executor": "fork", "workers": 2}}
    made = Served(pools, "default", server=ServerSettings(port=0), retention=Retention(runs=retention), kind=executor)
    serve(Request(made, Path(directory), kept, leave_running=False, allow_remote=False, say=_say))
    return {}


def _say(line: str) -> None:
    print(line, file=sys.stderr)


@frozen(eq=False)
class Service:
    """A server that is ready.

    Args:
        process: Its process.
        address: Where it listens.
        token: With what to ask it.
        ready: Seconds from the start of its process until `/ready` said that it is.
    """

    process: subprocess.Popen[bytes]
    address: str
    token: str
    ready: float

    @contextmanager
    def asking(self) -> Iterator[Asker]:
        """Connect to it."""
        asker = Asker(self.address, self.token)
        try:
            yield asker
        finally:
            asker.close()


@contextmanager
def service(directory: Path, *, kept: bool, executor: str = "noop", retention: int = 1000) -> Iterator[Service]:
    """Serve from a process with a pool of this kind until everything is loaded, and end it; arguments as `served`."""
    arguments = {"directory": str(directory), "executor": executor, "retention": retention, "kept": kept}
    with started(fresh_command("service.served", arguments), directory) as server:
        with server.asking() as asker:
            asker.ask("GET", "/runs?limit=1")
        yield server


@contextmanager
def started(command: Sequence[str], directory: Path) -> Iterator[Service]:
    """Start a server that uses a state directory, wait until it is ready, and end it.

    Raises:
        BenchError: it does not get ready, or ends otherwise than it should.
    """
    directory.mkdir(mode=0o700, exist_ok=True)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DAGGY_")}
    said = directory.with_suffix(".err")
    with said.open("wb") as errors:
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors, env=environment)
    try:
        address = _ready(process, directory)
        yield Service(process, address, (directory / "token").read_text().strip(), time.perf_counter() - began)
        process.terminate()
        if process.wait(PATIENCE):
            raise BenchError(f"the server ended with {process.returncode}: {said.read_text()[-500:]}")
    finally:
        process.kill()
        process.wait()
        said.unlink()


def _ready(process: subprocess.Popen[bytes], directory: Path) -> str:
    """Return the address of a server once it is ready."""
    path = directory / "address"
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError):
            address = path.read_text().strip()
            if address and is_ready(address):
                return address
        time.sleep(LOOK)
    raise BenchError("the server does not get ready")

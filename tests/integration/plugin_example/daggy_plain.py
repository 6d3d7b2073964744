"""An executor: one `trio.run_process` after another on this machine, under a prefix program if one is set."""

import os
import time
from typing import Any

import numpy as np
import trio
from attrs import frozen

from daggy.errors import Problem
from daggy.executor import ATTEMPT, REPORT, Executor, Kind, Launches, Machine, Reason, Recall, Reports, Stop, Ticket

CAPTURED: Any = {"check": False, "capture_stdout": True, "capture_stderr": True}


@frozen
class PlainSettings:
    prefix: tuple[str, ...] = ()


class PlainExecutor(Executor):
    Settings, fixed = PlainSettings, True

    def __init__(self, settings: PlainSettings, site: Any) -> None:
        self.prefix, self.turn = settings.prefix, trio.Lock()
        self.scopes: dict[Ticket, trio.CancelScope] = {}
        self.started: set[Ticket] = set()
        self.outputs: dict[tuple[int, ...], Any] = {}

    def capacity(self) -> list[Machine]:
        return [Machine("here", {"cores": 1.0})]

    def check(self, work: Any) -> list[Problem]:
        return [Problem("result", "results are not kept here", "choose another pool")] if work.result else []

    async def recover(self, epoch: int) -> Reports:
        return Reports(np.zeros(0, REPORT))

    async def run(self, requests: Any, report: Any, changed: Any) -> None:
        async with trio.open_nursery() as nursery:
            async for request in requests:
                if isinstance(request, Launches):
                    for launch in request.launches:  # `start` and not `start_soon`: turns are taken in this order
                        await nursery.start(self.attempt, request, launch, report)
                for ticket in [*self.scopes] if isinstance(request, Stop) else getattr(request, "tickets", ()):
                    if ticket in self.scopes and not (isinstance(request, Recall) and ticket in self.started):
                        self.scopes[ticket].cancel()
                if isinstance(request, Stop):
                    return

    async def attempt(self, batch: Launches, launch: Any, report: Any, task_status: Any) -> None:
        ticket = Ticket(batch.run, batch.version, launch.index, batch.epoch, launch.attempt)
        row = np.zeros((), ATTEMPT)
        row["index"], row["attempt"], kind, message = launch.index, launch.attempt, Kind.RECALLED, ""
        with trio.CancelScope() as self.scopes[ticket]:
            task_status.started()
            async with self.turn:
                self.started.add(ticket)
                kind, row["started"], row["reason"] = Kind.FINISHED, time.time(), Reason.KILLED
                try:
                    env = {name: text for name, text in (os.environ | launch.environment).items() if text is not None}
                    done = await trio.run_process(
                        [*self.prefix, *launch.argv], cwd=launch.directory, env=env, **CAPTURED
                    )
                    row["stdout"], row["stderr"] = len(done.stdout), len(done.stderr)
                    self.outputs[batch.run, batch.version, launch.index, launch.attempt] = done
                    row["code"], row["reason"] = done.returncode, Reason.EXIT if done.returncode else Reason.OK
                except OSError as error:
                    row["reason"], row["started"], message = Reason.SPAWN, 0, str(error)
        row["ended"] = time.time()
        del self.scopes[ticket]
        report(Reports(np.array([(0, kind, batch.run, batch.version, batch.epoch, row)], REPORT), {0: message}))

    async def read_log(self, run: int, version: int, row: Any, stream: str, offset: int, limit: int) -> bytes:
        key = run, version, int(row["index"]), int(row["attempt"])
        return bytes(getattr(self.outputs[key], stream)[offset : offset + limit])

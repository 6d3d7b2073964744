"""Slurm's own programs, run one at a time in an environment of their own, and for a bounded time."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping

import trio
from attrs import define, field

from daggy.launcher.queues import QueueError

PATIENCE = 20.0
"""Seconds for an answer: without a controller, some programs wait for minutes."""

PASSED = ("HOME", "LANG", "LOGNAME", "PATH", "SLURM_CONF", "TZ", "USER")
"""Variables that Slurm's programs, and so jobs, get of this process's."""


class MissingError(QueueError):
    """Slurm is not installed here."""


class FailedError(QueueError):
    """A program of Slurm's has answered that it fails."""


@define(eq=False)
class Client:
    """Runs Slurm's programs.

    Args:
        environment: More variables for jobs.
    """

    environment: Mapping[str, str] = field(factory=dict)
    _turn: trio.Lock = field(factory=trio.Lock)

    def _variables(self) -> dict[str, str]:
        passed = {name: os.environ[name] for name in PASSED if name in os.environ}
        return {**passed, **self.environment, "SLURM_BITSTR_LEN": "0"}

    async def call(self, *argv: str, stdin: str = "") -> str:
        """Return what a program prints.

        Raises:
            MissingError: there is no such program.
            FailedError: it fails, in its own words.
            QueueError: it does not answer: what it was to do may have been done.
        """
        program = argv[0]
        async with self._turn:
            with trio.move_on_after(PATIENCE):
                try:
                    done = await trio.run_process(
                        argv, stdin=stdin.encode(), capture_stdout=True, capture_stderr=True, check=False,
                        env=self._variables(), deliver_cancel=_kill,
                    )  # fmt: skip
                except FileNotFoundError:
                    raise MissingError(f"no {program} on the PATH; is Slurm installed on this machine?") from None
                except OSError as error:
                    raise QueueError(f"{program} cannot be run: {(error.strerror or str(error)).lower()}") from None
                if done.returncode:
                    raise FailedError(_said(program, done))
                return done.stdout.decode(errors="replace")
        raise QueueError(f"{program} has not answered for {PATIENCE:.0f} s; is Slurm's controller well?")


async def _kill(process: trio.Process) -> None:
    process.kill()


def _said(program: str, done: subprocess.CompletedProcess[bytes]) -> str:
    """Return a program's own words, on one line."""
    lines = [line.strip() for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
    words = "; ".join(line.removeprefix(f"{program}: ").removeprefix("error: ") for line in lines)
    return f"{program}: {words or f'exit code {done.returncode}'}"

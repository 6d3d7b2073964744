"""Reads and plans specs before an engine takes them; large ones in a process of their own, so that the loop goes on.

A process of its own, because a thread would not do: decoding tens of megabytes, and a collection over millions of new
values, hold the interpreter in one piece. What comes back are arrays, mapped from memory that both processes see, and
templates that are made of them on demand (`daggy.spec.packed`): the server never has an object for each
hand-written task, so that its collector of cycles has nothing more to walk over either. In the process that reads, the
collector is off. Where a spec comes to many objects after all (hundreds of thousands of templates with parameters),
they are unpacked piece by piece, with the collector off and frozen over them afterwards.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import trio
from attrs import define, field, frozen

from daggy.engine.configuration import Limits
from daggy.engine.intake.transfer import make_memory, read_whole, unpack, write_all
from daggy.engine.intake.worker import Order, split
from daggy.errors import TooLargeError, UnavailableError
from daggy.plan import Plan, plan
from daggy.spec import parse
from daggy.spec.model import RunSpec

T = TypeVar("T")

AT_ONCE = 1 << 14
"""Bytes of a spec that is read on the loop."""

IN_THREAD = 1 << 20
"""Bytes of a spec that is read in a thread: it gives way to the loop often enough. Larger ones get a process."""

MANY = 1000
"""Pieces of a plan from which on they are frozen."""

COMMAND = (sys.executable, "-P", "-c", "from daggy.engine.intake.worker import main; main()")


@frozen(eq=False)
class Accepted:
    """A spec that was read and planned.

    Args:
        spec: The spec.
        raw: The same as it is to be kept.
        plan: Its plan.
    """

    spec: RunSpec
    raw: bytes
    plan: Plan


@define(eq=False)
class Intake:
    """Reads specs, one large one at a time.

    Args:
        limits: What is accepted at most.
        command: What starts the process that reads a large one.
    """

    limits: Limits = field(factory=Limits)
    command: tuple[str, ...] = COMMAND
    _turn: trio.Lock = field(factory=trio.Lock)

    async def read(self, body: bytes | Path) -> Accepted:
        """Return a spec, read and planned.

        Args:
            body: The document, or the file that it is in. It needs nothing from outside.

        Raises:
            SpecError: everything that is wrong with it.
            TooLargeError: it comes to more tasks than are accepted.
            UnavailableError: it is large, and the process that was reading it died.
        """
        made = await self.plan(body)
        self.check(made.size)
        return Accepted(made.spec, await _bytes_of(body), made)

    async def plan(self, body: bytes | Path) -> Plan:
        """Return the plan of a spec, however many tasks it comes to.

        Raises:
            SpecError, UnavailableError: as `read`.
        """
        if (size := await _size(body)) <= IN_THREAD:
            raw = await _bytes_of(body)
            return _planned(raw) if size <= AT_ONCE else await _in_thread(_planned, raw)
        async with _memory("copy") as copy:
            _, made = await self._read_apart(body, "", copy)
        assert made is not None
        return made

    async def read_member(self, body: bytes | Path, member: str) -> tuple[bytes, Accepted | None]:
        """Return a JSON object without one of its members, and that member read as a spec; None if it is not there.

        What is no JSON object comes back whole.

        Raises:
            SpecError, TooLargeError, UnavailableError: as `read`.
        """
        if await _size(body) <= IN_THREAD:
            spec, rest = split(await _bytes_of(body), member)
            return rest, await self.read(spec) if spec else None
        async with _memory("copy") as copy:
            rest, made = await self._read_apart(body, member, copy)
            if made is None:
                return rest, None
            raw = await trio.to_thread.run_sync(read_whole, Path(f"/proc/self/fd/{copy}"))
        self.check(made.size)
        return rest, Accepted(made.spec, raw, made)

    def check(self, tasks: int) -> None:
        """Refuse more tasks than are accepted.

        Raises:
            TooLargeError: it is more.
        """
        if tasks > self.limits.tasks:
            raise TooLargeError(
                f"the spec comes to {tasks:,} tasks, and this server accepts {self.limits.tasks:,}; "
                "split it, or raise 'limits.tasks' in the server's configuration"
            )

    async def _read_apart(self, body: bytes | Path, member: str, copy: int) -> tuple[bytes, Plan | None]:
        """Have a process read and plan a spec; return what stands around it, and its plan."""
        async with self._turn, _memory("spec") as source, _memory("plan") as outcome:
            if isinstance(body, bytes):
                await trio.to_thread.run_sync(write_all, source, body)
            path = f"/proc/self/fd/{source}" if isinstance(body, bytes) else str(body)
            await self._work(Order(path, member, outcome, copy), (source, outcome, copy))
            pieces = unpack(outcome)
            first = next(pieces)
            if isinstance(first, Exception):
                raise first
            return first.rest, await _last_of(pieces) if first.planned else None

    async def _work(self, order: Order, descriptors: tuple[int, ...]) -> None:
        """Run the process that carries out an order until it has ended; it is killed if the caller is cancelled.

        Raises:
            UnavailableError: it died.
        """
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        try:
            process = await trio.lowlevel.open_process(
                list(self.command),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                pass_fds=descriptors,
                start_new_session=True,
                env=environment,
            )
        except OSError as error:
            raise UnavailableError(f"no process can be started to read the spec: {error.strerror}") from error
        assert process.stdin is not None
        try:
            async with process.stdin:
                with contextlib.suppress(trio.BrokenResourceError):  # it is gone, and its status says how
                    await process.stdin.send_all(msgspec.json.encode(order) + b"\n")
                await process.wait()
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
        if process.returncode:
            raise _died(process.returncode)


def _died(status: int) -> UnavailableError:
    how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
    mend = "; perhaps memory ran out: make room, or split the spec" if status == -signal.SIGKILL else ""
    return UnavailableError(f"the process that was reading the spec {how}{mend}, and submit it again")


async def _last_of(pieces: Iterator[Any]) -> Any:
    """Return the last piece of a transfer; between two of them the loop goes on."""
    last, count, collecting = None, 0, gc.isenabled()
    gc.disable()
    try:
        for count, last in enumerate(pieces, 1):  # noqa: B007  # used below
            await trio.lowlevel.checkpoint()
    finally:
        if count > MANY:
            gc.freeze()
        if collecting:
            gc.enable()
    return last


def _planned(raw: bytes) -> Plan:
    return plan(parse(raw, directory=None))


async def _in_thread(work: Callable[..., T], *arguments: object) -> T:
    return await trio.to_thread.run_sync(partial(work, *arguments), abandon_on_cancel=True)


async def _size(body: bytes | Path) -> int:
    return len(body) if isinstance(body, bytes) else (await trio.Path(body).stat()).st_size


async def _bytes_of(body: bytes | Path) -> bytes:
    return body if isinstance(body, bytes) else await trio.to_thread.run_sync(read_whole, body)


@contextlib.asynccontextmanager
async def _memory(name: str) -> AsyncIterator[int]:
    descriptor = make_memory(name)
    try:
        yield descriptor
    finally:
        with trio.CancelScope(shield=True):  # giving back what is not mapped takes tens of milliseconds
            await trio.to_thread.run_sync(os.close, descriptor)

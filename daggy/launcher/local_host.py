"""This machine as a host: launchers are children, or processes met at their sockets; their files lie here."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import trio

from daggy import files
from daggy.attempt import Rows
from daggy.executor import Machine, Site
from daggy.launcher import dead_launchers, logs
from daggy.launcher.frames import Key
from daggy.launcher.host import Channel, Found, Host, Remains, Terms
from daggy.launcher.local_channel import LEFT, LocalChannel
from daggy.launcher.meeting import meet_or_outlive
from daggy.launcher.numbers import OWNER

PYTHON = ("-I", "-S", "-E", "-X", "utf8")
"""Flags that have the interpreter up in milliseconds, whatever its site and environment hold."""
BOOT = "import sys; sys.path.append(sys.argv[1]); from daggy.launcher.program.main import main; main()"
"""Runs the launcher as a module, so that its compiled form is found again."""


def local_command() -> list[str]:
    """Return the argv that starts a launcher on this machine."""
    return [sys.executable, *PYTHON, "-c", BOOT, str(Path(__file__).absolute().parents[2])]


class LocalHost(Host):
    """This machine."""

    def __init__(self, site: Site, machine: Machine, terms: Terms, most: int) -> None:
        """Keep what is given; start nothing."""
        super().__init__(machine, most)
        self._site, self._terms = site, terms
        self._home = site.directory / "launchers"

    def _hello(self, epoch: int, number: int) -> bytes:
        return self._terms.hello(self._site, str(self._site.directory), epoch, number, gpus=self.gpus)

    async def start(self, number: int, epoch: int) -> Channel:
        """Start a launcher as a child, in a session of its own; `log` in its folder takes its standard error."""
        LEFT[:] = [left for left in LEFT if left.poll() is None]
        path = self._home / str(number) / "log"
        theirs, sink = os.pipe()
        source, answers = os.pipe()
        log = -1
        try:
            log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            process = await trio.lowlevel.open_process(
                local_command(), stdin=theirs, stdout=answers, stderr=log, start_new_session=True, cwd="/"
            )
        except BaseException:
            os.close(sink)
            os.close(source)
            raise
        finally:
            for descriptor in {theirs, answers, log} - {-1}:
                os.close(descriptor)
        channel = LocalChannel(number, source, sink, process, path)
        channel.send(self._hello(epoch, number))
        return channel

    async def meet(self, epoch: int) -> Found:
        """Return the launchers of this site's state directory.

        Those of pools that are no more are this site's from here on; those of its other pools are left alone: they may
        be at work.
        """
        found = Found()
        names = {path.parent.name for path in files.matches(self._home, "*/*")}
        for number in sorted(int(name) for name in names if name.isdigit()):
            home = self._home / str(number)
            if not self._is_ours(home):
                continue
            met = await meet_or_outlive(home, self._hello(epoch, number), epoch)
            if met is not None:
                found.alive.append(met)
                continue
            remains = await self._read_spool(number, 0)
            if remains.last or remains.damage:
                found.dead.append(remains)
            else:
                self.forget(number)
        return found

    def _is_ours(self, home: Path) -> bool:
        """Return whether a launcher is this site's; one without an owner becomes so."""
        try:
            owner = (home / OWNER).read_text()
        except FileNotFoundError:
            owner = ""
        if owner in self._site.others:
            return False
        if owner != self._site.pool:
            with contextlib.suppress(OSError):  # no room: then another pool will find it too
                (home / OWNER).write_text(self._site.pool)
        return True

    async def bury(self, number: int, after: int) -> Remains:
        """Wait until a launcher is dead, kill what it ran, and read its spool."""
        await meet_or_outlive(self._home / str(number), None, 0)
        return await self._read_spool(number, after)

    async def _read_spool(self, number: int, after: int) -> Remains:
        read = partial(dead_launchers.read, self._site.directory, self._site.instance, number, after)
        return await trio.to_thread.run_sync(read)

    async def end(self, keys: Iterable[Key]) -> set[Key]:
        """Kill all processes that carry the tickets of these tasks."""
        return await trio.to_thread.run_sync(dead_launchers.end, self._site.instance, list(keys), {})

    def forget(self, number: int) -> None:
        """Empty a dead launcher's folder."""
        dead_launchers.remove(self._site.directory, number)

    async def read(self, run: int, version: int, row: Rows, stream: str, offset: int, limit: int) -> bytes:
        """Return a part of an ended attempt's output, from its pack or file."""
        read = partial(logs.read, self._site.directory, run, version, row, stream, offset, limit)
        return await trio.to_thread.run_sync(read)

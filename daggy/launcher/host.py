"""The port to a machine: how launchers are started, met, buried and read there; the rest is the same everywhere."""

from __future__ import annotations

import abc
import os
from collections.abc import Callable, Iterable, Mapping

from attrs import field, frozen

from daggy.attempt import Reports, Rows
from daggy.executor import Machine, Site
from daggy.launcher import frames
from daggy.launcher.frames import Key

LINGER = 60.0
"""Seconds that a launcher without an engine and without work waits for another engine."""


class Channel(abc.ABC):
    """A stream of frames to one launcher. `serve` must run while it is used.

    Args:
        number: The launcher's number, unique in its state directory.
    """

    def __init__(self, number: int) -> None:
        """Begin open."""
        self.number = number
        self.is_closing = False
        """Whether `close` was called: the launcher's end is no surprise."""
        self.is_left = False
        """Whether it was closed so that the launcher goes on, to be met by another engine."""

    @abc.abstractmethod
    def send(self, frame: bytes) -> None:
        """Send a frame, in order; never blocks. A frame to a launcher that has gone is dropped."""

    @abc.abstractmethod
    def close(self, *, leave: bool = False) -> None:
        """Close once everything is sent: the launcher ends what it still runs, unless it is left alone."""

    @abc.abstractmethod
    async def serve(self, hear: Callable[[list[frames.Answer]], None]) -> None:
        """Carry frames both ways until the stream ends, or the launcher is left alone.

        Args:
            hear: Takes the answers of each wake-up; never blocks.
        """

    @property
    @abc.abstractmethod
    def failure(self) -> str:
        """Why a launcher that ended before it answered cannot run here; empty if another one may."""


@frozen(eq=False)
class Met:
    """A launcher that was found alive, and all that it knows.

    Args:
        channel: The stream to it.
        reports: Finishes that are not acknowledged, then a start for each task that runs.
        lanes: In which lane each of those runs, -1 if its slot is free already.
    """

    channel: Channel
    reports: Reports
    lanes: dict[Key, int]


@frozen(eq=False)
class Remains:
    """What a dead launcher of a durable site left, until all of it is acknowledged.

    Args:
        launcher: Its number.
        reports: FINISHED rows: its finishes, then those LOST; by sequence number.
        damage: What of its spool could not be read; empty: nothing.
    """

    launcher: int
    reports: Reports
    damage: str = ""

    @property
    def last(self) -> int:
        """The last sequence number; 0 if there is nothing to acknowledge."""
        rows = self.reports.rows
        return int(rows["seq"][-1]) if len(rows) else 0


@frozen(eq=False)
class Found:
    """The launchers of a site that earlier engines left on a host.

    Args:
        dead: What dead ones left.
        alive: Those that live on.
    """

    dead: list[Remains] = field(factory=list)
    alive: list[Met] = field(factory=list)


@frozen
class Terms:
    """What all tasks of a pool have in common.

    Args:
        environment: Variables of every task, under those of its spec.
        inherit: Whether tasks get the environment of their launcher (less DAGGY_*) too.
        output_bytes: The most that an attempt may write; 0: no limit.
    """

    environment: Mapping[str, str] = field(factory=dict)
    inherit: bool = True
    output_bytes: int = 0

    def hello(self, site: Site, directory: str, epoch: int, number: int, *, gpus: int, lease: float = 0.0) -> bytes:
        """Return the first frame for a launcher of a site that keeps its files in `directory`."""
        environment = self.environment if self.inherit else {"PATH": os.defpath, **self.environment}
        return frames.hello(
            epoch=epoch,
            launcher=number,
            directory=directory,
            instance=site.instance,
            durable=site.durable,
            environment=environment,
            inherit=self.inherit,
            output_bytes=self.output_bytes,
            linger=LINGER if site.linger else 0.0,
            lease=lease,
            gpus=gpus,
        )


class Host(abc.ABC):
    """A machine on which launchers can be had.

    Args:
        machine: The machine as the engine sees it.
        most: Launchers at once, at most.
    """

    def __init__(self, machine: Machine, most: int) -> None:
        """Keep what is given; start nothing."""
        self.machine = machine
        self.most = most

    @property
    def gpus(self) -> int:
        """How many GPUs the machine has."""
        return int((self.machine.totals or {}).get("gpus", 0))

    @abc.abstractmethod
    async def start(self, number: int, epoch: int) -> Channel:
        """Start a launcher under a number that was claimed for it, and greet it.

        Raises:
            OSError: it cannot be started.
        """

    @abc.abstractmethod
    async def meet(self, epoch: int) -> Found:
        """Return the launchers of this site that are there from before.

        Raises:
            DirectoryError: one lives on that this engine cannot use, or does not end when it is killed.
        """

    @abc.abstractmethod
    async def bury(self, number: int, after: int) -> Remains:
        """Wait until a launcher whose stream has ended is dead, end what it ran, and read what it left.

        Tasks that it lost are numbered above `after`, the last sequence number that was heard of it. Only of durable
        sites; the same each time until it is forgotten.
        """

    @abc.abstractmethod
    async def end(self, keys: Iterable[Key]) -> set[Key]:
        """Kill all processes of these tasks, whose launcher is dead; return the tasks of which any was found."""

    @abc.abstractmethod
    def forget(self, number: int) -> None:
        """Remove what a dead launcher left: all of it is acknowledged."""

    @abc.abstractmethod
    async def read(self, run: int, version: int, row: Rows, stream: str, offset: int, limit: int) -> bytes:
        """Return a part of an ended attempt's output; arguments and errors as `Executor.read_log`."""

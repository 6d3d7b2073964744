"""A machine elsewhere as a host: everything on it is done by a relay, at the other end of a line."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote

import trio
from attrs import evolve

from daggy.attempt import Kind, Rows, joined
from daggy.errors import DirectoryError, UnavailableError
from daggy.executor import Launches, Machine, Site
from daggy.launcher import dead_launchers, frames, logs, spool
from daggy.launcher.frames import Key
from daggy.launcher.homecoming import FETCH_BYTES
from daggy.launcher.host import Channel, Found, Host, Met, Remains, Terms
from daggy.launcher.line import AwayError, UnfitError, Way
from daggy.launcher.mux import Mux, RelayError
from daggy.launcher.program import notes
from daggy.launcher.program.values import LARGEST
from daggy.launcher.program.wire import VERSION

PART = 1 << 16
"""Bytes that are asked of a relay at once: what else it carries waits for no more than this."""
AHEAD = 128
"""Tasks for each that runs that may wait there: what has been sent to a machine that falls silent is its own."""
LOOK_AGAIN = 0.1
UNSAID = 15.0
"""Seconds for a launcher that lives, cannot be met, and has not said by when it leaves."""
SPARE = 10.0
"""Seconds beyond the time at which it said to be gone."""


class FarChannel(Channel):
    """Frames to one launcher over a relay."""

    def __init__(self, number: int, mux: Mux) -> None:
        """Listen from here on; `serve` passes on what came before it."""
        super().__init__(number)
        self._mux = mux
        self._hear: Callable[[list[frames.Answer]], None] | None = None
        self.early: list[frames.Answer] = []
        """Answers that came before `serve`."""
        self.came = trio.Event()
        """Set when any came, or the launcher has gone."""
        self._ended = trio.Event()
        self._words = ""
        mux.attach(number, self._take, self._end)

    def _take(self, answers: list[frames.Answer]) -> None:
        if self._hear is not None:
            self._hear(answers)
        else:
            self.early += answers
            self.came.set()

    def _end(self) -> None:
        self._ended.set()
        self.came.set()

    @property
    def is_ended(self) -> bool:
        """Whether the launcher has ended, or was let go."""
        return self._ended.is_set()

    def send(self, frame: bytes) -> None:
        """Send a frame, in order; never blocks."""
        self._mux.send(self.number, frame)

    def close(self, *, leave: bool = False) -> None:
        """Let the launcher go; one that was told to stop ends what it runs, any other lingers."""
        self.is_closing, self.is_left = True, leave
        if not self._ended.is_set():
            self._mux.detach(self.number)
            self._ended.set()

    async def serve(self, hear: Callable[[list[frames.Answer]], None]) -> None:
        """Pass on what the launcher says until it has ended."""
        self._hear = hear
        if self.early:
            hear(self.early)
        await self._ended.wait()
        if not self.is_closing:
            self._words = await self._last_words()

    async def _last_words(self) -> str:
        try:
            return str(await self._mux.ask("words", number=self.number))
        except (RelayError, FileNotFoundError):
            return ""

    @property
    def failure(self) -> str:
        """The last line that a launcher which has ended wrote; empty if it wrote none."""
        return self._words


class FarHost(Host):
    """A machine at the other end of a line.

    Args:
        machine: Its name, and what it has in all; what that does not say is measured there.
        site: Whose launchers.
        terms: What their tasks have in common.
        directory: Where things are kept there, as configured.
        way: Leads to it.
        lease: Seconds without a word after which launchers there end what they run.
        fetch_bytes: The most that an attempt may have written for its output to be copied here.
        work: The directory there that stands for a run's own; empty: it has the same name there.
    """

    def __init__(
        self,
        machine: Machine,
        site: Site,
        terms: Terms,
        directory: str,
        way: Way,
        lease: float,
        fetch_bytes: int = FETCH_BYTES,
        work: str = "",
    ) -> None:
        """Keep what is given; it is away until `begin`."""
        super().__init__(machine, 1)
        self.describe(machine, directory, work)
        self.way, self.lease, self.fetch_bytes = way, lease, fetch_bytes
        self.keeps = site.durable
        """Whether what is reported is acknowledged by the engine, once it is kept."""
        self.site = evolve(site, durable=True, linger=True)  # a line may break at any moment: launchers live on
        self._terms = terms
        self._mux: Mux | None = None
        self._root = self._boot = ""
        self._runs = list[int]()
        self.reported: Mapping[int, int] = {}
        """By launcher, the last sequence number that was heard of it."""
        self.numbers: list[int] = []
        """Launchers that had left anything there when the line began."""

    def describe(self, machine: Machine, directory: str, work: str) -> None:
        """Take what is configured of it; it counts from the next `begin` on."""
        self.machine, self._directory, self._work = machine, directory, work
        self._totals = dict(machine.totals or {})

    async def begin(self, mux: Mux) -> dict[str, Any]:
        """Use a new line; return what its relay says of the machine.

        Raises:
            AwayError: the line has ended.
            UnfitError: nothing can be kept there.
        """
        try:
            said: dict[str, Any] = await mux.ask(
                "open",
                directory=self._directory,
                instance=self.site.instance,
                owner=f"{quote(self.site.pool, '')}@{quote(self.machine.name, '')}",
                passing=int(not self.keeps),
            )
        except RelayError as error:
            raise UnfitError(str(error)) from None
        self._mux, self._root, self._boot, self.numbers = mux, said["root"], said["boot"], said["launchers"]
        if self._work == "~" or self._work.startswith("~/"):
            self._work = said["home"] + self._work[1:]
        self._runs = said["runs"]
        totals = {name: float(amount) for name, amount in said["resources"].items()} | self._totals
        self.machine = evolve(self.machine, totals=totals, ahead=AHEAD)
        self.most = max(1, min(int(totals.get("cores", 1.0)), said["resources"]["cores"]))
        return said

    async def _ask(self, name: str, **order: Any) -> Any:
        if self._mux is None:
            raise AwayError("it is not connected")
        return await self._mux.ask(name, **order)

    def _hello(self, epoch: int, number: int) -> bytes:
        return self._terms.hello(self.site, self._root, epoch, number, gpus=self.gpus, lease=self.lease)

    async def start(self, number: int, epoch: int) -> Channel:
        """Start a launcher there."""
        if self._mux is None:
            raise AwayError("it is not connected")
        channel = FarChannel(number, self._mux)
        try:
            await self._ask("start", number=number)
        except RelayError as error:
            raise OSError(f"a launcher cannot be started: {error}") from None
        channel.send(self._hello(epoch, number))
        return channel

    async def meet(self, epoch: int) -> Found:
        """Return the launchers of this site that are there from before, whichever engine started them.

        Raises:
            UnfitError: one lives on that this engine cannot use.
        """
        found = Found()
        for number in self.numbers:
            met = await self._meet(number, epoch)
            if met is not None:
                found.alive.append(met)
                continue
            remains = await self._read_spool(number, self.reported.get(number, 0))
            if remains.last or remains.damage:
                found.dead.append(remains)
            else:
                await self._ask("forget", number=number)
        for run in self._runs:  # it may have been away when they were removed
            if self.keeps and not (self.site.directory / "runs" / str(run)).exists():
                self.forget_run(run)
        return found

    async def _meet(self, number: int, epoch: int | None) -> Met | None:
        """Meet a launcher; None: it is dead. Without an epoch only wait until it is."""
        begun, asked = trio.current_time(), False
        while True:
            if epoch is None:
                said = await self._ask("keeper", number=number)
            else:
                assert self._mux is not None
                channel = FarChannel(number, self._mux)
                said = await self._ask("connect", number=number)
                if said.get("connected") and (met := await self._greet(channel, epoch)):
                    return met
                channel.close()
            if not said["alive"]:
                return None
            patience = float(said["leaves"]) + SPARE if said["leaves"] else begun + UNSAID - trio.current_time()
            if patience < 0 and said["pid"] and not asked:
                await self._ask("kill", pid=said["pid"])
                asked = True
            elif patience < -UNSAID:
                raise UnfitError(f"process {said['pid']} there does not end; end it")
            await trio.sleep(LOOK_AGAIN)

    async def _greet(self, channel: FarChannel, epoch: int) -> Met | None:
        """Return what a launcher answers to a hello, at the end of which it greets; None: it has gone."""
        channel.send(self._hello(epoch, channel.number))
        with trio.move_on_after(UNSAID):
            while not any(isinstance(one, frames.Hello) for one in channel.early):
                if channel.is_ended:
                    return None
                channel.came = trio.Event()
                await channel.came.wait()
        at = next((at for at, one in enumerate(channel.early) if isinstance(one, frames.Hello)), None)
        if at is None:
            return None
        greeting, before = channel.early[at], channel.early[:at]
        assert isinstance(greeting, frames.Hello)
        self._check(greeting, epoch)
        reported = [one for one in before if isinstance(one, frames.Reported)]
        channel.early[: at + 1] = [one for one in before if not isinstance(one, frames.Reported)]
        started: list[Key] = [
            (key[0], key[1], key[2], key[3], key[4])
            for one in reported
            for kind, *key in one.keys
            if kind == Kind.STARTED
        ]
        lanes = dict(zip(started, greeting.lanes, strict=True))
        return Met(channel, joined([one.reports for one in reported]), lanes)

    def _check(self, greeting: frames.Hello, epoch: int) -> None:
        where = f"process {greeting.pid} there"
        if greeting.version != VERSION:
            raise UnfitError(f"{where} was started by another version of Daggy; let it end its tasks, or end it")
        if greeting.epoch != epoch:
            raise UnfitError(
                f"{where} works for a later engine ({greeting.epoch}; this one: {epoch}): "
                f"is this server's directory an older copy? If not, end it"
            )

    async def bury(self, number: int, after: int) -> Remains:
        """Wait until a launcher is dead, have what it ran killed, and read its spool."""
        await self._meet(number, None)
        return await self._read_spool(number, after)

    async def _read_spool(self, number: int, after: int) -> Remains:
        paths = await self._ask("segments", number=number)
        spooled = spool.read([await self._file(path) for path in paths])
        try:
            dead_launchers.require_readable(spooled, f"{self._root}/launchers/{number}")
        except DirectoryError as error:
            raise UnfitError(str(error)) from None
        keys, pids = dead_launchers.left_running(spooled, self._boot)
        known = [[at, pid, repr(boot)] for at, (pid, boot) in pids.items()]
        ended = await self._ask("end", keys=keys, pids=known) if keys else []
        sizes = {}
        for path in dead_launchers.named_outputs(spooled):
            try:
                sizes[path] = int(await self._ask("size", path=path))
            except FileNotFoundError:
                continue
        for key in spooled.running:
            with contextlib.suppress(FileNotFoundError, RelayError):  # it may be anything that its task has made
                path = dead_launchers.note_of(number, key)
                text = notes.parsed(await self._ask("part", path=path, offset=0, limit=LARGEST))
                spooled.told[key] = text or spooled.told.get(key, "")
        return dead_launchers.remains(number, spooled, self._boot, {keys[at] for at in ended}, sizes, after)

    async def _file(self, path: str) -> bytes:
        data = bytearray()
        while part := await self._ask("part", path=path, offset=len(data), limit=PART):
            data += part
        return bytes(data)

    async def part(self, path: str, offset: int, limit: int) -> bytes:
        """Return a part of a file there."""
        data: bytes = await self._ask("part", path=path, offset=offset, limit=limit)
        return data

    async def end(self, keys: Iterable[Key]) -> set[Key]:
        """Have all processes of these tasks killed."""
        order = list(keys)
        return {order[at] for at in await self._ask("end", keys=order, pids=[])} if order else set()

    def forget(self, number: int) -> None:
        """Have a dead launcher's folder removed."""
        if self._mux is not None and not self._mux.is_closed:
            self._mux.send(0, frames.frame("q", {"id": 0, "op": "forget", "number": number}))

    def moved(self, batch: Launches) -> Launches:
        """Return launches as they are to start there: in `work` in place of their run's own directory, or below it."""
        own = batch.directory.rstrip("/")
        if not self._work or not batch.directory:
            return batch
        launches = [
            one._replace(directory=self._work + one.directory[len(own) :])
            if one.directory == own or one.directory.startswith(own + "/")
            else one
            for one in batch.launches
        ]
        return evolve(batch, launches=launches)

    def forget_run(self, run: int) -> None:
        """Have the outputs of a run removed; a machine that is away keeps them until it is met again."""
        if self._mux is not None and not self._mux.is_closed:
            self._mux.send(0, frames.frame("q", {"id": 0, "op": "remove_run", "run": run}))

    async def read(self, run: int, version: int, row: Rows, stream: str, offset: int, limit: int) -> bytes:
        """Return a part of an ended attempt's output.

        Raises:
            UnavailableError: the machine cannot be asked at this moment.
        """
        with contextlib.suppress(OSError, ValueError):  # a copy that came home
            return await trio.to_thread.run_sync(
                logs.read, self.site.directory, run, version, row, stream, offset, limit
            )
        try:
            return await self._read(run, version, row, stream, offset, limit)
        except (AwayError, RelayError) as error:
            name = self.machine.name
            raise UnavailableError(f"the output lies on {name}, which does not answer: {error}; try again") from None

    async def _read(self, run: int, version: int, row: Rows, stream: str, offset: int, limit: int) -> bytes:
        asked = logs.wanted(run, version, row, stream, offset, limit)
        if asked is None:
            return b""
        part = asked.part
        if part.least and int(await self._ask("size", path=part.path)) < part.least:
            raise asked.damaged()
        data = bytearray()
        while len(data) < part.limit:
            size = min(PART, part.limit - len(data))
            more = await self._ask("part", path=part.path, offset=part.offset + len(data), limit=size)
            if not more:
                break
            data += more
        return asked.cut(bytes(data))

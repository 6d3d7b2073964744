"""The Beam executor: tasks go out in parcels, each of which a runner runs as a pipeline."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

import trio
from attrs import define, field

from daggy import files
from daggy.errors import PluginError, Problem
from daggy.executor import Site, Work
from daggy.launcher import bundle
from daggy.launcher.checks import no_options, only_processes
from daggy.launcher.host import Terms
from daggy.launcher.parcels.executor import ParcelExecutor
from daggy.launcher.parcels.folder import Parcel
from daggy.launcher.parcels.place import Order, Seen
from daggy.launcher.program.store import OVER_NETWORK, filesystem
from daggy.launcher.queues import Fate, QueueError, RefusedError
from daggy_beam.carrier import Carrier, run
from daggy_beam.kind import BOOT
from daggy_beam.settings import BeamPoolSettings

SETTLE, SETTLE_LOCAL = 60.0, 3.0
"""Seconds after which a file that is not seen is not there: network filesystems keep old listings for so long."""

LARGEST = 10_000
"""Elements of a pipeline: Beam takes 15 s to make one of 100,000."""

LOOK = 2.0
"""Seconds between two looks at carriers, which costs some files' opening."""

ROOM = 0.1
"""Seconds between two looks for whether another job may be submitted."""


@define(eq=False)
class BeamRunner:
    """Has a runner run parcels, each by a carrier.

    Args:
        settings: The pool's.
        site: Whose.
    """

    settings: BeamPoolSettings
    site: Site
    noun: str = "Beam job"
    mend: str = ""
    program: Path = field(init=False)  # the folder of the program of elements, as workers see it
    _carriers: dict[int, Carrier] = field(factory=dict)

    @property
    def folder(self) -> Path:
        """Where parcels are, as workers see it."""
        return self.settings.place / self.site.instance / quote(self.site.pool, "")

    @property
    def _home(self) -> Path:
        return self.site.directory / "carriers" / quote(self.site.pool, "")

    async def open(self) -> None:
        """Find out whether the staging folder and the interpreter can be used, and the runner be made."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.program = bundle.install(self.folder.parent)
            files.replace(self.folder / "bundle.py", (Path(__file__).parent / "bundle.py").read_bytes())
        except OSError as error:
            raise PluginError(
                f"pool '{self.site.pool}': staging: '{self.folder}' cannot be used: "
                f"{(error.strerror or str(error)).lower()}; name a directory that this machine and all workers see"
            ) from None
        self._carriers = Carrier.found(self._home)
        wrong = await trio.to_thread.run_sync(self._try)
        if "no job service answers" in wrong:  # it may come back
            raise QueueError(wrong)
        if wrong:
            raise PluginError(f"pool '{self.site.pool}': {wrong}")

    def _order(self, *arguments: str) -> dict[str, Any]:
        return {
            "module": "",
            "file": str(self.folder / "bundle.py"),
            "arguments": list(arguments),
            "runner": self.settings.runner,
            "options": self.settings.pipeline_options,
            "on_kill": "cancel",
        }

    def _try(self) -> str:
        """Have the interpreter make the runner; return what is wrong."""
        python = self.settings.interpreter
        with tempfile.TemporaryDirectory() as place:
            trial = Carrier.make(Path(place) / "0", 0, 0, self._order())
            try:
                with (trial.folder / "log").open("wb") as log:
                    code = run(python, [BOOT], trial.folder, {}, log)
            except OSError as error:
                return f"python: '{python}' cannot be started: {(error.strerror or str(error)).lower()}"
            return trial.last_words() or f"python: '{python}' ends with {code}" if code else ""

    def each(self, order: Order) -> int:
        """Return how many tasks a shard has."""
        del order
        return self.settings.tasks_per_shard

    @property
    def largest(self) -> int:
        """Return how many elements a pipeline may have."""
        return LARGEST

    def _out(self) -> int:
        return sum(carrier.is_out for carrier in list(self._carriers.values()))

    async def submit(self, parcel: Parcel, order: Order) -> str:
        """Start a carrier for a parcel, once there are not too many: what comes meanwhile goes out together.

        Returns when the runner has the job.
        """
        del order  # a runner's workers are all alike
        number, job = parcel.number, f"b{parcel.number}"
        while await trio.to_thread.run_sync(self._out) >= self.settings.jobs:  # noqa: ASYNC110 - of others' children there is no event
            await trio.sleep(ROOM)
        if not parcel.folder.is_dir():  # it was taken back meanwhile
            return job
        folder = self._home / str(number)
        told = (str(parcel.folder), str(parcel.elements), str(parcel.each), str(self.program), str(folder / "elements"))
        try:
            carrier = Carrier.make(folder, number, parcel.elements, self._order(*told))
        except OSError as error:
            raise QueueError(f"'{folder}' cannot be written: {error.strerror or error}") from None
        self._carriers[number] = carrier
        await trio.to_thread.run_sync(carrier.start, self.settings.interpreter, self._session(carrier))
        while not carrier.has_submitted:
            if not carrier.is_out and not carrier.has_submitted:
                raise RefusedError(carrier.last_words() or f"job {job} was not submitted; see '{folder}/log'")
            await trio.sleep(ROOM)
        return job

    def _session(self, carrier: Carrier) -> str:
        """Return what the job of a parcel is called."""
        return f"{self.site.instance}-{quote(self.site.pool, '')}-{carrier.batch}-1"

    async def look(self) -> list[Seen]:
        """Return the elements of jobs that are not done with."""
        return await trio.to_thread.run_sync(lambda: list(self._look()))

    def _look(self) -> Iterator[Seen]:
        for number, carrier in list(self._carriers.items()):
            if not carrier.is_out:
                is_wanted = (self.folder / str(number)).is_dir()
                if is_wanted and carrier.has_left:
                    carrier.start(self.settings.interpreter, self._session(carrier))
                elif not carrier.is_running:
                    if not is_wanted:
                        carrier.remove()
                        del self._carriers[number]
                    continue
            said = carrier.said()
            for element in range(carrier.elements):
                yield Seen(number, f"b{number}_{element}", element, said)

    async def cancel(self, batch: int, jobs: Sequence[str]) -> None:
        """Cancel the job of a parcel. An element whose tasks were taken back does nothing, and needs no word."""
        if f"b{batch}" in jobs and batch in self._carriers:
            await trio.to_thread.run_sync(self._carriers[batch].end)

    async def tell(self, batch: int, jobs: Sequence[str]) -> None:
        """Do nothing: elements look by themselves at what is to be ended."""

    async def fate(self, batch: int, job: str) -> Fate:
        """Return how the job of an element ended."""
        del job
        carrier = self._carriers.get(batch)
        return await trio.to_thread.run_sync(_fate, carrier) if carrier is not None else Fate()

    def close(self) -> None:
        """Remove the files of the pool, once no parcel is left."""
        for carrier in self._carriers.values():
            carrier.end()
        shutil.rmtree(self._home, ignore_errors=True)
        if not self.site.durable:
            shutil.rmtree(self.folder.parent, ignore_errors=True)


def _fate(carrier: Carrier) -> Fate:
    state = str(carrier.note.get("state", "STARTING"))
    if state in ("STARTING", "RUNNING", "unreachable"):
        said = f"its process on this machine was ended while the job was {state}"
    else:
        said = f"has ended as {state}"
    return Fate(said, not carrier.has_left, words=carrier.last_words(), was_cancelled=state == "CANCELLED")


class BeamExecutor(ParcelExecutor):
    """Runs tasks as elements of Beam's pipelines."""

    Settings: ClassVar[type] = BeamPoolSettings

    def __init__(self, settings: BeamPoolSettings, site: Site) -> None:
        """Keep what is given; start nothing."""
        runner = BeamRunner(settings, site)
        super().__init__(
            site,
            Terms(settings.environment, settings.inherit, settings.output_bytes),
            runner,
            runner.folder,
            most=settings.most,
            interval=LOOK,
            settle=SETTLE if filesystem(str(settings.place)) in OVER_NETWORK else SETTLE_LOCAL,
            machine="beam",
        )

    def check(self, work: Work) -> Iterable[Problem]:
        """Return what no worker of a runner can do."""
        yield from no_options(work, "beam")
        yield from only_processes(work, "beam")
        for name, amount in work.resources.items():
            if amount > (1 if name == "cores" else 0):
                yield Problem(
                    f"resources.{name}",
                    f"asks for {amount:g}, but all workers of a Beam runner are alike",
                    "remove it, and say in `options` of the pool what its workers are to have",
                )

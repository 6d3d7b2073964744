"""Slurm as a place that starts pilots."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from attrs import define

from daggy import files
from daggy.errors import DaggyError, PluginError
from daggy.executor import Entrance
from daggy.launcher.pilots.autoscaler import LAST
from daggy.launcher.pilots.plan import Pilot
from daggy.launcher.queues import Fate
from daggy_slurm import script, states
from daggy_slurm.cluster import Cluster


def is_loopback(host: str) -> bool:
    """Return whether a name or address leads back to the machine that uses it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@define(eq=False)
class SlurmQueue(Cluster):
    """Starts pilots as elements of Slurm's arrays."""

    def _entrance(self) -> Entrance:
        entrance = self.site.entrance
        host = urlsplit(entrance.url).hostname or "" if entrance is not None else "this machine"
        if entrance is None or (is_loopback(host) and not self.settings.shared_is_local):
            raise PluginError(
                f"pool '{self.site.pool}': pilots cannot reach {host}; set agents.ip to an address that nodes see, or "
                '"mode": "arrays" in the pool'
            )
        return entrance

    async def open(self) -> None:
        """Find out whether this site can serve the pool; as `Cluster.open`."""
        self._prepare()
        await super().open()

    def _prepare(self) -> None:
        """Write down the token, and make place for logs.

        Raises:
            PluginError: that cannot be done.
        """
        path, entrance = self.folder / "token", self._entrance()
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            before = path.read_text().strip() if path.exists() else ""
            token = entrance.token(self.site.pool, before)
            files.replace(path, f"{token}\n".encode())
            if (certificate := entrance.certificate) is not None:
                self._certificate.write_bytes(certificate.read_bytes())
        except OSError as error:
            raise self.unusable(error) from None
        except DaggyError as error:
            raise PluginError(f"pool '{self.site.pool}': {error}") from None

    @property
    def _certificate(self) -> Path:
        return self.folder / "certificate.pem"

    def _script(self) -> str:
        entrance = self._entrance()
        seen = Entrance(entrance.url, self._certificate if entrance.certificate else None, entrance.token)
        return script.pilot(self.settings, seen, self.site.pool, self.site.instance, self.folder / "token")

    async def submit(self, slots: Sequence[int]) -> list[Pilot]:
        """Ask for pilots, all in one array."""
        settings = self.settings
        elements = ",".join(map(str, slots))
        order = [
            "--parsable", f"--array={elements}", f"--job-name={self.name}",
            *self.options(settings.cores, settings.memory_mb, settings.gpus),
            f"--time={states.minutes_of(settings.seconds)}", f"--output={states.pattern_of(self.folder)}/%A_%a.log",
            "--open-mode=append", "--chdir=/", "--export=ALL", "--no-requeue", f"--signal=B:TERM@{LAST:.0f}",
            *settings.sbatch,
        ]  # fmt: skip
        job = await self.ask(order, self._script())
        return [Pilot(f"{job}_{slot}", slot, is_queued=True, said="PENDING") for slot in slots]

    async def look(self) -> list[Pilot]:
        """Return the pilots of this pool that wait or run."""
        printed = await self.client.call("squeue", "--me", "-h", f"--name={self.name}", "-o", states.FORMAT)
        return [
            Pilot(one.id, one.element, one.state in states.QUEUED, one.said, one.nodes, one.end, one.stuck)
            for one in states.jobs_of(printed)
            if one.name == self.name and one.element is not None and one.state != states.ENDING
        ]

    async def cancel(self, jobs: Sequence[str]) -> None:
        """Cancel some."""
        await self.signal(jobs, self.name)

    async def cancel_all(self) -> None:
        """Cancel all."""
        await self.client.call("scancel", "--quiet", "--me", f"--name={self.name}")

    async def fate(self, pilot: Pilot) -> Fate:
        """Return how one ended."""
        return await self.told(pilot.job, self.name, self._log(pilot))

    def _log(self, pilot: Pilot) -> Path:
        return self.folder / f"{pilot.job}.log"

    def forget(self, pilot: Pilot) -> None:
        """Remove the log of a pilot that has ended as it should."""
        with contextlib.suppress(OSError):
            self._log(pilot).unlink()

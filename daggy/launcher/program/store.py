"""What launchers keep on a machine for an engine elsewhere: their folders, their spools, the outputs of their tasks."""

from __future__ import annotations

import _socket
import os
import time

from daggy.launcher.program.burial import boot_id, end
from daggy.launcher.program.keeper import keeper
from daggy.launcher.program.light import TYPE_CHECKING
from daggy.launcher.program.resources import measured
from daggy.launcher.program.wire import Stream

if TYPE_CHECKING:
    from typing import Any

    from daggy.launcher.program.task import Key


OVER_NETWORK = {
    "9p", "afs", "beegfs", "ceph", "cifs", "fuse.glusterfs", "fuse.sshfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4",
    "panfs", "smb3", "smbfs",
}  # fmt: skip
MOST_READ = 1 << 20
PASSING = "passing"  # file in the directory of an engine that keeps nothing
OLD = 3600.0  # seconds after which such a directory, without a launcher that is alive, belongs to nobody


class StoreError(Exception):
    """Nothing can be kept on this machine; the text says why, and what to do."""


class Store:
    """The directory on this machine of one engine's state directory.

    Args:
        directory: As configured, below which there is one for each instance.
        instance: The text that tells the engine's state directory from every other.
        owner: What tells one machine of one pool from every other there.
        passing: Whether nothing of it is needed once its engine has gone.
    """

    def __init__(self, directory: str, instance: str, owner: str, passing: int) -> None:
        """Make it, and take note of it; StoreError: it cannot be used."""
        home = self.home = os.path.expanduser(directory)
        self.instance = instance
        self.root = "%s/%s/%s/%s" % (home, instance, owner, machine_id())
        try:
            os.makedirs(self.root + "/launchers", mode=0o700, exist_ok=True)
            os.chmod(home, 0o700)
        except OSError as error:
            message = "'%s' cannot be used: %s; set \"directory\" of the pool to one that can be written to"
            raise StoreError(message % (home, error.strerror)) from None
        kind = filesystem(self.root)
        if kind in OVER_NETWORK:
            raise StoreError(
                "'%s' is on a network filesystem (%s), which has no reliable locks; "
                'set "directory" of the pool to a local disk' % (home, kind)
            )

        self.passing = bool(passing)
        self.mark = self.root + "/" + PASSING
        if passing:
            os.close(os.open(self.mark, os.O_CREAT | os.O_WRONLY, 0o600))
        elif os.path.exists(self.mark):
            os.unlink(self.mark)

    def sweep(self) -> None:
        """Remove what engines left that were killed and whose directories outlive nothing."""
        for instance in listed(self.home):
            place = "%s/%s" % (self.home, instance)
            for owner in listed(place) if instance != self.instance else ():
                root = "%s/%s/%s" % (place, owner, machine_id())
                try:
                    age = time.time() - os.stat(root + "/" + PASSING).st_mtime
                except OSError:
                    continue
                names = listed(root + "/launchers")
                if age > OLD and not any(keeper("%s/launchers/%s" % (root, name)) for name in names):
                    try:
                        remove(root)
                    except OSError:
                        continue  # another relay does so, too
                    remove_empty(os.path.dirname(root), place)

    def identity(self) -> dict[str, Any]:
        """Return what this machine is."""
        disk = os.statvfs(self.root)
        return {
            "pid": os.getpid(), "root": self.root, "host": os.uname().nodename, "boot": boot_id(),
            "wall": "%.6f" % time.time(), "free": disk.f_bavail * disk.f_frsize, "launchers": self.launchers(),
            "resources": measured(), "home": os.path.expanduser("~"), "runs": self.runs(),
        }  # fmt: skip

    def ping(self) -> dict[str, Any]:
        """Return the time here, and the free space; the engine is there: what is kept for it is not swept."""
        if self.passing:
            try:
                os.utime(self.mark)
            except OSError:
                pass  # somebody has removed the directory: what is asked next says so
        disk = os.statvfs(self.root)
        return {"wall": "%.6f" % time.time(), "free": disk.f_bavail * disk.f_frsize}

    def folder(self, number: int) -> str:
        """Return a launcher's folder."""
        return "%s/launchers/%d" % (self.root, number)

    def launchers(self) -> list[int]:
        """Return the numbers of the launchers that have left anything here."""
        names = [name for name in os.listdir(self.root + "/launchers") if name.isdigit()]
        return sorted(int(name) for name in names if os.listdir("%s/launchers/%s" % (self.root, name)))

    def runs(self) -> list[int]:
        """Return the runs of which there are outputs here."""
        folder = self.root + "/runs"
        return [int(name) for name in os.listdir(folder) if name.isdigit()] if os.path.isdir(folder) else []

    def claim(self, number: int) -> str:
        """Make a launcher's folder, with the lock that it takes; return its path."""
        home = self.folder(number)
        os.mkdir(home, 0o700)
        os.close(os.open(home + "/lock", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        return home

    def keeper(self, number: int) -> dict[str, Any]:
        """Return whether a launcher is alive, its process id, and in how many seconds it will be gone ("": unknown)."""
        found = keeper(self.folder(number))
        if found is None:
            return {"alive": 0, "pid": 0, "leaves": ""}
        pid, leaves = found
        return {"alive": 1, "pid": pid, "leaves": "%.3f" % (leaves - time.time()) if leaves else ""}

    def connect(self, number: int) -> Stream | None:
        """Connect to a launcher's socket; None: it has none."""
        try:
            folder = os.open(self.folder(number), os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            return None
        there = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            there.connect("/proc/self/fd/%d/socket" % folder)
            return Stream(os.dup(there.fileno()), os.dup(there.fileno()))
        except OSError:
            return None
        finally:
            there.close()
            os.close(folder)

    def kill(self, pid: int) -> int:
        """Kill a launcher that does not leave by itself."""
        os.kill(pid, 9)
        return 0

    def words(self, number: int) -> str:
        """Return the last line that a launcher wrote to its log."""
        with open(self.folder(number) + "/log", errors="replace") as file:
            lines = file.read().strip().splitlines()
        return lines[-1] if lines else ""

    def segments(self, number: int) -> list[str]:
        """Return the paths of a launcher's spool, from the root, in order."""
        folder = self.folder(number) + "/spool"
        names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        return ["launchers/%d/spool/%s" % (number, name) for name in names]

    def end(self, keys: list[Key], pids: list[list[Any]]) -> list[int]:
        """Kill every process of these tasks; return the positions of those of which any was found.

        Args:
            keys: Tickets.
            pids: Of some: position, process id, and seconds since the machine's start just after its start.
        """
        started = {at: (pid, float(boot)) for at, pid, boot in pids}
        return end(self.instance, [tuple(key) for key in keys], started)  # type: ignore[misc]

    def size(self, path: str) -> int:
        """Return the size of a file below the root; FileNotFoundError: there is none."""
        return os.stat(self.inside(path)).st_size

    def part(self, path: str, offset: int, limit: int) -> bytes:
        """Return a part of a file below the root; FileNotFoundError: there is none."""
        file = os.open(self.inside(path), os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        try:
            return os.pread(file, min(limit, MOST_READ), offset)
        finally:
            os.close(file)

    def inside(self, path: str) -> str:
        """Return the whole path of a file below the root."""
        if ".." in path.split("/") or path.startswith("/"):
            raise StoreError("'%s' leads elsewhere" % path)
        return "%s/%s" % (self.root, path)

    def remove(self, number: int) -> None:
        """Remove a dead launcher's folder."""
        remove(self.folder(number))

    def clear(self) -> None:
        """Remove all that is kept here, unless a launcher is alive."""
        if not any(self.keeper(number)["alive"] for number in self.launchers()):
            remove(self.root)
            remove_empty(os.path.dirname(self.root), os.path.dirname(os.path.dirname(self.root)))

    def remove_run(self, run: int) -> int:
        """Remove the outputs of a run."""
        remove("%s/runs/%d" % (self.root, run))
        return 0


def machine_id() -> str:
    """Return what tells this machine from others that share its directories."""
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        try:
            with open(path) as file:
                text = file.read().strip()
        except OSError:
            continue
        if text:
            return "%s-%s" % (text[:12], os.uname().nodename)
    return os.uname().nodename


def filesystem(path: str) -> str:
    """Return the type of the filesystem on which a path is; empty if that cannot be told."""
    path, best, kind = os.path.realpath(path) + "/", "", ""
    with open("/proc/self/mountinfo", errors="replace") as file:
        for line in file:
            place, _, rest = line.partition(" - ")
            point = place.split()[4].replace("\\040", " ").rstrip("/") + "/"
            if path.startswith(point) and len(point) >= len(best):
                best, kind = point, rest.split()[0]
    return kind


def listed(folder: str) -> list[str]:
    """Return what is in a folder; one that is gone, or is none, has nothing."""
    try:
        return os.listdir(folder)
    except OSError:
        return []


def remove(folder: str) -> None:
    """Remove a folder and all in it, as far as it is there."""
    for place, folders, files in os.walk(folder, topdown=False):
        for name in files:
            os.unlink("%s/%s" % (place, name))
        for name in folders:
            os.rmdir("%s/%s" % (place, name))
    if os.path.isdir(folder):
        os.rmdir(folder)


def remove_empty(*folders: str) -> None:
    """Remove folders, in this order, as long as they are empty: another machine's directory may be there."""
    try:
        for folder in folders:
            os.rmdir(folder)
    except OSError:
        pass

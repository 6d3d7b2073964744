"""The state directory: who may use it, and what is in it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import stat
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from attrs import define, field

from daggy import files
from daggy.errors import DirectoryError, NoRoomError, UnavailableError
from daggy.paths import absolute, process_using

NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "ceph", "lustre", "gpfs", "beegfs", "afs", "glusterfs"}
"""Filesystems that other machines may lock and write, too."""


LOOKS, LOOK = 20, 0.005
"""How often, and after how many seconds again, it is tried to lock a directory."""

ESSENTIAL = ("lock", "instance", "runs", "launchers", "daggy.db")
"""What an engine cannot go on without, once it is there."""


@define(eq=False)
class StateDirectory:
    """A directory that one engine at a time works in: `lock`, `instance`, `daggy.db`, `launchers/`, `runs/`.

    `path` is absolute; `instance` a random text, made once, that marks the processes that belong to it.
    """

    path: Path
    instance: str
    _lock: int = field(default=-1, repr=False)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Make the directory if need be (mode 0700), and lock it.

        Raises:
            DirectoryError: it is in use, on a network filesystem, or cannot be made.
        """
        path = absolute(path)
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            _refuse_network(path)
            _make_private(path)
            lock = _lock_file(path / "lock")
            try:
                for folder in ("runs", "launchers"):
                    (path / folder).mkdir(mode=0o700, exist_ok=True)
                return cls(path, _instance(path / "instance"), lock)
            except BaseException:
                os.close(lock)
                raise
        except OSError as error:
            raise DirectoryError(
                f"directory '{path}' cannot be used: {_reason(error)}; choose another with --dir"
            ) from error

    @classmethod
    def look(cls, path: Path) -> Self:
        """Return the directory for reading, without its lock, even while another process uses it.

        Raises:
            DirectoryError: there is nothing that Daggy keeps.
        """
        path = absolute(path)
        try:
            return cls(path, _kept_instance(path / "instance")[0])
        except OSError as error:
            raise DirectoryError(f"directory '{path}' holds no runs; name another with --dir") from error

    def is_in_use(self) -> bool:
        """Return whether some process has the lock, or may have it."""
        return bool(process_using(self.path))

    def essentials(self) -> Mapping[str, tuple[int, int]]:
        """Return device and inode of each ESSENTIAL that is there."""
        found = {}
        for name in ESSENTIAL:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                status = (self.path / name).stat()
                found[name] = status.st_dev, status.st_ino
        return found

    def lists(self, run: int) -> Path:
        """Return the folder of the lists of results that a run's tasks take; it is made with the first."""
        return self.path / "runs" / str(run) / "inputs"

    def make_packs(self, run: int) -> None:
        """Make the folder of a run's outputs, `runs/<run>/packs`, readable by its owner only.

        Raises:
            NoRoomError: there is no space for it, or no inode.
            UnavailableError: it cannot be made for another reason, such as its owner.
        """
        for folder in ("runs", f"runs/{run}", f"runs/{run}/packs"):
            try:
                (self.path / folder).mkdir(mode=0o700, exist_ok=True)
            except OSError as error:
                raise _not_made(self.path / folder, error) from error

    def close(self) -> None:
        """Release the lock."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release the lock."""
        self.close()


def _not_made(folder: Path, error: OSError) -> UnavailableError:
    """Return the error for a folder that cannot be made."""
    message = f"'{folder}' cannot be made: {(error.strerror or str(error)).lower()}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoRoomError(f"{message}; make room (space or inodes), and try again")
    return UnavailableError(f"{message}; let the server make and write folders there, and try again")


def _make_private(path: Path) -> None:
    """Close a directory to other users; refuse one that is open to them and holds files that are not Daggy's."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if not mode & 0o077:
        return
    if any(path.iterdir()) and not (path / "instance").exists():
        raise DirectoryError(
            f"directory '{path}' is open to other users (mode {mode:03o}) and holds other files; choose a new one with "
            f"--dir, or close it: chmod 700 '{path}'"
        )
    path.chmod(0o700)


def _lock_file(path: Path) -> int:
    """Lock a file for this process's life and write who holds it; the lock goes with the process, however it ends."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if not _is_locked(lock):
        holder = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        raise DirectoryError(
            f"directory '{path.parent}' is in use by process {holder}; 'daggy watch last --dir {path.parent}' watches "
            f"its run, 'daggy kill last --dir {path.parent}' kills it; or name another directory with --dir"
        )
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def _is_locked(lock: int) -> bool:
    """Lock a file unless another process has it; who only looks whether somebody does has it for a moment."""
    for _ in range(LOOKS):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(LOOK)
    return False


def _instance(path: Path) -> str:
    """Return a directory's mark; a copy gets its own, since processes with the original's mark do not belong to it.

    The file has its own inode number beside the mark, which no copy has.
    """
    known, inode = _kept_instance(path) if path.exists() else ("", "")
    if known and inode in ("", str(path.stat().st_ino)):
        return known
    if known and any(files.matches(path.parent, "launchers/*/*")):
        raise DirectoryError(
            f"directory '{path.parent}' is a copy, and its 'launchers' tell of processes that are the original's; "
            f"remove '{path.with_name('launchers')}' if they are not to be taken up: what had not been kept runs again"
        )
    made = secrets.token_hex(8)
    fresh = path.with_suffix(".new")
    fresh.touch(0o600)
    fresh.write_text(f"{made} {fresh.stat().st_ino}\n")
    fresh.rename(path)
    return made


def _kept_instance(path: Path) -> tuple[str, str]:
    """Return a mark, and the inode of the file that it was made in; empty if it is not known."""
    mark, _, inode = path.read_text().strip().partition(" ")
    return mark, inode


def _refuse_network(path: Path) -> None:
    """Refuse a network filesystem, as far as the mount table shows it."""
    best, kind = "", ""
    try:
        table = Path("/proc/self/mountinfo").read_text()
    except OSError:
        return
    for line in table.splitlines():
        left, _, right = line.partition(" - ")
        mount = left.split(" ")[4]
        if len(mount) >= len(best) and (path == Path(mount) or Path(mount) in path.parents):
            best, kind = mount, right.split(" ")[0]
    if kind in NETWORK:
        raise DirectoryError(f"directory '{path}' is on a network filesystem ({kind}); name a local one with --dir")


def _reason(error: OSError) -> str:
    """Return what went wrong, with the file that it went wrong with."""
    return f"{error.strerror}: '{error.filename}'" if error.filename else str(error.strerror)

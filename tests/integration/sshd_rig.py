"""A real SSH server on loopback, for tests: with keys and a configuration of its own, ended by its process id."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 30.0
PROGRAM = shutil.which("sshd") or "/usr/sbin/sshd"


def need_sshd() -> None:
    """Skip where there is no SSH; in CI that is a failure."""
    missing = [name for name in (PROGRAM, "ssh", "ssh-keygen") if shutil.which(name) is None]
    if missing:
        text = f"{', '.join(missing)} not found: install openssh-server and openssh-client"
        pytest.fail(text) if os.environ.get("CI") else pytest.skip(text)


class Sshd:
    """An SSH server that lets this user in, by a key that lies in its directory.

    `inside` is a command that runs another one where `address` is.
    """

    def __init__(self, directory: Path, address: str = "127.0.0.1", inside: Sequence[str] = ()) -> None:
        self.directory, self.address, self.inside = directory, address, inside
        directory.mkdir(parents=True, exist_ok=True)
        self.key, self.known = directory / "id", directory / "known_hosts"
        if os.getuid() == 0:  # its processes give up their rights there
            Path("/run/sshd").mkdir(exist_ok=True)
        for name in ("hostkey", "id"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / name)], check=True, timeout=60
            )
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])  # as good elsewhere as any other
        (directory / "authorized_keys").write_bytes((directory / "id.pub").read_bytes())
        kind, key, *_ = (directory / "hostkey.pub").read_text().split()
        self.known.write_text(f"[{address}]:{self.port} {kind} {key}\n")
        (directory / "sshd_config").write_text(
            f"Port {self.port}\nListenAddress {address}\nHostKey {directory}/hostkey\nPidFile none\n"
            f"AuthorizedKeysFile {directory}/authorized_keys\nPasswordAuthentication no\n"
            "KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nUsePAM no\nStrictModes no\n"
            "MaxStartups 100:30:200\nLogLevel ERROR\n"
        )
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Listen."""
        self.process = subprocess.Popen(
            [*self.inside, PROGRAM, "-f", str(self.directory / "sshd_config"), "-D", "-E", str(self.directory / "log")],
            stdin=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + PATIENCE
        while not self._listens():
            assert self.process.poll() is None, (self.directory / "log").read_text()
            assert time.monotonic() < deadline, "sshd does not listen"
            time.sleep(0.02)  # a process sends no event of it

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((self.address, self.port)) == 0

    @property
    def sessions(self) -> list[int]:
        """The processes that serve those who are logged in."""
        assert self.process is not None
        pid = self.process.pid
        with contextlib.suppress(FileNotFoundError):
            return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return []

    def stop(self) -> None:
        """Listen no more; sessions go on."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def settings(self, **more: Any) -> dict[str, Any]:
        """Return a pool that has this server as its only host."""
        return {
            "hosts": [self.host()],
            "directory": str(self.directory / "far"),
            "work": "",
            "ssh": ["-F", "none", "-o", f"UserKnownHostsFile={self.known}"],
            **more,
        }

    def host(self, name: str = "far", **more: Any) -> dict[str, Any]:
        """Return it as a host of a pool."""
        place = {"host": self.address, "port": self.port, "user": getpass.getuser()}
        return {"name": name, **place, "private_key_file": str(self.key), **more}


@contextmanager
def sshd(directory: Path, address: str = "127.0.0.1", inside: Sequence[str] = ()) -> Iterator[Sshd]:
    """Serve, and end it."""
    need_sshd()
    server = Sshd(directory, address, inside)
    try:
        yield server
    finally:
        sessions = server.sessions
        server.stop()
        for pid in sessions:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

"""Where a server listens, and the file in its directory that says so."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import trio

from daggy import files
from daggy.errors import DirectoryError
from daggy.server.token import ADDRESS


def listen(ip: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 is any free one.

    Raises:
        DirectoryError: the address cannot be used.
    """
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((ip, port))
        listener.listen(1024)
    except (OSError, OverflowError) as error:
        listener.close()
        told = getattr(error, "strerror", None) or str(error)
        mend = "; choose another with --port" if port else ""
        raise DirectoryError(f"cannot listen on {ip}:{port}: {told.lower()}{mend}") from error
    return listener


def refuse_others(directory: Path) -> None:
    """Refuse a directory in which another user could place a token or a database.

    Raises:
        DirectoryError: it is one.
    """
    found = directory.stat()
    if found.st_uid not in (os.geteuid(), 0):
        raise DirectoryError(f"directory '{directory}' belongs to another user; name another with --dir")
    if found.st_mode & 0o022:
        raise DirectoryError(f"directory '{directory}' is writable by other users; run 'chmod go-w {directory}'")


def write_address(directory: Path, address: str) -> bool:
    """Write a server's address to its directory; return whether there was space for it."""
    try:
        files.replace(directory / ADDRESS, f"{address}\n".encode(), sync=False)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        return False
    return True


async def write_address_in_time(directory: Path, address: str) -> None:
    """Write it as soon as there is space."""
    while not write_address(directory, address):  # noqa: ASYNC110 - a disk tells nobody that it has room
        await trio.sleep(1)


def remove_address(directory: Path) -> None:
    """Remove it: nobody listens there, or will any more."""
    (directory / ADDRESS).unlink(missing_ok=True)

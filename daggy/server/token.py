"""The token: made at the first start, in a file that its owner alone can read."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from daggy.errors import DirectoryError
from daggy.paths import process_using

FILE = "token"
"""The token's file in the state directory."""

ADDRESS = "address"
"""File in the state directory with the server's address."""


def load_or_make(directory: Path) -> str:
    """Return the directory's token; make one if there is none.

    Raises:
        DirectoryError: it cannot be read or written, or others can read it.
    """
    path = directory / FILE
    try:
        return _load(path)
    except FileNotFoundError:
        pass
    fresh = directory / f".{FILE}.{os.getpid()}"
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            os.fchmod(descriptor, 0o600)
            file.write(secrets.token_urlsafe(32) + "\n")
        fresh.rename(path)
    except OSError as error:
        raise DirectoryError(f"'{path}' cannot be written: {(error.strerror or str(error)).lower()}") from error
    return _load(path)


def load(directory: Path) -> str:
    """Return the directory's token.

    Raises:
        DirectoryError: there is none, it cannot be read, or others can read it.
    """
    try:
        return _load(directory / FILE)
    except FileNotFoundError:
        raise DirectoryError(
            f"'{directory}' has no token yet; 'daggy serve --dir {directory}' makes one at its first start"
        ) from None


def entrance(directory: Path) -> str:
    """Return the address that a browser opens: it turns the token in it into a cookie.

    Raises:
        DirectoryError: no server uses the directory, or `load` raises it.
    """
    token = load(directory)
    nobody = DirectoryError(f"no server uses '{directory}' at this moment; 'daggy serve --dir {directory}' starts one")
    if not process_using(directory):
        raise nobody  # an address that is there was left by a process that was killed
    try:
        address = (directory / ADDRESS).read_text().strip()
    except FileNotFoundError:
        raise nobody from None
    except OSError as error:
        raise DirectoryError(f"'{directory / ADDRESS}' cannot be read: {str(error).lower()}") from error
    return page_address(address, token)


def page_address(address: str, token: str) -> str:
    """Return the address of a server's API page for a browser without a cookie."""
    return f"{address}/docs?token={token}"


def _load(path: Path) -> str:
    try:
        mode = path.stat().st_mode
        token = path.read_text().strip()
    except FileNotFoundError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        raise DirectoryError(f"'{path}' cannot be read: {str(error).lower()}") from error
    if mode & 0o077:
        raise DirectoryError(f"'{path}' can be read by others; remove it, and the server makes another one")
    if len(token) < 20 or not token.isascii():
        raise DirectoryError(f"'{path}' holds no token; remove it, and the server makes another one")
    return token

"""Where Daggy is called from, where it keeps state if nothing says otherwise, and who uses a state directory."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from daggy.errors import UnavailableError, UsageError

DIRECTORY = "DAGGY_DIR"
"""The variable that names the state directory where no option does."""


CERTIFICATE = "certificate.pem"
"""File in the state directory: the certificate of the server that uses it, if it has one."""


def current_directory() -> Path:
    """Return the current directory.

    Raises:
        UsageError: it has been removed.
    """
    try:
        return Path.cwd()
    except OSError as error:
        reason = "has been removed" if isinstance(error, FileNotFoundError) else (error.strerror or "").lower()
        raise UsageError(f"the current directory cannot be used: it {reason}; change to another one") from None


def process_using(directory: Path) -> str:
    """Return the process that has a state directory locked: its id, "unknown", or nothing if there is none.

    A lock that cannot be looked at may be held.
    """
    try:
        with (directory / "lock").open("rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return lock.read(32).decode(errors="replace").strip() or "unknown"
    except FileNotFoundError:
        return ""
    except OSError:
        return "unknown"
    return ""


def address_in(directory: Path) -> str:
    """Return the address of the process that serves a state directory; empty if there is none.

    One that a killed process left says nothing: its port may be another's by now.

    Raises:
        UnavailableError: it cannot be read.
    """
    is_stale = (directory / "lock").exists() and not process_using(directory)
    return "" if is_stale else text_of(directory / "address")


def text_of(path: Path) -> str:
    """Return what a short file of a state directory holds; empty if there is none.

    Raises:
        UnavailableError: it cannot be read.
    """
    try:
        return path.read_text().strip()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise UnavailableError(
            f"'{path}' cannot be read: {(getattr(error, 'strerror', '') or str(error)).lower()}"
        ) from error


def absolute(path: Path) -> Path:
    """Return a path that does not depend on the current directory.

    Raises:
        UsageError: it is relative, and the current directory has been removed.
    """
    return path if path.is_absolute() else current_directory() / path


def default_directory() -> Path:
    """Return where state is kept if nothing says otherwise: `$XDG_STATE_HOME/daggy`, or `~/.local/state/daggy`.

    Raises:
        UsageError: there is no home directory.
    """
    named = Path(os.environ.get("XDG_STATE_HOME", ""))
    if named.is_absolute():  # its specification has relative ones ignored
        return named / "daggy"
    try:
        return Path.home() / ".local" / "state" / "daggy"
    except RuntimeError:
        raise UsageError(f"HOME is not set; name a state directory with --dir or {DIRECTORY}") from None

"""An agent's directory: its lock, the text that tells it from other agents, and what its launchers keep there."""

from __future__ import annotations

import contextlib
import fcntl
import secrets
from collections.abc import Iterator
from pathlib import Path

from daggy import files
from daggy.errors import DirectoryError
from daggy.launcher.program.keeper import keeper
from daggy.launcher.program.store import OVER_NETWORK, filesystem


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[str]:
    """Use a directory; yield the text that tells this agent from others, the same each time.

    Raises:
        DirectoryError: it cannot be used, or another agent uses it.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
        kind = filesystem(str(directory))
        if kind in OVER_NETWORK:
            raise DirectoryError(
                f"'{directory}' is on a network filesystem ({kind}), which has no reliable locks; "
                "name a local one with --directory"
            )
        with open(directory / "lock", "a+", opener=files.private) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DirectoryError(
                    f"another agent uses '{directory}'; name another directory with --directory"
                ) from None
            yield _instance(directory / "instance")
    except OSError as error:
        raise DirectoryError(
            f"'{directory}' cannot be used: {(error.strerror or str(error)).lower()}; name another with --directory"
        ) from error


def is_busy(directory: Path) -> bool:
    """Return whether launchers of this agent are alive."""
    return any(keeper(str(folder)) is not None for folder in files.matches(directory, "*/*/*/launchers/*"))


def _instance(path: Path) -> str:
    with contextlib.suppress(FileNotFoundError):
        if text := path.read_text().strip():
            return text
    text = secrets.token_hex(8)
    with open(path, "w", opener=files.private) as file:
        file.write(text + "\n")
    return text

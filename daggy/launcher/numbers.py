"""Numbers of launchers: unique in a state directory for ever, whichever machine a launcher is on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

OWNER = "pool"
"""File in a launcher's folder: the name of its pool."""
LOCK = "lock"
"""File in a launcher's folder that it keeps locked while it lives; once removed it cannot be locked again."""


def claim(directory: Path, pool: str = "") -> int:
    """Claim a launcher's number and make `launchers/<number>/`, which says whose it is.

    Raises:
        OSError: the directory cannot be written to.
        ValueError: all numbers are used up.
    """
    number = reserve(directory)
    home = directory / "launchers" / str(number)
    (home / LOCK).touch(mode=0o600)
    if pool:
        (home / OWNER).touch(0o600)
        (home / OWNER).write_text(pool)
    return number


def reserve(directory: Path) -> int:
    """Claim a launcher's number, new in this state directory; its folder is empty. Errors as of `claim`."""
    home = directory / "launchers"
    home.mkdir(mode=0o700, exist_ok=True)  # not the directory itself: it may have been removed
    taken = sorted(int(entry.name) for entry in home.iterdir() if entry.name.isdigit())
    number = taken[-1] + 1 if taken else 1
    while number < 1 << 32:
        try:
            (home / str(number)).mkdir(mode=0o700)
        except FileExistsError:
            number += 1
            continue
        _sweep(home, taken)
        return number
    raise ValueError(f"all launcher numbers of '{directory}' are used up; begin a new state directory")


def _sweep(home: Path, numbers: Sequence[int]) -> None:
    """Remove the empty folders of earlier launchers: a higher number keeps theirs from being given again."""
    for number in numbers:
        try:
            (home / str(number)).rmdir()
        except OSError:
            continue

"""Whether a launcher is alive: it holds the lock in its folder for as long as it lives."""

from __future__ import annotations

import fcntl
import os


def keeper(folder: str) -> tuple[int, float] | None:
    """Return the process id of a launcher that lives, and when it said to be gone, seconds since 1970 (0: it did not).

    None: it is dead. A lock that is free is removed, so that it cannot be taken later: the launcher may only just be
    starting.
    """
    path = folder + "/lock"
    try:
        lock = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path)
    except BlockingIOError:
        words = os.pread(lock, 100, 0).split()
        return (int(words[0]), float(words[1])) if len(words) == 2 else (0, 0.0)
    except FileNotFoundError:
        return None  # it was removed meanwhile
    finally:
        os.close(lock)
    return None

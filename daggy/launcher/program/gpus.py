"""Which GPUs of its machine a task may use: indexes that it holds by locks, as long as any process of it is alive.

The locks are open files that a task inherits: they outlive its launcher, and whoever starts tasks here next finds them
taken.
"""

from __future__ import annotations

import errno
import fcntl
import os


class Gpus:
    """Hands out the indexes of one machine's GPUs.

    Args:
        folder: Where the lock files are, one an index.
        count: How many there are.
    """

    def __init__(self, folder: str, count: int) -> None:
        """Make nothing yet."""
        self.folder, self.count = folder, count

    def take(self, count: int) -> dict[int, int]:
        """Return `count` free indexes, each with the descriptor that holds it; OSError: there are not so many."""
        taken: dict[int, int] = {}
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        for index in range(self.count):
            if len(taken) == count:
                break
            lock = os.open("%s/%d" % (self.folder, index), os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                taken[index] = lock
            except BlockingIOError:
                os.close(lock)
        if len(taken) < count:
            for lock in taken.values():
                os.close(lock)
            raise BlockingIOError(errno.EAGAIN, "%d of %d GPUs are free, %d needed" % (len(taken), self.count, count))
        return taken


def variables(needs: dict[str, float]) -> dict[str, str]:
    """Return what a task sees of the resources that it needs."""
    return {
        "DAGGY_RESOURCE_" + "".join([sign if sign.isalnum() else "_" for sign in name.upper()]): "%.12g" % amount
        for name, amount in needs.items()
    }


def visible(indexes: dict[int, int]) -> dict[str, str]:
    """Return what tells a task which GPUs are its own."""
    names = ",".join(["%d" % index for index in indexes])
    return dict.fromkeys(("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "DAGGY_GPUS"), names)

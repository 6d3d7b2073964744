"""Files that their owner alone can read, and that are replaced whole."""

from __future__ import annotations

import os
from pathlib import Path


def private(path: str, flags: int) -> int:
    """Open a file that its owner alone can read, for `open(…, opener=private)`."""
    return os.open(path, flags, 0o600)


def replace(path: Path, data: bytes, *, sync: bool = True) -> None:
    """Write a file so that it has its old content or its new one, whatever happens.

    Args:
        path: The file; it is replaced by one that its owner alone can read.
        data: The content.
        sync: Whether the content is on the disk on return.

    Raises:
        OSError: it cannot be written; the old content is still there.
    """
    fresh = path.with_name(f".{path.name}.new")
    with open(fresh, "wb", opener=private) as file:
        file.write(data)
        file.flush()
        if sync:
            os.fsync(file.fileno())
    fresh.replace(path)

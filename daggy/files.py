"""Files that their owner alone can read, that are replaced whole, and that may go while they are looked for."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
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


def matches(folder: Path, pattern: str) -> Iterator[Path]:
    """Yield what matches a pattern below a folder; what goes meanwhile is left out, where `Path.glob` would fail."""
    for path in glob.iglob(pattern, root_dir=folder):  # noqa: PTH207
        yield folder / path

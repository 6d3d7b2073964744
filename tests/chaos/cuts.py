"""What a power cut does to files that nobody synced: ends cut off, blocks of zeros, files and names that are gone."""

from __future__ import annotations

import os
import random
from pathlib import Path
from stat import S_ISVTX

BLOCK = 4096


def mutilate(state: Path, loose: int, dice: random.Random) -> list[str]:
    """Damage a state directory as a machine's death may; return what was done, file by file.

    What was synced stays: the database, its log up to the offset `loose`, and what has the sticky bit, by which
    `fault.c` marks what it saw synced. The log's shared index does not outlive a machine's start.
    """
    written = [*state.glob("launchers/*/spool/*"), *state.glob("runs/*/packs/*")]
    unsynced = sorted(path for path in written if not path.stat().st_mode & S_ISVTX)
    done = [f"{path.relative_to(state)}: {_damage(path, dice)}" for path in unsynced if dice.random() < 0.6]
    wal = state / "daggy.db-wal"
    if wal.exists():
        size = wal.stat().st_size
        os.truncate(wal, dice.randint(min(loose, size), size))
        done.append(f"daggy.db-wal: {min(loose, size)} of {size} bytes synced, {wal.stat().st_size} left")
    (state / "daggy.db-shm").unlink(missing_ok=True)
    return done


def _damage(path: Path, dice: random.Random) -> str:
    size = path.stat().st_size
    match dice.choice(["cut", "cut", "cut block", "zero", "gone" if dice.random() < 0.3 else "cut"]):
        case "cut":
            left = max(0, size - dice.randint(0, 3000))
            os.truncate(path, left)
            return f"cut from {size} to {left}"
        case "cut block":
            left = size // BLOCK * BLOCK
            os.truncate(path, left)
            return f"cut from {size} to {left}"
        case "zero":
            start = max(0, (size - 1) // BLOCK * BLOCK)
            with path.open("r+b") as file:
                file.seek(start)
                file.write(bytes(size - start))
            return f"zeros from {start} to {size}"
    path.unlink()
    return "gone"

"""Named faults, and the board by which a test gives them to the processes that have `fault.c` preloaded."""

from __future__ import annotations

import mmap
import os
import random
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

ROLES = ("engine", "launcher")
FILES = ("tracker", "spool", "pack", "other")
OPS = ("write", "sync", "truncate", "open", "rename", "unlink", "link")
WHENS = ("before", "after", "torn")
ACTIONS = ("KILL", "ENOSPC")
IDLE, ARMED, OVER = range(3)

HEAD = struct.Struct("=qqii")
NOTHING = (1 << 63) - 1
SLOT = struct.Struct("=10i")
SLOTS = 8
LIBRARY = "chaos-fault.so"
COUNTS = struct.Struct(f"={len(ROLES) * len(FILES) * len(OPS)}I")
SIZE = HEAD.size + SLOTS * SLOT.size + COUNTS.size


class UnbuiltError(Exception):
    """There is no C compiler, or it refused: no faults can be injected."""


@frozen
class Fault:
    """What happens at one call: `engine:tracker:write:3:torn:KILL`, or `launcher:spool:write:5:before:ENOSPC*4`.

    Args:
        role: Whose call.
        file: Of which file.
        op: Which call.
        nth: The how manieth from the moment at which the fault is armed.
        when: Before the call, after it, or in its middle.
        length: 0: the process is killed; else so many calls in a row find the disk full, the first of them, if torn,
            after half of what it has to write.
    """

    role: str
    file: str
    op: str
    nth: int
    when: str
    length: int = 0

    def __str__(self) -> str:
        """Return its name."""
        action = f"ENOSPC*{self.length}" if self.length else "KILL"
        return f"{self.role}:{self.file}:{self.op}:{self.nth}:{self.when}:{action}"

    @property
    def place(self) -> str:
        """The boundary: its name without the count."""
        return f"{self.role}:{self.file}:{self.op}:{self.when}"


POINTS = (
    ("engine", "tracker", "write", 40),
    ("engine", "tracker", "sync", 12),
    ("engine", "other", "write", 3),
    ("engine", "other", "open", 3),
    ("engine", "other", "rename", 2),
    ("engine", "other", "unlink", 3),
    ("launcher", "spool", "write", 60),
    ("launcher", "spool", "open", 1),
    ("launcher", "spool", "unlink", 1),
    ("launcher", "pack", "write", 40),
    ("launcher", "pack", "open", 12),
    ("launcher", "pack", "truncate", 30),
    ("launcher", "pack", "sync", 3),
    ("launcher", "pack", "link", 3),
    ("launcher", "pack", "unlink", 2),
    ("launcher", "other", "write", 1),
)
"""Every boundary that engine or launcher has, with how many calls there may be before the one that is chosen."""

FILLED = (("engine", "tracker"), ("launcher", "spool"), ("launcher", "pack"))
"""Files whose disk may be full."""


def any_death(dice: random.Random) -> Fault:
    """Return a fault that kills."""
    role, file, op, most = dice.choice(POINTS)
    when = dice.choice(WHENS if op == "write" else WHENS[:2])
    return Fault(role, file, op, 1 + int(most * dice.random() ** 3), when)


def death_of_a_commit(dice: random.Random) -> Fault:
    """Return a fault that kills an engine at one of its next commits."""
    op = dice.choice(["write", "write", "sync"])
    when = dice.choice(WHENS if op == "write" else WHENS[:2])
    return Fault("engine", "tracker", op, dice.randint(1, 6 if op == "write" else 2), when)


def any_full_disk(dice: random.Random) -> tuple[Fault, ...]:
    """Return what makes a disk full for a while: for one file, or for all."""
    files = FILLED if dice.random() < 0.4 else (dice.choice(FILLED),)
    most = {"tracker": 2, "spool": 3, "pack": 6}  # each of them is tried again after a while
    return tuple(
        Fault(role, file, "write", dice.randint(1, 8), dice.choice(["before", "torn"]), dice.randint(1, most[file]))
        for role, file in files
    )


def build(directory: Path) -> Path:
    """Compile `fault.c` into a directory; return the shared object.

    Raises:
        UnbuiltError: there is no compiler, or it refused.
    """
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise UnbuiltError("no C compiler: install gcc to inject faults")
    made = directory / LIBRARY
    source = Path(__file__).with_name("fault.c")
    command = [compiler, "-shared", "-fPIC", "-O2", "-Wall", "-o", str(made), str(source)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode:
        raise UnbuiltError(f"'{source.name}' does not compile: {built.stderr}")
    return made


class Board:
    """The page that a story's processes have mapped."""

    def __init__(self, path: Path, library: Path) -> None:
        """Make an empty board; `library` is what `build` made."""
        self.path, self._library = path, library
        self._boot = path.with_name(f"{path.name}.boot")
        path.write_bytes(bytes(SIZE))
        descriptor = os.open(path, os.O_RDWR)
        self._page = mmap.mmap(descriptor, SIZE)
        os.close(descriptor)
        self.settle()

    def environment(self) -> dict[str, str]:
        """Return what launchers need to have it."""
        return {"LD_PRELOAD": str(self._library), "CHAOS_BOARD": str(self.path)}

    def arm(self, faults: tuple[Fault, ...]) -> None:
        """Have these happen, and nothing of what was armed before."""
        self.clear()
        for number, fault in enumerate(faults):
            numbers = (
                ROLES.index(fault.role), FILES.index(fault.file), OPS.index(fault.op), WHENS.index(fault.when),
                int(fault.length > 0), fault.nth, fault.length, 0, 0,
            )  # fmt: skip
            SLOT.pack_into(self._page, self._at(number), IDLE, *numbers)
            struct.pack_into("=i", self._page, self._at(number), ARMED)

    def clear(self) -> None:
        """Let nothing more happen; the disk has room again."""
        for number in range(SLOTS):
            struct.pack_into("=i", self._page, self._at(number), IDLE)
            SLOT.pack_into(self._page, self._at(number), *[IDLE] * 10)

    def fired(self) -> bool:
        """Return whether any of what is armed has happened."""
        return any(SLOT.unpack_from(self._page, self._at(number))[-1] for number in range(SLOTS))

    def move_clock(self, seconds: float) -> None:
        """Set the wall clock so far from the truth."""
        struct.pack_into("=q", self._page, 0, int(seconds * 1e9))

    def loose(self) -> int:
        """Return the offset from which on the tracker's log was written to and not synced since; NOTHING: all is."""
        return int(HEAD.unpack_from(self._page)[1])

    def settle(self) -> None:
        """Take all that is in the tracker's log as synced."""
        struct.pack_into("=q", self._page, 8, NOTHING)

    def boot(self, name: str) -> None:
        """Have the machine started anew."""
        self._boot.write_text(f"{name}\n")
        struct.pack_into("=i", self._page, 16, 1)

    def calls(self) -> Iterator[tuple[str, int]]:
        """Yield how often each boundary was crossed: `engine:tracker:write`."""
        counts = iter(COUNTS.unpack_from(self._page, HEAD.size + SLOTS * SLOT.size))
        for role in ROLES:
            for file in FILES:
                for op in OPS:
                    if count := next(counts):
                        yield f"{role}:{file}:{op}", count

    def close(self) -> None:
        """Give the page up."""
        self._page.close()

    @staticmethod
    def _at(number: int) -> int:
        return HEAD.size + number * SLOT.size

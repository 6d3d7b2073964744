"""What becomes of a launcher's tasks after its death: finishes kept, processes killed, the rest proven lost."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np

from daggy.attempt import LINKED, REPORT, Kind, Reason, Reports, Rows
from daggy.errors import DirectoryError
from daggy.launcher import spool
from daggy.launcher.frames import Key, about
from daggy.launcher.host import Remains
from daggy.launcher.program import burial, notes

LOST_MESSAGE = "its launcher died"
BOOTED_MESSAGE = "its machine was started anew"


def read(directory: Path, instance: str, launcher: int, after: int = 0) -> Remains:
    """Read the spool of a dead launcher, after killing what it ran; the same each time until it is acknowledged.

    What was lost is numbered above `after`, the last sequence number heard: no acknowledgement on its way is for it.

    Raises:
        DirectoryError: another version of Daggy started it, in a way that this one does not know.
    """
    home = directory / "launchers" / str(launcher)
    segments = sorted((home / "spool").glob("*"))
    spooled = spool.read([segment.read_bytes() for segment in segments])
    require_readable(spooled, str(home))
    boot = burial.boot_id()
    found = end(instance, *left_running(spooled, boot))
    sizes = {}
    for path in named_outputs(spooled):
        with contextlib.suppress(OSError):
            sizes[path] = (directory / path).stat().st_size
    for key in spooled.running:
        with contextlib.suppress(OSError):
            spooled.told[key] = notes.read(str(directory / note_of(launcher, key))) or spooled.told.get(key, "")
    return remains(launcher, spooled, boot, found, sizes, after)


def note_of(launcher: int, key: Key) -> str:
    """Return the path, from the directory, of what a task tells of itself."""
    return f"launchers/{launcher}/notes/{'.'.join(map(str, key))}"


def require_readable(spooled: spool.Spooled, place: str) -> None:
    """Raise DirectoryError if another version of Daggy wrote a spool; `place` is where it lies."""
    if spooled.wire not in spool.READABLE:
        raise DirectoryError(
            f"'{place}': what this launcher left is of another version of Daggy (wire {spooled.wire}); "
            "start that version, which takes it up"
        )


def left_running(spooled: spool.Spooled, boot: str) -> tuple[list[Key], dict[int, tuple[int, float]]]:
    """Return the tasks of which processes may be alive in this start of the machine, and what `burial.end` wants
    to know of them by position.
    """
    if spooled.boot != boot:
        return [], {}
    keys = [*spooled.pending, *spooled.running]
    first = len(spooled.pending)
    return keys, {first + at: (one.pid, one.boot) for at, one in enumerate(spooled.running.values())}


def named_outputs(spooled: spool.Spooled) -> list[str]:
    """Return the paths, from the directory, of the outputs with a name that what ran may have."""
    return [path for one in spooled.running.values() for path in _outputs(one.row).values()]


def _outputs(row: Rows) -> dict[str, str]:
    stem = f"runs/{int(row['run'][0])}/packs/{int(row['row']['launcher'][0])}.{int(row['row']['pack'][0])}"
    return {stream: f"{stem}.{stream}" for stream in ("stdout", "stderr")}


def remains(
    launcher: int,
    spooled: spool.Spooled,
    boot: str,
    found: Collection[Key],
    sizes: Mapping[str, int],
    after: int,
) -> Remains:
    """Return what a dead launcher left.

    Args:
        launcher: Its number.
        spooled: What its spool says.
        boot: Id of the machine's present start.
        found: Tasks of which processes were found, and killed.
        sizes: Of those outputs with a name that are there, bytes by path.
        after: The last sequence number heard.
    """
    first = len(spooled.finished)
    told = {first + at: spooled.told.get(key, "") for at, key in enumerate(spooled.running)}
    suspects = spooled.suspects()
    suspects += [key for key in spooled.pending if key in found and key not in suspects]
    rows = [_lost(running.row, sizes) for running in spooled.running.values()]
    rows += [lost(key, launcher) for key in suspects]
    message = LOST_MESSAGE if boot == spooled.boot else BOOTED_MESSAGE
    reports = _joined(spooled, rows, after, message)
    reports.notes.update((at, text) for at, text in told.items() if text)
    return Remains(launcher, reports, spooled.hole)


def _joined(spooled: spool.Spooled, lost_rows: list[Rows], after: int, message: str) -> Reports:
    first = max(after, int(spooled.finished["seq"].max(initial=0))) + 1
    rows = np.concatenate([spooled.finished, *lost_rows])
    rows["seq"][len(spooled.finished) :] = np.arange(first, first + len(lost_rows))
    messages = dict.fromkeys(range(len(spooled.finished), len(rows)), message)
    return Reports(rows, {**spooled.messages, **messages}, spooled.results, {**spooled.notes})


def lost(key: Key, launcher: int) -> Rows:
    """Return the report that a task, of which no start is known, was lost with its launcher."""
    rows = about(Kind.FINISHED, key, launcher)
    rows["row"]["reason"] = Reason.LOST
    rows["row"]["ended"] = time.time()
    return rows


def all_lost(keys: Sequence[Key], launcher: int) -> Reports:
    """Return the reports that these were lost with a launcher which kept no spool."""
    rows = np.concatenate([np.zeros(0, REPORT), *(lost(key, launcher) for key in keys)])
    return Reports(rows, dict.fromkeys(range(len(keys)), LOST_MESSAGE))


def _lost(started: Rows, sizes: Mapping[str, int]) -> Rows:
    """Return the report that a task which was noted as started was lost; with its output if that had a name."""
    rows = started.copy()
    rows["kind"] = Kind.FINISHED
    row = rows["row"]
    row["reason"] = Reason.LOST
    row["ended"] = time.time()
    for stream, path in _outputs(started).items():
        if path in sizes:
            row[stream] = sizes[path]
            row["flags"] |= LINKED
    return rows


def end(instance: str, keys: Sequence[Key], pids: Mapping[int, tuple[int, float]]) -> set[Key]:
    """Kill every process of these tasks; return the tasks of which any was found. As `burial.end`."""
    return {keys[at] for at in burial.end(instance, keys, pids)}


def remove(directory: Path, launcher: int) -> None:
    """Empty the folder of a launcher that has ended; the folder stays for as long as its number is the highest."""
    for entry in (directory / "launchers" / str(launcher)).glob("*"):
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)

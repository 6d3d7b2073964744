"""What happened, on its way to the engine: outputs are kept, then records written, and only then reports sent."""

from __future__ import annotations

import struct

from daggy.launcher.program.light import TYPE_CHECKING, deque, dumps
from daggy.launcher.program.notes import Notes
from daggy.launcher.program.outputs import Outputs
from daggy.launcher.program.spool import Spool, accepted, noted, recalled, started
from daggy.launcher.program.task import ENDED, Queue, Task
from daggy.launcher.program.wire import FINISHED, RECALLED, STARTED, Stream

if TYPE_CHECKING:
    from typing import Iterable

    from daggy.launcher.program.task import Key

    Report = tuple[bytes, str, str, str]
    """A REPORT with its message, its result and its note, each empty if there is none."""


KIND = 8  # position of a REPORT's kind, behind its sequence number
NO_LANE = -1
MOST_TEXT = 4 << 20  # characters of a frame, each of them six bytes at most


class Reports:
    """Collects what happened, saves it, and sends it to whichever engine is connected.

    Args:
        launcher: This launcher's number.
        tasks: Every task by its ticket; a task is removed when its end is about to be recorded.
        outputs: Keeps what ended tasks wrote.
        notes: What tasks tell of themselves.
    """

    def __init__(self, launcher: int, tasks: dict[Key, Task], outputs: Outputs, notes: Notes) -> None:
        """Begin with nothing to save or send."""
        self.launcher, self.tasks, self.outputs, self.notes = launcher, tasks, outputs, notes
        self.spool: Spool | None = None
        self.replays = False  # whether later engines may connect, and are sent what was not acknowledged
        self.sequence = 0
        self.ended: list[Task] = []  # their outputs are not kept yet
        self.kept: list[Task] = []  # their outputs are, their ends may not be
        self.records: list[bytes] = []  # not in the spool yet
        self.starts = 0  # of them, those of starts
        self.urgent = False  # whether they must be written before anything starts
        self.unsaved: list[Report] = []  # wait for their records
        self.outgoing: list[bytes] = []
        self.texts: tuple[dict[int, str], ...] = {}, {}, {}  # messages, results, notes, by position in `outgoing`
        self.narrowed: set[Queue] = set()  # to be confirmed once everything that ended before is sent
        self.unacknowledged: deque[Report] = deque()

    def on_accepted(self, run: int, version: int, epoch: int, queue: Queue, tasks: list[Task]) -> None:
        """Record tasks, or a larger width, before any task starts because of it."""
        if self.spool:
            self.records.append(accepted(run, version, epoch, queue, tasks))
            self.urgent = True

    def on_started(self, task: Task) -> None:
        """Record that a task has just started; it is reported only if it still runs a little later."""
        self.records.append(started(task, self.launcher))
        self.starts += 1

    def on_running(self, task: Task) -> None:
        """Report that a task has started."""
        self.unsaved.append((task.row(STARTED, 0, self.launcher), "", "", task.note))

    def on_recalled(self, task: Task) -> None:
        """Record and report that a task is given back."""
        if self.spool:
            self.records.append(recalled(task))
        self.unsaved.append((task.row(RECALLED, 0, self.launcher), "", "", ""))

    def look_at_notes(self) -> None:
        """Record and report what tasks tell of themselves, where that has changed."""
        self._note(self.notes.look(self.tasks))

    def _note(self, tasks: list[Task]) -> None:
        """Record that the notes of tasks have changed; report it of those that run: of others it comes with the end."""
        for task in tasks:
            if self.spool:
                self.records.append(noted(task))
            if task.state != ENDED:
                self.on_running(task)

    def is_unsaved(self) -> bool:
        """Return whether anything is not saved yet."""
        return bool(self.ended or self.unsaved or self.records)

    def save(self) -> None:
        """Save what happened since the last time, so that it may be sent. OSError: nothing is lost, call again."""
        self.outputs.keep(self.ended)
        self._note(self.notes.look_at(self.ended, self.tasks))
        for task in self.ended:
            self.sequence += bool(self.spool)
            row = task.row(FINISHED, self.sequence, self.launcher)
            if self.spool:
                if task.left:
                    self.records.append(b"V" + task.left.encode())
                self.records.append(b"F" + row + task.message.encode("utf-8", "replace"))
            self.unsaved.append((row, task.message, task.left, task.note))
            del self.tasks[task.key]
        self.kept += self.ended
        self.ended.clear()
        if self.spool and self.records:
            self.spool.write(self.records, self.sequence)
        self.records.clear()
        self.notes.forget(self.kept)
        self.kept.clear()
        self.starts, self.urgent = 0, False
        if self.replays:
            self.unacknowledged.extend(one for one in self.unsaved if one[0][KIND] == FINISHED)
        self._queue(self.unsaved)
        self.unsaved.clear()

    def _queue(self, reports: Iterable[Report]) -> None:
        for row, *texts in reports:
            for place, text in zip(self.texts, texts):
                if text:
                    place[len(self.outgoing)] = text
            self.outgoing.append(row)

    def send(self, stream: Stream) -> None:
        """Send what is saved, then confirm lowered widths; without an engine it is dropped."""
        first = 0
        for last in self._cuts() if stream.sink >= 0 else ():
            texts = [{at - first: text for at, text in one.items() if first <= at < last} for one in self.texts]
            extra = dumps(texts) if any(texts) else b""
            stream.send(b"R", struct.pack("<I", last - first) + b"".join(self.outgoing[first:last]) + extra)
            first = last
        self._clear()
        if not self.ended and not self.unsaved:
            for queue in self.narrowed:
                stream.send(b"W", dumps([queue.lane, queue.width, queue.running]))
            self.narrowed.clear()

    def _cuts(self) -> list[int]:
        """Return where frames end: there is one, unless its texts are too long."""
        ends, length = [], 0
        for at in range(len(self.outgoing) - 1) if any(self.texts) else ():
            length += sum([len(texts[at]) for texts in self.texts if at in texts])
            if length > MOST_TEXT:
                ends.append(at + 1)
                length = 0
        return [*ends, len(self.outgoing)] if self.outgoing else []

    def _clear(self) -> None:
        self.outgoing.clear()
        for texts in self.texts:
            texts.clear()

    def acknowledge(self, sequence: int) -> None:
        """Forget the ends up to a sequence number."""
        if self.spool:
            self.spool.forget(sequence)
        while self.unacknowledged and int.from_bytes(self.unacknowledged[0][0][:KIND], "little") <= sequence:
            self.unacknowledged.popleft()

    def replay(self) -> tuple[int, ...]:
        """Replace what was to be sent by what a new engine needs: unacknowledged ends, then a start of each task.

        A task whose end could not be saved is reported as running; its end follows once it is saved.

        Returns:
            The lane of each task reported as running, NO_LANE where its slot is free already.
        """
        self._clear()
        self.narrowed.clear()
        self._queue(self.unacknowledged)
        running = list(self.tasks.values())
        self._queue((task.row(STARTED, 0, self.launcher), "", "", task.note) for task in running)
        ended = [bytes(KIND) + bytes([STARTED]) + row[KIND + 1 :] for row, *_ in self.unsaved if row[KIND] == FINISHED]
        self.outgoing += ended
        return (*(task.queue.lane for task in running), *[NO_LANE] * len(ended))

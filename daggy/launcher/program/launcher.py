"""The launcher's loop: carry out commands, start tasks, save and report what happens, and know when to exit."""

from __future__ import annotations

import itertools
import os
import struct
import time

from daggy.launcher.program.burial import boot_id
from daggy.launcher.program.ending import Ending
from daggy.launcher.program.gpus import Gpus, variables
from daggy.launcher.program.light import TYPE_CHECKING, dumps, loads
from daggy.launcher.program.link import Link
from daggy.launcher.program.notes import EACH, Notes
from daggy.launcher.program.outputs import Outputs
from daggy.launcher.program.reports import Reports
from daggy.launcher.program.spool import START_AT_ONCE, Spool, restated
from daggy.launcher.program.start import Starter, base_environment, encoded
from daggy.launcher.program.task import RUNNING, Task
from daggy.launcher.program.tasks import Tasks
from daggy.launcher.program.watch import Watch
from daggy.launcher.program.wire import KILLED, LOST, OUTPUT, STOPPED, VERSION

if TYPE_CHECKING:
    from typing import Any

    from daggy.launcher.program.task import Key


LOOK_AT_LEASE = 5.0
HOLD = 0.05  # seconds that a report waits for others, while there are as many tasks to start
TRY_AGAIN = 0.5
LEAVE = 10.0  # seconds beyond the longest grace after which it exits whatever could not be saved


class Launcher:
    """One launcher, from an engine's hello to its exit.

    Args:
        link: The connection to the engine.
        hello: The engine's first command.
        signals: Fills with the signals that ask this program to exit.
    """

    def __init__(self, link: Link, hello: dict[str, Any], signals: list[int]) -> None:
        """Set up what the hello describes, and answer it."""
        number, directory = hello["launcher"], hello["directory"]
        table: dict[Key, Task] = {}
        self.link, self.signals = link, signals
        self.outputs = Outputs(directory, number, hello["output_bytes"])
        self.notes = Notes("%s/launchers/%d/notes" % (directory, number))
        self.reports = Reports(number, table, self.outputs, self.notes)
        base = base_environment(hello["environment"], hello["inherit"])
        gpus = Gpus(directory + "/gpus", hello.get("gpus", 0))
        self.tasks = Tasks(table, Starter(self.outputs, self.notes, hello["instance"], base, gpus), self.reports)
        self.ending = Ending(self.tasks, self.notes, hello["instance"])
        self.watch = Watch(self.outputs, self.reports)
        self.lease: float = hello.get("lease", 0.0)  # seconds without a word from an engine after which all is ended
        self.linger = 0.0  # seconds without an engine and without work after which it exits
        if hello["durable"]:
            folder = "%s/launchers/%d" % (directory, number)
            self.reports.spool = open_spool(folder, number, hello["instance"], table)
            if hello["linger"]:
                self.linger = hello["linger"]
                self.reports.replays = True
                link.listen(folder)
        self.send_by = self.paused_until = self.leave_by = 0.0
        self.stopping = False
        self.more = True  # whether something may be started at once
        self.trouble = ""  # why it is paused, as last reported
        link.greet(link.stream)

    def serve(self, wake: int) -> None:
        """Run until the engine has gone, or has for long; return when what ran has ended.

        Args:
            wake: A descriptor that becomes readable with every signal.
        """
        while not self.is_over():
            self.step(wake)

    def step(self, wake: int) -> None:
        """Wait until something is due or happens, and do what is to be done then; `wake` as for `serve`."""
        link = self.link
        for descriptor, _ in link.wait(0 if self.more else self.patience()):
            if descriptor == wake:
                os.read(wake, 4096)
                self.reap()
                continue
            for kind, payload in link.receive(descriptor):
                self.obey(kind, payload)
        if not self.leave_by:
            if self.signals or (not link.stream.open and (self.stopping or not link.listener)):
                self.leave()
            elif not link.stream.open and not link.lost_at:
                link.disconnect()
        self.turn(time.monotonic())

    def obey(self, kind: int, payload: bytes) -> None:
        """Carry out one command."""
        order: dict[str, Any] = loads(payload)
        if kind == ord("l"):
            self.launch(**order)
        elif kind == ord("a"):
            self.reports.acknowledge(order["seq"])
        elif kind == ord("r"):
            self.tasks.recall(self.tasks.chosen(order["tickets"]))
        elif kind == ord("k"):
            self.ending.end(self.tasks.chosen(order["tickets"]), KILLED, order["message"])
        elif kind == ord("d"):
            self.read(**order)
        elif kind == ord("s"):
            self.stop(order["immediate"])
        elif kind == ord("h"):
            self.hand_over()

    def launch(
        self,
        run: int,
        version: int,
        epoch: int,
        lane: int,
        width: int,
        tasks: list[list[Any]],
        needs: dict[str, float] | None = None,
    ) -> None:
        """Queue tasks in a lane, and set how many of it run at once, and what each of them needs."""
        before = self.tasks.queues.get(lane)
        widened = width > (before.width if before else 0)
        queue = self.tasks.queue(lane, width)
        if needs:
            queue.environment = encoded(variables(needs))
            queue.gpus = int(needs.get("gpus", 0))
        added = self.tasks.add(run, version, epoch, queue, tasks)
        if epoch < self.link.epoch or self.stopping:
            self.tasks.recall(added)
        elif added or widened:
            self.reports.on_accepted(run, version, epoch, queue, added)

    def read(self, number: int, ticket: list[int], stream: str, offset: int, limit: int) -> None:
        """Answer with a part of what a running task has written."""
        data, there = b"", False
        for task in self.tasks.chosen([ticket]):
            there = task.state == RUNNING and task.out >= 0
            if there:
                try:
                    data = os.pread(task.out if stream == "stdout" else task.err, limit, offset)
                except (OSError, OverflowError):
                    pass  # an offset beyond any file, or a read error: no reason for everything that runs here to end
        self.link.stream.send(b"D", struct.pack("<I?", number, there) + data)

    def hand_over(self) -> None:
        """Send a new engine all that it needs; tasks that have not started are given back, and it sends them again.

        Lanes begin anew: what runs already is not counted in any of them.
        """
        self.tasks.recall(list(self.tasks.table.values()))
        self.tasks.queues.clear()
        self.save()
        lanes = self.reports.replay()
        self.reports.send(self.link.stream)
        if self.trouble:
            self.link.stream.send(b"T", dumps(self.trouble))
        self.link.greet(self.link.stream, lanes)

    def stop(self, at_once: bool) -> None:
        """Give back what waits and end what runs."""
        self.stopping = True
        if self.reports.spool:
            self.reports.spool.note(time.time() + self.tasks.grace())
        self.ending.end(self.tasks.not_ended(), KILLED, "daggy stopped", STOPPED, at_once)

    def leave(self) -> None:
        """Begin to exit: the engine has gone, or this machine shuts down."""
        self.link.ignore()
        self.stop(False)
        self.leave_by = time.monotonic() + self.tasks.grace() + LEAVE

    def turn(self, now: float) -> None:
        """Do what is due, start what can start, save and send what happened."""
        reports = self.reports
        if now >= self.paused_until:
            self.paused_until = 0.0
        if self.lease and self.tasks.table and self.link.silence() > self.lease:
            message = "no word from the server for %d s" % self.link.silence()
            self.ending.end(self.tasks.not_ended(), LOST, message)
        if self.ending.timers or self.ending.dying:
            self.ending.tick(now)
        self.watch.tick(now)
        if self.tasks.running and now >= self.notes.due:
            self.notes.due = now + EACH
            reports.look_at_notes()
        if self.outputs.limit:
            tasks = itertools.chain(self.tasks.running.values(), self.ending.dying)
            self.ending.end(self.watch.oversized(now, tasks), OUTPUT, self.outputs.excess())
        # an end is in the spool before its slot is used again
        if reports.urgent or self.trouble or (reports.spool and reports.ended):
            self.save()
        self.start()
        if reports.is_unsaved() or reports.outgoing or reports.narrowed:
            self.send_by = self.send_by or now + HOLD
            unsent = len(reports.ended) + len(reports.unsaved) + len(reports.outgoing)
            due = self.tasks.waiting <= unsent or now >= self.send_by or self.stopping
            # starts alone are written with the next end, before its slot is used again, or after HOLD
            news = reports.ended or reports.unsaved or reports.starts >= START_AT_ONCE or now >= self.send_by
            if news and (due or reports.spool):
                self.save()
            if due:
                reports.send(self.link.stream)
                self.send_by = self.paused_until

    def start(self) -> None:
        """Start what can start, a few tasks at a time."""
        most = 0 if self.paused_until else START_AT_ONCE - self.reports.starts
        self.more = False
        started = 0
        try:
            for task in self.tasks.start(most):
                started += 1
                if task.state != RUNNING:
                    continue
                task.since = time.monotonic()
                if task.timeout:
                    self.ending.add(task)
                self.watch.add(task)
                if self.reports.spool:
                    task.boot = time.clock_gettime(time.CLOCK_BOOTTIME)
                    self.reports.on_started(task)
        except OSError as error:
            self.pause(error)
            return
        self.more = started >= most > 0

    def reap(self) -> None:
        """Take note of the processes that have ended."""
        for task in self.tasks.reap():
            if task.end_by:
                self.ending.on_exit(task)
                continue
            if self.outputs.limit and not task.reason and self.outputs.exceeds(task):
                task.reason, task.message = OUTPUT, self.outputs.excess()
            self.tasks.end(task)

    def save(self) -> None:
        """Save what happened, unless there was no room for it a moment ago."""
        if self.paused_until:
            return
        try:
            self.reports.save()
        except OSError as error:
            self.pause(error)
            return
        if self.trouble:
            self.trouble = ""
            self.link.stream.send(b"T", b'""')

    def pause(self, error: OSError) -> None:
        """Start and save nothing for a moment: the machine has no room for more."""
        self.paused_until = time.monotonic() + TRY_AGAIN
        if not self.trouble:
            self.trouble = str(error)
            self.link.stream.send(b"T", dumps(self.trouble))

    def patience(self) -> int:
        """Return for how many milliseconds nothing is due; -1: for ever."""
        due = min(self.ending.due(), self.watch.due())
        leave_by = 0.0 if self.tasks.running or self.ending.dying else self.leave_by
        notes = self.notes.due if self.tasks.running else 0.0
        for when in (self.send_by, self.paused_until, leave_by, notes):
            if when and when < due:
                due = when
        if self.link.lost_at and not self.tasks.table:
            due = min(due, self.link.lost_at + self.linger)
        if self.outputs.limit and self.tasks.running:
            due = min(due, self.watch.fifths / 5)
        if self.lease and self.tasks.table:  # this clock stands still while the machine sleeps, the lease's does not
            due = min(due, time.monotonic() + LOOK_AT_LEASE)
        return max(0, int((due - time.monotonic()) * 1000) + 1) if due != float("inf") else -1

    def is_over(self) -> bool:
        """Return whether everything has ended and is saved, or cannot be saved."""
        if not self.leave_by or self.tasks.running or self.ending.dying:
            return bool(self.link.lost_at) and self.is_forgotten()
        stream = self.link.stream
        done = not self.reports.is_unsaved() and not (stream.open and stream.outbox)
        return done or time.monotonic() > self.leave_by or not os.path.exists(self.outputs.root)

    def is_forgotten(self) -> bool:
        """Return whether there has been no engine and no work for so long that none will come."""
        link = self.link
        if not link.listener:
            return False
        unsaved = self.tasks.table or self.reports.is_unsaved()
        # what cannot be saved now may be later, unless the whole directory was removed
        if self.tasks.not_ended() or (unsaved and os.path.exists(link.listener.path)):
            link.lost_at = time.monotonic()
        return time.monotonic() > link.lost_at + self.linger


def open_spool(folder: str, number: int, instance: str, tasks: dict[Key, Task]) -> Spool:
    """Return a new spool in a launcher's folder."""
    header = {"version": VERSION, "launcher": number, "instance": instance, "boot": boot_id()}
    return Spool(folder, header, lambda: restated(tasks.values(), number))

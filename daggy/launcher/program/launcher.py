"""Start processes on one machine, wait for them, and report: the program at the far end of every executor.

Standard library only, Python 3.8 or newer, this file and those that it imports: they are sent, as one text, to machines
that have nothing of ours.
"""

import collections
import contextlib
import heapq
import json
import os
import select
import signal
import struct
import time
from typing import Any, Deque, Dict, Iterable, List, Optional, Sequence, Set, Tuple

from daggy.launcher.program.journal import ACCEPTED, PAIR, PROCESS, START_AT_ONCE, TICKET, Spool
from daggy.launcher.program.linger import Door, Lingering
from daggy.launcher.program.outputs import Outputs
from daggy.launcher.program.processes import carriers, signal_all
from daggy.launcher.program.start import Starter, make_room
from daggy.launcher.program.task import ENDED, RUNNING, WAITING, Key, Lane, Task
from daggy.launcher.program.wire import (
    ANSWER,
    EXIT,
    FINISHED,
    KILLED,
    OUTPUT,
    RECALLED,
    SIGNAL,
    STARTED,
    STOPPED,
    TIMEOUT,
    VERSION,
    Stream,
)

TELL_STARTED = 0.05  # shorter tasks are reported once, when they have ended
NAME_OUTPUT = 1.0
HOLD = 0.05  # reports wait at most this long for company, and only while there are as many tasks to go on with
LOOK_AGAIN = 0.05
SPARE_DESCRIPTORS = 400  # packs, clean outputs, and all else
TRY_AGAIN = 0.5
LEAVE = 10.0


class Launcher(Lingering):
    """The whole: lanes of waiting tasks, the processes that run, and what is still to be told."""

    def __init__(self, stream: Stream) -> None:
        """Serve one stream."""
        super().__init__()
        self.stream = stream
        self.spool: Optional[Spool] = None
        self.outputs: Outputs
        self.starter: Starter
        self.tasks: Dict[Key, Task] = {}
        self.lanes: Dict[int, Lane] = {}
        self.processes: Dict[int, Task] = {}
        self.waiting = self.seq = self.epoch = self.number = self.output_bytes = self.ticks = self.slots = 0
        self.unnoted = 0  # started, and not yet in the spool
        self.fresh: Deque[Task] = collections.deque()  # running, not yet reported as started
        self.young: Deque[Task] = collections.deque()  # running, output not yet named
        self.dying: List[Task] = []  # ended on demand; something of theirs may be left
        self.timers: List[Tuple[float, int, Task, bool]] = []
        self.ended: List[Task] = []  # output not yet kept
        self.journal: List[bytes] = []  # not yet in the spool
        self.held: List[Tuple[bytes, str]] = []  # reports that wait for the journal
        self.told: List[bytes] = []  # reports that wait for company
        self.messages: Dict[int, str] = {}
        self.narrowed: Set[Lane] = set()  # to be confirmed once all that ended before is told
        self.send_by = self.stuck_until = self.leave_by = self.look_at = 0.0
        self.stopping = self.accepted = self.more = False
        self.trouble = self.instance = ""

    def hello(self, version: int, epoch: int, launcher: int, directory: str, instance: str, **more: Any) -> None:
        """Learn whose launcher this is, and where it keeps things."""
        if version != VERSION or self.number:  # it was said before: later engines say it at the door
            self.greet(self.stream)
            self.stream.open = False
            return
        self.epoch, self.number, self.instance = epoch, launcher, instance
        self.output_bytes = more["output_bytes"]
        base = {name: value for name, value in os.environ.items() if more["inherit"] and not name.startswith("DAGGY_")}
        base.update(more["environment"])
        self.outputs = Outputs(directory, launcher)
        self.starter = Starter(self.outputs, instance, base)
        if more["durable"]:
            with open("/proc/sys/kernel/random/boot_id") as file:
                boot = file.read().strip()
            header = {"version": VERSION, "launcher": launcher, "instance": instance, "boot": boot}
            folder = "%s/launchers/%d" % (directory, launcher)
            self.spool = Spool(folder, header, self.restate)
            self.linger = more["linger"]
            self.door = Door(folder) if self.linger else None
        self.greet(self.stream)

    def restate(self) -> List[bytes]:
        """Return records of everything accepted that has not been reported as ended."""
        records = []
        for task in self.tasks.values():
            run, version, index, epoch, attempt = task.key
            head = ACCEPTED.pack(run, version, epoch, task.lane.number, task.lane.width)
            records.append(b"A" + head + PAIR.pack(index, attempt))
            if task.state != WAITING:
                records.append(self.started_record(task))
        return records

    def started_record(self, task: Task) -> bytes:
        """Return the record that a task was started."""
        return b"S" + task.row(STARTED, 0, self.number) + PROCESS.pack(task.pid, task.boot)

    def launch(self, run: int, version: int, epoch: int, lane: int, width: int, tasks: List[List[Any]]) -> None:
        """Put tasks at the end of a lane, and set how many of it run at once."""
        line = self.lanes.get(lane) or self.lanes.setdefault(lane, Lane(lane))
        if width < line.width:
            self.narrowed.add(line)
        widened, line.width = width > line.width, width
        slots = sum(lane.width for lane in self.lanes.values())
        if slots > self.slots:
            self.slots = slots
            make_room(2 * slots + SPARE_DESCRIPTORS)
        new = [Task((run, version, one[0], epoch, one[1]), line, one) for one in tasks]
        self.tasks.update((task.key, task) for task in new)
        line.waiting.extend(new)
        self.waiting += len(new)
        if epoch < self.epoch or self.stopping:
            self.recall(new)
            return
        if self.spool and (new or widened):
            pairs = [number for task in new for number in (task.key[2], task.key[4])]
            head = ACCEPTED.pack(run, version, epoch, lane, width)
            self.journal.append(b"A" + head + struct.pack("<%dI" % len(pairs), *pairs))
            self.accepted = True

    def chosen(self, tickets: Iterable[Sequence[int]]) -> List[Task]:
        """Return those of these tasks that have not ended."""
        found = (self.tasks.get((t[0], t[1], t[2], t[3], t[4])) for t in tickets)
        return [task for task in found if task and task.state != ENDED]

    def recall(self, tasks: List[Task]) -> None:
        """Give back those that have not started."""
        for task in tasks:
            if task.state == WAITING:
                task.state = ENDED
                self.waiting -= 1
                del self.tasks[task.key]
                self.journal.append(b"R" + TICKET.pack(*task.key))
                self.held.append((task.row(RECALLED, 0, self.number), ""))

    def read(self, number: int, ticket: List[int], stream: str, offset: int, limit: int) -> None:
        """Answer with a part of what a running task has written."""
        data, there = b"", False
        for task in self.chosen([ticket]):
            there = task.state == RUNNING and task.out >= 0
            if there:
                # no file is that long, or it cannot be read: no reason for all that runs here to end
                with contextlib.suppress(OSError, OverflowError):
                    data = os.pread(task.out if stream == "stdout" else task.err, limit, offset)
        self.stream.send(b"D", struct.pack("<I?", number, there) + data)

    def obey(self, kind: int, payload: bytes) -> None:
        """Carry out one command."""
        order: Dict[str, Any] = json.loads(payload)
        if kind == ord("l"):
            self.launch(**order)
        elif kind == ord("a"):
            if self.spool:
                self.spool.forget(order["seq"])
                self.forget(order["seq"])
        elif kind == ord("r"):
            self.recall(self.chosen(order["tickets"]))
        elif kind == ord("k"):
            self.end(self.chosen(order["tickets"]), KILLED, order["message"])
        elif kind == ord("d"):
            self.read(**order)
        elif kind == ord("s"):
            self.stop(order["immediate"])
        elif kind == ord("h"):
            self.hello(**order)

    def start(self) -> None:
        """Start what may start, a few at a time."""
        left = START_AT_ONCE - self.unnoted
        for lane in self.lanes.values():
            while lane.waiting and lane.running < lane.width and left:
                task = lane.waiting.popleft()
                if task.state != WAITING:
                    continue
                left -= 1
                try:
                    self.starter.start(task)
                except OSError as error:
                    lane.waiting.appendleft(task)
                    self.hinder(error)
                    return
                self.waiting -= 1
                if task.reason:
                    self.finish(task)
                else:
                    self.running(task)
        self.more = not left

    def running(self, task: Task) -> None:
        """Note a process that was just started."""
        task.state = RUNNING
        task.lane.running += 1
        self.processes[task.pid] = task
        self.fresh.append(task)
        task.since = time.monotonic()
        if task.timeout:
            heapq.heappush(self.timers, (task.since + task.timeout, task.pid, task, False))
        if self.spool:
            task.boot = time.clock_gettime(time.CLOCK_BOOTTIME)
            self.journal.append(self.started_record(task))
            self.unnoted += 1

    def reap(self) -> None:
        """Take in the processes that have ended."""
        while self.processes:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
            if not pid:
                break
            task = self.processes.pop(pid, None)
            if not task:
                continue
            task.ended = time.time()
            task.cpu, task.rss = usage.ru_utime + usage.ru_stime, usage.ru_maxrss
            number = status & 0x7F
            task.code = -number if number else status >> 8
            if task.reason:  # ended on demand: nothing of it may be left
                self.dying.append(task)
                self.look_at = 0.0
                continue
            if status:
                task.reason = SIGNAL if number else EXIT
            self.finish(task)

    def finish(self, task: Task) -> None:
        """Free the slot of a task that has ended, or could not start."""
        if task.state == RUNNING:
            task.lane.running -= 1
            task.ended = task.ended or time.time()
        else:
            task.ended = time.time()
        task.state = ENDED
        self.ended.append(task)

    def end(self, tasks: List[Task], reason: int, message: str, flags: int = 0, at_once: bool = False) -> None:
        """Ask processes to end: TERM, after their grace KILL; what has not started is given back."""
        self.recall(tasks)
        now, live = time.monotonic(), []
        for task in tasks:
            if task.state == RUNNING and (at_once or not task.reason):
                if not task.reason:
                    task.reason, task.flags = reason, task.flags | flags
                    task.message = "ran longer than %g s" % task.timeout if reason == TIMEOUT else message
                grace = 0.0 if at_once else task.grace
                task.end_by = now + grace
                heapq.heappush(self.timers, (task.end_by, task.pid, task, True))
                live.append(task)
        signal_all(self.belonging(live), signal.SIGTERM, signal.SIGCONT)

    def belonging(self, tasks: List[Task]) -> Dict[int, int]:
        """Return the processes of these tasks, each with the position of its task."""
        if not tasks:
            return {}
        tickets = {("%s:%d.%d.%d.%d.%d" % (self.instance, *task.key)).encode(): at for at, task in enumerate(tasks)}
        return carriers(tickets, {task.pid: at for at, task in enumerate(tasks)})

    def tick(self, now: float) -> None:
        """Do what is due: timeouts, the end of a grace, names for long outputs, a look at what is left of the dying."""
        overdue: List[Task] = []
        late: List[Task] = []
        while self.timers and (self.timers[0][0] <= now or self.timers[0][2].state == ENDED):
            _, _, task, last = heapq.heappop(self.timers)
            if task.state == RUNNING and last:
                overdue.append(task)
            elif task.state == RUNNING and not task.reason:
                late.append(task)
        if late:
            self.end(late, TIMEOUT, "")
        for _ in range(5 if overdue else 0):  # what is killed may have been forking
            left = self.belonging(overdue)
            if not left:
                break
            signal_all(left, signal.SIGKILL)
        if self.dying and now >= self.look_at:
            self.bury(now)
        while self.fresh and (self.fresh[0].state == ENDED or self.fresh[0].since <= now - TELL_STARTED):
            task = self.fresh.popleft()
            if task.state == RUNNING:
                self.held.append((task.row(STARTED, 0, self.number), ""))
                self.young.append(task)
        while self.young and (self.young[0].state == ENDED or self.young[0].since <= now - NAME_OUTPUT):
            self.name_output(self.young.popleft())
        if self.output_bytes and now * 5 >= self.ticks:
            self.ticks = int(now * 5) + 1
            self.end([task for task in self.processes.values() if self.wrote_too_much(task)], OUTPUT, self.too_much())

    def name_output(self, task: Task) -> None:
        """Give the output of a long task its names, so that it outlives this launcher."""
        if task.state == RUNNING and not task.linked:
            try:
                self.outputs.link(task)
            except OSError:
                task.linked = False  # no room: its end will try again

    def wrote_too_much(self, task: Task) -> bool:
        """Tell whether a task's output is beyond the pool's limit."""
        return bool(self.output_bytes) and task.out >= 0 and self.outputs.size(task) > self.output_bytes

    def too_much(self) -> str:
        """Say what the limit is."""
        return "wrote more than %d bytes" % self.output_bytes

    def bury(self, now: float) -> None:
        """Report those of the dying of which nothing is left, or whose grace is over."""
        left, dying, self.dying = self.belonging(self.dying), self.dying, []
        alive = set(left.values())
        late = [pid for pid, at in left.items() if dying[at].end_by <= now]
        signal_all(late, signal.SIGKILL)
        for at, task in enumerate(dying):
            if at in alive and task.end_by > now:
                self.dying.append(task)
            else:
                self.finish(task)
        self.look_at = now + LOOK_AGAIN

    def settle(self) -> None:
        """Keep what happened since the last time: outputs, then records. Only then may it be told."""
        try:
            for task in self.ended:
                if task.state == ENDED and not task.reason and self.wrote_too_much(task):
                    task.reason, task.message = OUTPUT, self.too_much()
                if task.generator and task.pid and os.path.exists(self.outputs.answer(task)):
                    task.flags |= ANSWER
            self.outputs.keep(self.ended)
            for task in self.ended:
                if task.generator and task.pid:
                    self.outputs.sync_answer(task)
            for task in self.ended:
                self.seq += bool(self.spool)
                row = task.row(FINISHED, self.seq, self.number)
                self.journal.append(b"F" + row + task.message.encode("utf-8", "replace"))
                self.held.append((row, task.message))
                del self.tasks[task.key]
            self.ended.clear()
            if self.spool and self.journal:
                self.spool.write(self.journal, self.seq)
        except OSError as error:
            self.hinder(error)
            return
        self.journal.clear()
        self.accepted = False
        self.unnoted = 0
        self.keep(self.held)
        for row, message in self.held:
            if message:
                self.messages[len(self.told)] = message
            self.told.append(row)
        self.held.clear()
        if self.trouble and not self.stuck_until:
            self.trouble = ""
            self.stream.send(b"T", b'""')

    def hinder(self, error: OSError) -> None:
        """Stop starting for a moment: the machine has no room for more."""
        self.stuck_until = time.monotonic() + TRY_AGAIN
        if not self.trouble:
            self.trouble = str(error)
            self.stream.send(b"T", json.dumps(self.trouble).encode())

    def tell(self) -> None:
        """Send what may be told, as one frame."""
        if self.told and self.stream.sink >= 0:
            extra = json.dumps(self.messages).encode() if self.messages else b""
            self.stream.send(b"R", struct.pack("<I", len(self.told)) + b"".join(self.told) + extra)
        self.told.clear()
        self.messages.clear()
        self.send_by = self.stuck_until
        if not self.ended and not self.held:
            for lane in self.narrowed:
                self.stream.send(b"W", json.dumps([lane.number, lane.width, lane.running]).encode())
            self.narrowed.clear()

    def stop(self, at_once: bool) -> None:
        """Give back what waits and end what runs."""
        self.stopping = True
        tasks = list(self.tasks.values())
        if self.spool:
            self.spool.note(time.time() + max([task.grace for task in tasks], default=0.0))
        self.end([task for task in tasks if task.state != ENDED], KILLED, "daggy stopped", STOPPED, at_once)

    def serve(self, wake: int, asked: List[int]) -> None:
        """Serve the stream until it closes, then end what runs and return.

        Args:
            wake: A descriptor that becomes readable with every signal.
            asked: Fills with the signals that ask this program to leave.
        """
        poller = select.poll()
        poller.register(wake, select.POLLIN)
        poller.register(self.stream.source, select.POLLIN)
        known: Set[int] = set()
        while not self.over():
            if self.door and self.door.descriptor not in known:
                known.add(self.door.descriptor)
                poller.register(self.door.descriptor, select.POLLIN)
            for descriptor, _ in poller.poll(self.patience()):
                if descriptor == wake:
                    os.read(wake, 4096)
                    self.reap()
                elif descriptor == self.stream.source:
                    for kind, payload in self.stream.receive():
                        self.obey(kind, payload)
                elif descriptor == self.stream.sink:
                    self.stream.flush()
                elif self.door:
                    self.visit(descriptor, poller)
            if not self.leave_by:
                if asked or (not self.stream.open and (self.stopping or not self.door)):
                    self.leave(poller)
                elif not self.stream.open and not self.alone_since:
                    self.lose(poller)
            self.turn(time.monotonic())
            if self.stream.open and bool(self.stream.outbox) != self.full:
                self.full = not self.full
                poller.register(self.stream.sink, select.POLLOUT if self.full else 0)

    def leave(self, poller: "select.poll") -> None:
        """Begin to end: the engine has gone, or this machine goes down."""
        if self.stream.source >= 0:
            poller.unregister(self.stream.source)
        self.stop(False)
        grace = max([task.grace for task in self.tasks.values()], default=0.0)
        self.leave_by = time.monotonic() + grace + LEAVE

    def over(self) -> bool:
        """Tell whether everything has ended and is written down, or cannot be."""
        if not self.leave_by or self.processes or self.dying:
            return self.is_forgotten()
        told = not (self.ended or self.held or self.journal or (self.stream.open and self.stream.outbox))
        return told or time.monotonic() > self.leave_by

    def turn(self, now: float) -> None:
        """Do what is due, start what may start, keep and tell what happened."""
        if now >= self.stuck_until:
            self.stuck_until = 0.0
        self.tick(now)
        # what has ended is in the spool before its slot is used again
        if (self.accepted or self.trouble or (self.spool and self.ended)) and not self.stuck_until:
            self.settle()
        self.more = False
        if not self.stuck_until:
            self.start()
        if self.ended or self.held or self.journal or self.told or self.narrowed:
            self.send_by = self.send_by or now + HOLD
            untold = len(self.ended) + len(self.held) + len(self.told)
            due = self.waiting <= untold or now >= self.send_by or self.stopping
            # starts alone wait for the next end, which has them written before the slot is used again, or for HOLD
            news = self.ended or self.held or self.unnoted >= START_AT_ONCE or now >= self.send_by
            if news and (due or self.spool) and not self.stuck_until:
                self.settle()
            if due:
                self.tell()

    def patience(self) -> int:
        """Return for how many milliseconds nothing is due; -1: for ever."""
        if self.more:
            return 0
        due = [when for when in (self.send_by, self.stuck_until, self.leave_by) if when]
        if self.alone_since and not self.tasks:
            due.append(self.alone_since + self.linger)
        if self.timers:
            due.append(self.timers[0][0])
        if self.fresh:
            due.append(self.fresh[0].since + TELL_STARTED)
        if self.young:
            due.append(self.young[0].since + NAME_OUTPUT)
        if self.dying:
            due.append(self.look_at)
        if self.output_bytes and self.processes:
            due.append(self.ticks / 5)
        return max(0, int((min(due) - time.monotonic()) * 1000) + 1) if due else -1

"""The tasks of a launcher: those that wait in queues, and those that run."""

from __future__ import annotations

import os
import time

from daggy.launcher.program.light import TYPE_CHECKING
from daggy.launcher.program.reports import Reports
from daggy.launcher.program.start import Starter, make_room
from daggy.launcher.program.task import ENDED, RUNNING, WAITING, Queue, Task
from daggy.launcher.program.wire import EXIT, SIGNAL

if TYPE_CHECKING:
    from typing import Any, Iterable, Iterator, Sequence

    from daggy.launcher.program.task import Key


SPARE_DESCRIPTORS = 400  # packs, clean outputs, and everything else


class Tasks:
    """Every task from its acceptance until its end is recorded.

    Args:
        table: All of them by ticket.
        starter: Starts them.
        reports: Where each event goes.
    """

    def __init__(self, table: dict[Key, Task], starter: Starter, reports: Reports) -> None:
        """Begin without tasks."""
        self.table, self.starter, self.reports = table, starter, reports
        self.queues: dict[int, Queue] = {}
        self.running: dict[int, Task] = {}  # by process id
        self.waiting = self.slots = 0
        self.is_init = os.getpid() == 1  # the first process of a container, which every orphan becomes a child of

    def queue(self, lane: int, width: int) -> Queue:
        """Return the queue of a lane after setting how many of it run at once."""
        queue = self.queues.get(lane) or self.queues.setdefault(lane, Queue(lane))
        if width < queue.width:
            self.reports.narrowed.add(queue)
        queue.width = width
        slots = sum(queue.width for queue in self.queues.values())
        if slots > self.slots:
            self.slots = slots
            make_room(2 * slots + SPARE_DESCRIPTORS)
        return queue

    def add(self, run: int, version: int, epoch: int, queue: Queue, entries: list[list[Any]]) -> list[Task]:
        """Put tasks at the end of a queue."""
        tasks = [Task((run, version, entry[0], epoch, entry[1]), queue, entry) for entry in entries]
        self.table.update((task.key, task) for task in tasks)
        queue.waiting.extend(tasks)
        self.waiting += len(tasks)
        return tasks

    def chosen(self, tickets: Iterable[Sequence[int]]) -> list[Task]:
        """Return those of these tasks that have not ended."""
        found = (self.table.get((t[0], t[1], t[2], t[3], t[4])) for t in tickets)
        return [task for task in found if task and task.state != ENDED]

    def not_ended(self) -> list[Task]:
        """Return all tasks that wait or run."""
        return [task for task in self.table.values() if task.state != ENDED]

    def recall(self, tasks: Iterable[Task]) -> None:
        """Give back those of these tasks that have not started."""
        for task in tasks:
            if task.state == WAITING:
                task.state = ENDED
                self.waiting -= 1
                del self.table[task.key]
                self.reports.on_recalled(task)

    def start(self, most: int) -> Iterator[Task]:
        """Start tasks that have a free slot and yield each, also one that has ended because it could not start.

        OSError: there is no room for more at the moment.
        """
        for queue in self.queues.values():
            while queue.waiting and queue.running < queue.width and most:
                task = queue.waiting.popleft()
                if task.state != WAITING:
                    continue
                most -= 1
                try:
                    self.starter.start(task)
                except OSError:
                    queue.waiting.appendleft(task)
                    raise
                self.waiting -= 1
                if task.reason:
                    self.end(task)
                else:
                    task.state = RUNNING
                    queue.running += 1
                    self.running[task.pid] = task
                yield task

    def reap(self) -> Iterator[Task]:
        """Wait for the processes that have ended; yield the task of each, with how it ended."""
        while self.running or self.is_init:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            task = self.running.pop(pid, None)
            if not task:
                continue
            task.ended = time.time()
            task.cpu, task.rss = usage.ru_utime + usage.ru_stime, usage.ru_maxrss
            number = status & 0x7F
            task.code = -number if number else status >> 8
            if status and not task.reason:
                task.reason = SIGNAL if number else EXIT
            yield task

    def end(self, task: Task) -> None:
        """Free the slot of a task of which no process is left, or which could not start."""
        if task.state == RUNNING:
            task.queue.running -= 1
        for lock in task.gpus.values():
            os.close(lock)
        task.gpus.clear()
        task.ended = task.ended or time.time()
        task.state = ENDED
        self.reports.ended.append(task)

    def grace(self) -> float:
        """Return the longest grace of all tasks."""
        return max([task.grace for task in self.table.values()], default=0.0)

"""What a running task gets as time passes: a report of its start, names for its output, a check of its size."""

from __future__ import annotations

from daggy.launcher.program.light import TYPE_CHECKING, deque
from daggy.launcher.program.outputs import Outputs
from daggy.launcher.program.reports import Reports
from daggy.launcher.program.task import ENDED, RUNNING, Task

if TYPE_CHECKING:
    from typing import Iterable


REPORT_START = 0.05  # shorter tasks are reported once, when they have ended
NAME_OUTPUT = 1.0
NEVER = float("inf")


class Watch:
    """Watches running tasks, in the order in which they started."""

    def __init__(self, outputs: Outputs, reports: Reports) -> None:
        """Begin without tasks."""
        self.outputs, self.reports = outputs, reports
        self.unreported: deque[Task] = deque()
        self.unnamed: deque[Task] = deque()
        self.fifths = 0  # of seconds, at which sizes are looked at

    def add(self, task: Task) -> None:
        """Watch a task that has just started."""
        self.unreported.append(task)

    def tick(self, now: float) -> None:
        """Report starts and link outputs to names where that is due."""
        while self.unreported and (self.unreported[0].state == ENDED or self.unreported[0].since <= now - REPORT_START):
            task = self.unreported.popleft()
            if task.state == RUNNING:
                self.reports.on_running(task)
                self.unnamed.append(task)
        while self.unnamed and (self.unnamed[0].state == ENDED or self.unnamed[0].since <= now - NAME_OUTPUT):
            task = self.unnamed.popleft()
            if task.state == RUNNING and not task.linked:
                try:
                    self.outputs.link(task)
                except OSError:
                    pass  # no room: tried again when it ends

    def oversized(self, now: float, tasks: Iterable[Task]) -> list[Task]:
        """Return, five times a second, the tasks that have written more than they may, and cut what they wrote."""
        if now * 5 < self.fifths:
            return []
        self.fifths = int(now * 5) + 1
        found = [task for task in tasks if self.outputs.exceeds(task)]
        for task in found:  # again and again until it ends: its grace is time enough to fill a disk
            try:
                self.outputs.cut(task)
            except OSError:
                pass
        return found

    def due(self) -> float:
        """Return when `tick` has something to do next."""
        report = self.unreported[0].since + REPORT_START if self.unreported else NEVER
        name = self.unnamed[0].since + NAME_OUTPUT if self.unnamed else NEVER
        return min(report, name)

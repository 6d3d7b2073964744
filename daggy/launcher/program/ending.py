"""How tasks are ended: TERM, after their grace KILL, until no process of theirs is left."""

from __future__ import annotations

import heapq
import time

from daggy.launcher.program.light import signal
from daggy.launcher.program.notes import Notes
from daggy.launcher.program.processes import carriers, signal_all
from daggy.launcher.program.task import ENDED, RUNNING, Task
from daggy.launcher.program.tasks import Tasks
from daggy.launcher.program.wire import LOST, STOPPED, TIMEOUT

LOOK_AGAIN = 0.05
NEVER = float("inf")


class Ending:
    """Ends tasks on demand and at their timeouts.

    Args:
        tasks: What is there.
        notes: Through which tasks are told why they end.
        instance: First part of every ticket.
    """

    def __init__(self, tasks: Tasks, notes: Notes, instance: str) -> None:
        """Begin with nothing to end."""
        self.tasks, self.notes, self.instance = tasks, notes, instance
        self.timers: list[tuple[float, int, Task, bool]] = []  # when, pid, task; True: end of its grace
        self.dying: list[Task] = []  # ended on demand; some of their processes may be left
        self.look_at = 0.0

    def add(self, task: Task) -> None:
        """Begin the timeout of a task that has just started."""
        heapq.heappush(self.timers, (task.since + task.timeout, task.pid, task, False))

    def end(self, tasks: list[Task], reason: int, message: str, flags: int = 0, at_once: bool = False) -> None:
        """Send TERM to tasks, after their grace KILL; those that have not started are given back."""
        self.tasks.recall(tasks)
        now, live = time.monotonic(), []
        for task in tasks:
            if task.state == RUNNING and (at_once or not task.reason):
                if not task.reason:
                    task.reason, task.flags = reason, task.flags | flags
                    task.message = "ran longer than %g s" % task.timeout if reason == TIMEOUT else message
                task.end_by = now + (0.0 if at_once else task.grace)
                heapq.heappush(self.timers, (task.end_by, task.pid, task, True))
                live.append(task)
        for task in live:
            self.notes.say(task, word_for(task))
        signal_all(self._processes(live), signal.SIGTERM, signal.SIGCONT)

    def on_exit(self, task: Task) -> None:
        """The first process of a task that was being ended has exited: look for others."""
        self.dying.append(task)
        self.look_at = 0.0

    def tick(self, now: float) -> None:
        """Do what is due."""
        overdue: list[Task] = []
        late: list[Task] = []
        while self.timers and (self.timers[0][0] <= now or self.timers[0][2].state == ENDED):
            _, _, task, last = heapq.heappop(self.timers)
            if task.state == RUNNING and last:
                overdue.append(task)
            elif task.state == RUNNING and not task.reason:
                late.append(task)
        if late:
            self.end(late, TIMEOUT, "")
        for _ in range(5 if overdue else 0):  # what is killed may have been forking
            left = self._processes(overdue)
            if not left:
                break
            signal_all(left, signal.SIGKILL)
        if self.dying and now >= self.look_at:
            self._look(now)

    def _look(self, now: float) -> None:
        """Report those of the dying tasks of which no process is left, or whose grace is over."""
        left, dying, self.dying = self._processes(self.dying), self.dying, []
        alive = set(left.values())
        signal_all([pid for pid, at in left.items() if dying[at].end_by <= now], signal.SIGKILL)
        for at, task in enumerate(dying):
            if at in alive and task.end_by > now:
                self.dying.append(task)
            else:
                self.tasks.end(task)
        self.look_at = now + LOOK_AGAIN

    def _processes(self, tasks: list[Task]) -> dict[int, int]:
        """Return the processes of these tasks, each with the position of its task."""
        if not tasks:
            return {}
        tickets = {("%s:%d.%d.%d.%d.%d" % (self.instance, *task.key)).encode(): at for at, task in enumerate(tasks)}
        return carriers(tickets, {task.pid: at for at, task in enumerate(tasks)})

    def due(self) -> float:
        """Return when `tick` has something to do next."""
        timer = self.timers[0][0] if self.timers else NEVER
        return min(timer, self.look_at) if self.dying else timer


def word_for(task: Task) -> str:
    """Return why a task is ended: it is to go on elsewhere ("stopped"), or not ("timeout", "killed")."""
    if task.reason == LOST or task.flags & STOPPED:
        return "stopped"
    return "timeout" if task.reason == TIMEOUT else "killed"

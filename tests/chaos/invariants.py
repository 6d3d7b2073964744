"""What must hold after a story, each by a name that is told when it does not."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence

from attrs import frozen

from tests.chaos.evidence import COMPLETED, ERRORED, EXIT, GENERATOR, KILLED, LOST, OK, Evidence, Line, Row
from tests.chaos.specs import NEVER
from tests.chaos.stage import BrokenError


@frozen
class History:
    """What happened to the processes: counts of the oracle's lines when the power was cut, when engines had died."""

    cuts: Sequence[int]
    engine_deaths: Sequence[int]

    def was_cut_after(self, line: Line) -> bool:
        """Return whether the power was cut after a line."""
        return any(line.at < cut for cut in self.cuts)

    def died_after(self, line: Line) -> bool:
        """Return whether an engine died after a line."""
        return any(line.at < death for death in (*self.cuts, *self.engine_deaths))


def _broken(evidence: Evidence, name: str, task: str, told: str) -> BrokenError:
    return BrokenError(name, f"run {evidence.life.run}, task {task}: {told}", (evidence.life.run, task))


def one_ticket_starts_once(evidence: Evidence, history: History) -> None:
    """One ticket starts at most once, and so does one number of an attempt, unless a power cut took what was known."""
    tickets: set[str] = set()
    numbers: dict[tuple[str, int], Line] = {}
    for line in evidence.starts():
        if line.ticket in tickets:
            raise _broken(evidence, "one ticket starts once", line.name, f"{line.ticket} started twice")
        tickets.add(line.ticket)
        before = numbers.setdefault((line.name, line.attempt), line)
        if before is not line and not history.was_cut_after(before):
            told = f"attempt {line.attempt} started as {before.ticket} and as {line.ticket}"
            raise _broken(evidence, "one attempt starts once", line.name, told)


def what_is_completed_did_end(evidence: Evidence, history: History) -> None:
    """What counts as completed wrote its end, and what wrote its end counts, was killed, or was reported lost."""
    ends = {(line.name, line.attempt) for line in evidence.lines if line.word == "end"}
    for row in evidence.rows:
        if row.reason == OK and row.name and (row.name, row.attempt) not in ends:
            raise _broken(evidence, "what is completed did end", row.name, f"attempt {row.attempt} wrote no end")
        if row.reason not in (OK, KILLED, LOST, GENERATOR) and (row.name, row.attempt) in ends:
            raise _broken(evidence, "what did end is completed", row.name, f"attempt {row.attempt}: {row}")


def every_start_is_known(evidence: Evidence, history: History) -> None:
    """Every start has become an attempt.

    Otherwise the power was cut; or an edit took the task away, and an engine died before it knew how the task ended.
    """
    life = evidence.life
    versions = [life.tasks(version + 1) for version in range(len(life.scripts))]
    for line in evidence.starts():
        if evidence.row_of(line) is not None or history.was_cut_after(line):
            continue
        was_removed = any(line.name not in tasks for tasks in versions)
        if not (was_removed and history.died_after(line)):
            raise _broken(evidence, "every start is known", line.name, f"nothing is known of {line.ticket}")


def no_child_before_its_parents(evidence: Evidence, history: History) -> None:
    """No attempt that counts began before its task's parents had ended as demanded."""
    told: dict[str, Line] = {}
    started: dict[str, Line] = {}
    kept = {name for ask in evidence.life.asks if ask.keeps for name in ask.names}
    for line in evidence.lines:
        if line.word == "start":
            row = evidence.row_of(line)
            if row is not None and row.reason in (OK, EXIT):
                task = evidence.life.tasks(line.where[0]).get(line.name)
                for parent, on in task.parents if task else ():
                    if parent not in kept:
                        _check_parent(evidence, line, parent, on, started.get(parent), told.get(parent), history)
            started[line.name] = line
        else:
            told[line.name] = line


def _check_parent(
    evidence: Evidence, child: Line, parent: str, on: str, start: Line | None, end: Line | None, history: History
) -> None:
    """Check what a parent had written when a child wrote its start."""
    what = f"it began (line {child.at}) before {parent} had"
    if start is None:
        if on == "ended" and _may_have_ended_unstarted(evidence, parent, history):
            return
        raise _broken(evidence, "no child before its parents", child.name, f"{what} started")
    if end is not None and end.attempt == start.attempt and (on == "ended" or end.word == "end"):
        if on == "ended" and end.word == "fail":
            row = evidence.row_of(end)
            if row is not None and row.outcome not in (ERRORED, COMPLETED, 5):
                raise _broken(evidence, "no child before its parents", child.name, f"{what} spent its retries")
        return
    row = evidence.row_of(start)
    if on == "ended" and (row is None or row.reason in (KILLED, LOST)):
        return
    raise _broken(evidence, "no child before its parents", child.name, f"{what} ended: {start}")


def _may_have_ended_unstarted(evidence: Evidence, parent: str, history: History) -> bool:
    life = evidence.life
    fails = any(task.shape.may_fail for task in life.tasks().values())
    return fails or life.asked("kill task", "kill run") or life.scripts[0].crash_limit < 1000 or bool(history.cuts)


def completed_as_often_as_asked(evidence: Evidence, history: History) -> None:
    """Nothing is completed more often than once and what was asked; each time there is a reason on record."""
    life = evidence.life
    most = life.may_repeat()
    numbers: dict[str, list[Row]] = {}
    for row in evidence.rows:
        if row.reason == OK and row.name and row.outcome == COMPLETED:
            numbers.setdefault(row.name, []).append(row)
    for name, rows in numbers.items():
        if len(rows) > 1 + most[name] + len(history.cuts):
            told = f"{len(rows)} times, at most {1 + most[name]} were asked for"
            raise _broken(evidence, "completed as often as asked", name, told)
        for before, row in itertools.pairwise(rows):
            if not _was_moved(evidence, name, before, row):
                told = f"attempt {row.attempt} follows {before.attempt}, and nothing says why"
                raise _broken(evidence, "what runs again says why", name, told)


def _was_moved(evidence: Evidence, name: str, before: Row, row: Row) -> bool:
    indexes = [where for where, known in evidence.names.items() if known == name]
    between = [move for move in evidence.moves if before.number <= move.after < row.number]
    return any(move.covers(where) for move in between for where in indexes)


def states_follow(evidence: Evidence, history: History) -> None:
    """At the end every task is completed, unless it fails by its rule, was lost too often, or is below one that is."""
    life = evidence.life
    tasks = life.tasks()
    states = {task["name"]: task["state"] for task in evidence.listed}
    keeps = any(ask.keeps for ask in life.asks)
    unknown = set(states) - set(tasks)
    missing = {name for name, task in tasks.items() if not task.home} - set(states)
    if unknown or missing:
        raise BrokenError("the plan is the spec's", f"run {life.run}: unknown {unknown}, missing {missing}")
    for name, state in states.items():
        task = tasks[name]
        above = [states.get(parent, "completed") for parent, on in task.parents if on == "completed"]
        is_right = {
            "completed": (keeps or set(above) <= {"completed"}) and task.shape.fails_below < NEVER,
            "errored": task.shape.may_fail or life.scripts[-1].crash_limit < 1000,
            "upstream_failed": not set(above) <= {"completed"},
        }
        if not is_right.get(state, False):
            raise _broken(evidence, "states follow", name, f"it is {state}, its parents {Counter(above)}")
    for name, task in tasks.items():
        if task.home and states.get(task.home) == "completed" and name not in states:
            raise _broken(evidence, "the plan is the spec's", name, "its generator is completed, and it is not there")


def the_present_version_ran(evidence: Evidence, history: History) -> None:
    """What is completed was completed by its present definition."""
    marks = {(line.name, line.attempt): line.mark for line in evidence.starts()}
    tasks = evidence.life.tasks()
    last = {row.name: row for row in evidence.rows if row.reason == OK and row.name}
    for task in evidence.listed:
        name = task["name"]
        if task["state"] == "completed" and name in last:
            mark = marks[name, last[name].attempt]
            if mark != tasks[name].shape.mark:
                told = f"attempt {last[name].attempt} ran {mark}, not {tasks[name].shape.mark}"
                raise _broken(evidence, "the present version ran", name, told)


def what_is_requeued_runs_again(evidence: Evidence, history: History) -> None:
    """What was requeued, and acknowledged as such, began once more, unless something above it failed."""
    states = {task["name"]: task["state"] for task in evidence.listed}
    for ask in evidence.life.asks:
        if ask.kind == "requeue" and ask.is_answered:
            for name in ask.names:
                if states.get(name) != "completed":
                    continue
                if not any(line.name == name and line.at >= ask.lines for line in evidence.starts()):
                    raise _broken(evidence, "what is requeued runs again", name, f"no start after line {ask.lines}")


def counts_agree(evidence: Evidence, history: History) -> None:
    """A run's counts are those of its tasks, its state follows from them, and the last event says the same."""
    counted = Counter(task["state"] for task in evidence.listed)
    shown = Counter({state: count for state, count in evidence.shown["counts"].items() if count})
    run = evidence.life.run
    if counted != shown:
        raise BrokenError("counts agree", f"run {run}: {dict(shown)} are told, {dict(counted)} are there")
    wanted = "completed" if set(counted) == {"completed"} else "errored"
    if evidence.shown["state"] != wanted:
        raise BrokenError("counts agree", f"run {run} is {evidence.shown['state']} with {dict(counted)}")


def one_attempt_at_a_time(evidence: Evidence, history: History) -> None:
    """When a task starts again nothing of its earlier attempts is left that could write.

    A power cut takes what was known of the last ones, and their numbers are given again.
    """
    last: dict[str, Line] = {}
    for line in evidence.lines:
        before = last.get(line.name)
        if before is not None and line.attempt < before.attempt and not history.was_cut_after(before):
            told = f"attempt {line.attempt} wrote '{line.word}' after {before.attempt} had started"
            raise _broken(evidence, "one attempt at a time", line.name, told)
        if line.word == "start":
            last[line.name] = line


def no_row_is_twice(evidence: Evidence, history: History) -> None:
    """One attempt ends once."""
    numbers = Counter((row.name or row.where, row.attempt) for row in evidence.rows)
    for (name, attempt), count in numbers.items():
        if count > 1:
            raise _broken(evidence, "one attempt ends once", str(name), f"attempt {attempt} has {count} rows")


INVARIANTS: Sequence[Callable[[Evidence, History], None]] = (
    one_ticket_starts_once,
    no_row_is_twice,
    one_attempt_at_a_time,
    what_is_completed_did_end,
    every_start_is_known,
    no_child_before_its_parents,
    completed_as_often_as_asked,
    states_follow,
    the_present_version_ran,
    what_is_requeued_runs_again,
    counts_agree,
)
"""All of them; those that need a server to ask are in `answers`."""

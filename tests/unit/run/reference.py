"""A run as dictionaries and sets: every rule written down once, slowly, with nothing of Daggy's own but numbers'
names.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any

from attrs import define, field

from daggy.attempt import STOPPED, Reason, RunState, State

FAILED = {State.ERRORED, State.KILLED, State.UPSTREAM_FAILED}
RETRIED = {Reason.EXIT, Reason.SIGNAL, Reason.TIMEOUT, Reason.SPAWN, Reason.GENERATOR, Reason.MEMORY, Reason.RESULT}

Json = dict[str, Any]


@define(eq=False, repr=False)
class Task:
    """One task. `state` is None while it has neither started nor ended: then its parents say what it is."""

    name: str
    template: Json
    parents: list[tuple[Task, str]] = field(factory=list)
    origin: Task | None = None
    state: str | None = None  # delayed, sent, running, completed, errored, killed
    attempt: int = 0
    recorded: int = 0
    failures: int = 0
    crashes: int = 0
    doom: str = ""  # kill, again, halt, discard
    answering: bool = False
    superseded: bool = False
    discarded: int = 0  # attempts up to this one do not count
    spent: int = 0  # the last number that a command recorded
    alive: bool = True

    def __repr__(self) -> str:
        return self.name

    def is_in_flight(self) -> bool:
        return self.state in {"sent", "running"}

    def is_dying(self) -> bool:
        return self.doom in {"kill", "discard"}

    def has_run(self) -> bool:
        """Whether it has completed, or runs and is not being killed."""
        return self.state == "completed" or (self.is_in_flight() and not self.is_dying())

    def carry(self, before: Task) -> None:
        """Go on as what another graph knew as the same task."""
        for column in COLUMNS:
            setattr(self, column, getattr(before, column))


COLUMNS = (
    "state", "attempt", "recorded", "failures", "crashes", "doom", "answering", "superseded", "discarded", "spent",
)  # fmt: skip


def _origin(task: Task) -> str:
    return task.origin.name if task.origin else ""


def differs(before: Task, task: Task) -> bool:
    """Whether a task does something else than before, or waits for other tasks."""
    definitions = [(one.template["details"], one.template.get("is_generator")) for one in (before, task)]
    parents = [{(parent.name, on) for parent, on in one.parents} for one in (before, task)]
    return definitions[0] != definitions[1] or parents[0] != parents[1]


def differing(old: dict[str, Task], new: list[Task]) -> Iterator[Task]:
    """Return the tasks that differ from those of the same name; with parameters, all of their template together."""
    changed: set[str] = set()
    for task in new:
        before = old.get(task.name)
        if before is not None and (differs(before, task) or _waits(before) != _waits(task)):
            changed.add(_template_of(task))
    return (task for task in new if _template_of(task) in changed)


def _template_of(task: Task) -> str:
    scope, _, own = task.name.rpartition("/")
    return f"{scope}/{own.partition('.')[0]}"


def _waits(task: Task) -> set[tuple[str, tuple[str, ...], str]]:
    entries = task.template.get("parents", [])
    return {(one["task"], tuple(sorted(one.get("match", ()))), one.get("on", "completed")) for one in entries}


def expand(
    document: Json, parameters: Mapping[str, list[str]], scope: str = ""
) -> dict[str, list[tuple[str, dict[str, str]]]]:
    """Template to the names and values of its tasks, in order."""
    made = {}
    for name, template in document["tasks"].items():
        used = sorted(template.get("expand", []))
        values = [dict(zip(used, chosen, strict=True)) for chosen in itertools.product(*(parameters[p] for p in used))]
        full = f"{scope}/{name}" if scope else name
        made[name] = [(".".join([full, *(f"{p}:{v}" for p, v in one.items())]), one) for one in values]
    return made


@define(eq=False)
class Reference:
    """What a run should be.

    `scopes` is by generator ("" for the spec itself): template to its tasks and their values.
    """

    document: Json
    tasks: dict[str, Task] = field(factory=dict)
    scopes: dict[str, dict[str, list[tuple[Task, dict[str, str]]]]] = field(factory=dict)
    answers: dict[str, bytes] = field(factory=dict)
    killed: bool = False
    halted: bool = False
    errored: int = 0
    ended: bool = False
    is_recovering: bool = False

    # The graph.

    def add(self, document: Json, origin: Task | None = None) -> None:
        """Add all tasks of a document, or of what a generator answered."""
        scope = origin.name if origin else ""
        made: dict[str, list[tuple[Task, dict[str, str]]]] = {}
        for name, rows in expand(document, self.document.get("parameters", {}), scope).items():
            made[name] = [(Task(full, document["tasks"][name], origin=origin), values) for full, values in rows]
            self.tasks.update({task.name: task for task, _ in made[name]})
        self.scopes[scope] = made
        for name, template in document["tasks"].items():
            for entry in template.get("parents", []):
                self._link(made[name], entry, made, origin)

    def _link(
        self,
        children: list[tuple[Task, dict[str, str]]],
        entry: Json,
        siblings: dict[str, list[tuple[Task, dict[str, str]]]],
        origin: Task | None,
    ) -> None:
        parents = siblings.get(entry["task"]) or self.outside(entry["task"], origin)
        assert parents, f"no task named {entry['task']}"
        for child, values in children:
            for parent, others in parents:
                is_own = parent in self._lineage(child)
                if not is_own and all(values[p] == others[p] for p in entry.get("match", [])):
                    child.parents.append((parent, entry.get("on", "completed")))

    def outside(self, name: str, origin: Task | None) -> list[tuple[Task, dict[str, str]]]:
        while origin is not None:
            around = self.scopes[origin.origin.name if origin.origin else ""]
            if name in around:
                return around[name]
            origin = origin.origin
        return []

    def _lineage(self, task: Task) -> list[Task]:
        return [task.origin, *self._lineage(task.origin)] if task.origin else []

    def generated(self, task: Task) -> list[Task]:
        """All that a generator and its generators generated."""
        return [other for other in self.tasks.values() if task in self._lineage(other)]

    def drop(self, task: Task) -> None:
        """Take a task out of the run, and what it generated."""
        self.retire(task)
        if self.tasks.get(task.name) is task:
            del self.tasks[task.name]
        task.alive = False

    def retire(self, task: Task) -> None:
        for other in [other for other in self.tasks.values() if other.origin is task]:
            self.drop(other)
        self.scopes.pop(task.name, None)
        self.answers.pop(task.name, None)

    def say(self, generator: Task, answer: bytes, document: Json, fits: set[str] | None = None) -> set[Task]:
        """Put an answer in the place of an earlier one. What generators among the tasks have answered holds on where it
        fits, by default everywhere; return those where it does not.
        """
        inner = {task.name for task in self.generated(generator)}
        said = {name: known for name, known in self.answers.items() if name in inner}
        self.retire(generator)
        if document["tasks"]:
            self.answers[generator.name] = answer
            self.add(document, generator)
        misfits: set[Task] = set()
        for name, known in said.items():
            task = self.tasks.get(name)
            if task is None or not task.template.get("is_generator"):
                continue
            if fits is None or name in fits:
                self.answers[name] = known
                self.add(json.loads(known), task)
            else:
                misfits.add(task)
        return misfits

    # What follows from what.

    def states(self) -> dict[Task, State]:
        """The public state of every task."""
        known: dict[Task, State] = {}
        behind: dict[Task, list[Task]] = {task: self.generated(task) for task in self.tasks.values()}
        for task in self.tasks.values():
            self._state(task, known, behind)
        return known

    def _state(self, task: Task, known: dict[Task, State], behind: dict[Task, list[Task]]) -> State:
        if task not in known:
            known[task] = self._fixed(task) or self._derived(task, known, behind)
        return known[task]

    def _fixed(self, task: Task) -> State | None:
        if task.state is None:
            return None
        return State.QUEUED if task.state in {"delayed", "sent"} else State[task.state.upper()]

    def _derived(self, task: Task, known: dict[Task, State], behind: dict[Task, list[Task]]) -> State:
        waits: list[tuple[State, str]] = []
        for parent, on in task.parents:
            waits += [(self._state(one, known, behind), on) for one in (parent, *behind[parent])]
        if task.origin is not None:
            waits.append((self._state(task.origin, known, behind), "completed"))
        if any(on == "completed" and state in FAILED for state, on in waits):
            return State.UPSTREAM_FAILED
        if all(state is State.COMPLETED or (on == "ended" and state in FAILED) for state, on in waits):
            return State.QUEUED
        return State.WAITING

    def is_ready(self, task: Task, states: dict[Task, State]) -> bool:
        return task.state is None and states[task] is State.QUEUED

    def downstream(self, chosen: set[Task]) -> set[Task]:
        """These and all that waits for them."""
        children: dict[Task, set[Task]] = {task: set() for task in self.tasks.values()}
        for task in self.tasks.values():
            for parent, _ in task.parents:
                for one in (parent, *self.generated(parent)):
                    children[one].add(task)
            if task.origin is not None:
                children[task.origin].add(task)
        todo, found = set(chosen), set(chosen)
        while todo:
            todo = children[todo.pop()] - found | todo
            found |= todo
        return found

    # What happens.

    def take(self, task: Task) -> None:
        assert self.is_ready(task, self.states())
        task.state, task.superseded = "sent", False
        task.attempt += 1

    def finish(self, task: Task, reason: Reason, code: int, flags: int, *, has_answer: bool = False) -> str:
        """End an attempt; return what is to be done: "ask" for a generator's answer, or nothing."""
        if (
            reason is Reason.OK
            and task.template.get("is_generator")
            and not has_answer
            and task.doom not in {"kill", "again", "discard"}
        ):
            task.answering = True
            return "ask"
        outcome = self._verdict(task, reason, code, flags)
        task.recorded = task.attempt
        task.answering = False
        task.doom = ""
        task.state = None if outcome == "again" else outcome
        if outcome == "completed":
            task.failures = task.crashes = 0
        self.errored += outcome == "errored"
        return ""

    def _verdict(self, task: Task, reason: Reason, code: int, flags: int) -> str:
        template = task.template
        if task.doom == "again":
            return "again"
        if task.doom == "discard":
            return "killed"
        if reason is Reason.OK and not (task.doom == "kill" and template.get("is_generator")):
            return "completed"
        if task.doom == "kill" or (reason is Reason.KILLED and not flags & STOPPED):
            return "killed"
        if flags & STOPPED:
            return "killed" if self.halted or self.killed else "again"
        if reason is Reason.LOST:
            task.crashes += 1
            return "again" if task.crashes <= template.get("crash_limit", 3) and not self.halted else "errored"
        task.failures += 1
        only = template.get("retry_on")
        wanted = only is None or reason.name.lower() in only or (reason is Reason.EXIT and code in only)
        if self.halted or task.failures > template.get("max_retries", 0) or reason not in RETRIED or not wanted:
            return "errored"
        return "delayed" if template.get("retry_delay") else "again"

    def recall(self, task: Task) -> None:
        task.attempt -= task.spent != task.attempt
        task.state = "killed" if task.doom in {"kill", "halt", "discard"} else None
        task.doom = ""

    def settle(self) -> None:
        """Stop if too much failed; see whether the run has ended."""
        if self.is_recovering:
            return
        most = self.document.get("max_failures")
        if most is not None and not self.halted and self.errored >= most:
            self._halt()
        states = self.states()
        self.ended = not any(state in {State.WAITING, State.QUEUED, State.RUNNING} for state in states.values())

    def _halt(self) -> None:
        self.halted = True
        states = self.states()
        for task in self.tasks.values():
            if not task.is_in_flight() and states[task] in {State.WAITING, State.QUEUED}:
                task.state = "killed"
            elif task.doom == "again":
                task.doom, task.spent = "discard", task.attempt
            elif task.state == "sent" and not task.answering and not task.doom:
                task.doom, task.spent = "halt", task.attempt

    def final(self) -> RunState:
        if all(state is State.COMPLETED for state in self.states().values()):
            return RunState.COMPLETED
        return RunState.KILLED if self.killed else RunState.ERRORED

    def kill(self, chosen: set[Task] | None) -> None:
        if self.ended:
            return
        self.killed = self.killed or chosen is None
        states = self.states()
        for task in self.tasks.values() if chosen is None else chosen:
            if task.is_in_flight():
                task.doom = "discard" if task.doom in {"again", "discard"} else "kill"
                task.spent = task.attempt
            elif states[task] in {State.WAITING, State.QUEUED}:
                task.state = "killed"
        self.settle()

    def resume(self) -> None:
        states = self.states()
        self.run_again({task for task in self.tasks.values() if states[task] in FAILED or task.is_dying()})

    def run_again(self, chosen: set[Task], *, keep_downstream: bool = False, is_edit: bool = False) -> None:
        states = self.states()
        again = chosen if keep_downstream else self.downstream(chosen)
        told = any(states[task] is not State.WAITING for task in chosen)
        told |= any(states[task] not in {State.WAITING, State.UPSTREAM_FAILED} for task in again - chosen)
        if told:
            self._wait(again)
        if told or is_edit:
            self.killed = self.halted = False
            self.errored = 0
            for task in self.tasks.values():
                if task.doom == "halt":
                    task.doom = ""
            self.settle()

    def _wait(self, again: set[Task]) -> None:
        for task in again:
            task.failures = task.crashes = 0
            if task.is_in_flight():
                task.doom, task.superseded, task.discarded = "again", True, task.attempt
                task.spent = task.attempt
            else:
                task.state = None
        self.end_delays()

    def end_delays(self) -> None:
        """Tasks between retries wait if their parents run again."""
        known, behind = self.states(), {task: self.generated(task) for task in self.tasks.values()}
        for task in [task for task in self.tasks.values() if task.state == "delayed"]:
            if self._derived(task, known, behind) is not State.QUEUED:
                task.state = None

    def tick(self, due: set[Task]) -> None:
        for task in due:
            task.state = None

    def answer(self, task: Task, answer: bytes, document: Json | None, fits: set[str] | None = None) -> None:
        """A generator's answer was read; None: it was bad. `fits` are the generators among what it generated whose own
        answers fit the new one.
        """
        if task.is_dying():
            self.finish(task, Reason.KILLED, 0, 0, has_answer=True)
        elif task.doom == "again":
            self.finish(task, Reason.OK, 0, 0, has_answer=True)
        elif document is None:
            self.finish(task, Reason.GENERATOR, 0, 0, has_answer=True)
        else:
            again: set[Task] = set()
            if self.answers.get(task.name) != answer:
                again = self._replace(task, answer, document, fits or set())
            self.finish(task, Reason.OK, 0, 0, has_answer=True)
            self._answered(again)
            if self.killed or self.halted:
                self._stop_new()
        self.settle()

    def _replace(self, generator: Task, answer: bytes, document: Json, fits: set[str]) -> set[Task]:
        """Compare an answer with the one before, task by task; return what runs again because it differs."""
        old = {task.name: task for task in self.generated(generator)}
        again = self.say(generator, answer, document, fits)
        new = self.generated(generator)
        for task in new:
            if (before := old.get(task.name)) is not None:
                task.carry(before)
        again |= {*differing(old, new)}
        if old.keys() != {task.name for task in new}:
            waits = {generator, *self._lineage(generator)}
            again |= {t for t in self.tasks.values() if t.has_run() and waits & {parent for parent, _ in t.parents}}
        return again

    def _answered(self, chosen: set[Task]) -> None:
        """Let run again what an answer changed, and what has run downstream of that."""
        again = chosen | {task for task in self.downstream(chosen) if task.has_run()}
        states = self.states()
        if any(states[task] is not State.WAITING for task in again):
            self._wait(again)

    def _stop_new(self) -> None:
        states = self.states()
        for task in self.tasks.values():
            if not task.is_in_flight() and states[task] in {State.WAITING, State.QUEUED}:
                task.state = "killed"
            elif task.doom == "again":
                task.doom, task.spent = "discard", task.attempt

    def edit(self, fresh: Reference, changed: set[str], *, keep_downstream: bool) -> Iterator[Task]:
        """Take over a new version's tasks; yield those that vanished. `fresh` has the new graph and nothing happened
        in it.
        """
        old = self.tasks
        for name, task in fresh.tasks.items():
            if (before := old.get(name)) is not None:
                task.carry(before)
                if task.state == "delayed":
                    task.state = None
        for name, task in old.items():
            if name not in fresh.tasks:
                task.alive = False
                yield task
        self.document, self.tasks, self.scopes, self.answers = fresh.document, fresh.tasks, fresh.scopes, fresh.answers
        states = self.states()
        again = {task for name, task in self.tasks.items() if name in changed}
        again |= {task for task in self.tasks.values() if states[task] in FAILED or task.is_dying()}
        again |= self._waiting_for_others(old)
        self.run_again(again, keep_downstream=keep_downstream, is_edit=True)

    def _waiting_for_others(self, old: Mapping[str, Task]) -> set[Task]:
        """Return what has run behind generators whose answers come to other tasks than they did in the old graph."""
        found: set[Task] = set()
        for name in self.answers:
            before, after = (
                {one.name for one in tasks.values() if _origin(one) == name} for tasks in (old, self.tasks)
            )
            if name in old and before != after:
                generator = self.tasks[name]
                waits = {generator, *self._lineage(generator)}
                found |= {t for t in self.tasks.values() if t.has_run() and waits & {parent for parent, _ in t.parents}}
        return found

    def set_aside(self, task: Task, attempt: int, end: tuple[Reason, int, int]) -> None:
        """An attempt that does not follow was heard to have ended: that is recorded."""
        if not task.alive or task.is_in_flight() or attempt <= task.attempt:
            return
        if task.state in {None, "delayed", "killed"}:
            counts = attempt > task.discarded
            task.doom = "again" if task.state != "killed" else "kill" if counts else "discard"
            task.state = "sent"
            task.attempt = attempt
            self.finish(task, *end)
        task.attempt = attempt

    def recovered(self) -> None:
        """All that was heard has been applied: no number that a command has recorded is given again."""
        self.is_recovering = False
        for task in self.tasks.values():
            if not task.is_in_flight():
                task.attempt = max(task.attempt, task.spent)

    def crash(self) -> None:
        """The engine died: what was in flight is queued, or as it was told to become."""
        for task in self.tasks.values():
            if task.is_in_flight():
                task.state = "killed" if task.doom in {"kill", "halt", "discard"} else None
            if task.state == "delayed":
                task.state = None
            task.attempt = task.recorded
            task.doom, task.answering = "", False
        self.halted = False

"""Any run, in any order of reports, kills, resumes, edits, answers and crashes, is what the reference says it is."""

from __future__ import annotations

import copy
import json
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from daggy.attempt import STOPPED, Kind, Reason, Reports, RunState, State, Ticket
from daggy.errors import SpecError
from daggy.plan import difference, plan
from daggy.run import edit, states
from daggy.run.commands import on_kill, on_requeue, on_resume
from daggy.run.growth import on_bad_answer, on_generated
from daggy.run.reconcile import on_recovered, on_unfollowed
from daggy.run.replay import replay
from daggy.run.reports import on_reports, on_tick
from daggy.run.run import Run
from daggy.run.states import Now
from daggy.run.succession import succession
from daggy.spec import parse_fragment
from tests.unit.run.drawn import BOTH, NAMES, Json, answers, documents, edited
from tests.unit.run.kit import Book, joined, live, queue_entries, report_of, spec_of, submitted
from tests.unit.run.reference import Reference, Task

CODES = {"delayed": states.DELAYED, "sent": states.SENT}
ENDS = [
    *[(Reason.OK, 0, 0)] * 3, (Reason.EXIT, 1, 0), (Reason.EXIT, 3, 0), (Reason.SIGNAL, -9, 0), (Reason.TIMEOUT, 0, 0),
    (Reason.LOST, 0, 0), (Reason.KILLED, 0, 0), (Reason.KILLED, 0, STOPPED), (Reason.TEMPLATE, 0, 0),
    (Reason.MEMORY, -9, 0),
]  # fmt: skip


class Machine(RuleBasedStateMachine):
    """Drives a run and its reference; `flying` has every ticket out there and the reference's task."""

    @initialize(document=documents())
    def begin(self, document: Json) -> None:
        self.at = 100.0
        self.document = document
        self.run = Run(1, plan(spec_of(document)), created=0.0, epoch=1)
        self.run.begin()
        self.book = Book(submitted(self.run, document, 1, 0.0))
        self.reference = Reference(document)
        self.reference.add(document)
        self.flying: dict[Ticket, Task] = {}
        self.questions: list[Ticket] = []
        self.gone: list[Ticket] = []
        self.started: dict[Ticket, float] = {}
        self.due: dict[Task, float] = {}

    def now(self) -> Now:
        self.at += 1.0
        return Now(self.at, self.at)

    def some(self, data: st.DataObject, items: list[Any], least: int = 0) -> list[Any]:
        if not items:
            return []
        return data.draw(st.lists(st.sampled_from(items), unique=True, min_size=min(least, len(items))))

    def index(self, task: Task) -> int:
        return self.run.plan.index(task.name)

    def task(self, index: int) -> Task:
        return self.reference.tasks[self.run.plan.name(index)]

    # Rules.

    @rule(data=st.data(), most=st.integers(1, 40))
    def take(self, data: st.DataObject, most: int) -> None:
        now = self.now()
        for number in self.some(data, sorted(self.run.frontier.ready), 1):
            self.take_from(number, most, now)

    def take_from(self, number: int, most: int, now: Now) -> None:
        taken = self.run.frontier.take(self.run.frontier.queues[number], most).tolist()
        for index in taken:
            task = self.task(index)
            self.reference.take(task)
            ticket = self.run.ticket(index)
            assert ticket.attempt == task.attempt
            self.flying[ticket] = task
            self.started[ticket] = now.wall
        if taken and self.run.state is RunState.QUEUED:
            self.run.change(RunState.RUNNING, now)

    @rule(data=st.data())
    def report(self, data: st.DataObject) -> None:
        """Any reports in any order; stale ones among them."""
        now = self.now()
        parts: list[Reports] = []
        chosen = self.some(data, [ticket for ticket in self.flying if ticket not in self.questions], 1)
        began = {ticket: data.draw(BOTH) for ticket in chosen}
        parts += [report_of([ticket], Kind.STARTED, started=now.wall) for ticket in chosen if began[ticket]]
        for task in [self.flying[ticket] for ticket in chosen if began[ticket]]:
            if task.alive and task.state == "sent":
                task.state = "running"
        ending = [ticket for ticket in chosen if data.draw(BOTH)]
        ends = {ticket: data.draw(st.sampled_from(ENDS)) for ticket in ending}
        large = len(parts) + len(ending) > states.SMALL  # then successes count before failures
        ordered = sorted(ending, key=lambda ticket: ends[ticket][0] is not Reason.OK) if large else ending
        for ticket in ending:
            parts.append(self.end_report(ticket, ends[ticket], now))
        for ticket in ordered:
            self.end(ticket, ends[ticket], now)
        if self.gone and bool(data.draw(BOTH)):
            parts.append(report_of([data.draw(st.sampled_from(self.gone))], Kind.FINISHED, Reason.EXIT, code=1))
        if ending and bool(data.draw(BOTH)):
            parts.append(self.end_report(ending[0], ends[ending[0]], now))  # the same again
        on_reports(self.run, joined(parts), now)
        self.reference.settle()

    def end_report(self, ticket: Ticket, end: tuple[Reason, int, int], now: Now) -> Reports:
        reason, code, flags = end
        started = self.started[ticket]
        return report_of([ticket], Kind.FINISHED, reason, code=code, flags=flags, started=started, ended=now.wall)

    def end(self, ticket: Ticket, end: tuple[Reason, int, int], now: Now) -> None:
        task = self.flying[ticket]
        if not task.alive:
            self.forget(ticket)
            return
        if self.reference.finish(task, *end) == "ask":
            self.questions.append(ticket)
            return
        self.forget(ticket)
        if task.state == "delayed":
            self.due[task] = now.mono

    def forget(self, ticket: Ticket) -> None:
        del self.flying[ticket]
        self.gone.append(ticket)

    @rule(data=st.data())
    def recall(self, data: st.DataObject) -> None:
        flying = [
            t for t, task in self.flying.items() if t not in self.questions and (task.state == "sent" or not task.alive)
        ]
        chosen = self.some(data, flying)
        for ticket in chosen:
            task = self.flying.pop(ticket)  # its number is given again, so that it is not among those gone
            if task.alive:
                self.reference.recall(task)
        on_reports(self.run, report_of(chosen, Kind.RECALLED), self.now())
        self.reference.settle()

    @precondition(lambda self: self.questions)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(self.questions))
        self.questions.remove(ticket)
        task = self.flying[ticket]
        index = self.run.index_of(ticket)
        assert (index >= 0) == task.alive
        self.forget(ticket)
        if index >= 0:
            self.say(data, index, task)

    def say(self, data: st.DataObject, index: int, task: Task) -> None:
        known = self.reference.answers.get(task.name)
        how = "new" if known is None else data.draw(st.sampled_from(["same", "edited", "edited", "new"]))
        if known is not None and how == "same":
            answer = known
        else:
            behind = {other.name.split(".")[0] for other in self.reference.downstream({task})}
            outside = {name: t for name, t in self.reference.document["tasks"].items() if name not in behind}
            said = answers(outside, self.document["parameters"])
            if known is not None and how == "edited":
                said = edited(json.loads(known), ["x", "y", "z"], self.document["parameters"], outside)
            answer = json.dumps({"tasks": data.draw(said)["tasks"]}).encode()
        try:
            if data.draw(st.integers(0, 5)) == 0:
                raise SpecError([])
            fragment = parse_fragment(answer, self.run.plan.spec)
            made = succession(self.run, index, fragment, answer)
            on_generated(self.run, index, fragment, answer, self.now())
        except SpecError:
            on_bad_answer(self.run, index, "bad", self.now())
            self.reference.answer(task, b"", None)
            if task.state == "delayed":
                self.due[task] = self.at
            return
        before = dict(self.reference.tasks)
        self.reference.answer(task, answer, json.loads(answer), {made.plan.name(index) for index in made.answers})
        self.moved(before)

    def moved(self, before: dict[str, Task]) -> None:
        """Note that tasks of another graph stand for those of before."""
        now = {task: self.reference.tasks.get(name) for name, task in before.items()}
        self.flying = {ticket: now.get(task) or task for ticket, task in self.flying.items()}
        self.due = {new_task: at for task, at in self.due.items() if (new_task := now.get(task))}

    @rule(data=st.data())
    def kill_some(self, data: st.DataObject) -> None:
        chosen = self.some(data, list(self.reference.tasks.values()))
        on_kill(self.run, np.array(sorted(map(self.index, chosen)), np.int64), self.now(), "alice")
        self.reference.kill(set(chosen))

    @rule()
    def kill_all(self) -> None:
        on_kill(self.run, None, self.now())
        self.reference.kill(None)

    @rule()
    def resume(self) -> None:
        on_resume(self.run, self.now())
        self.reference.resume()

    @rule(data=st.data())
    def requeue(self, data: st.DataObject) -> None:
        chosen = self.some(data, list(self.reference.tasks.values()))
        keep = data.draw(BOTH)
        indexes = np.array(sorted(map(self.index, chosen)), np.int64)
        on_requeue(self.run, indexes, self.now(), keep_downstream=keep)
        self.reference.run_again(set(chosen), keep_downstream=keep)

    @rule(later=st.sampled_from([1.0, 100.0]))
    def tick(self, later: float) -> None:
        now = self.now()
        due = self.run.delays.next_due()
        self.at = now.mono + later
        before = set(np.flatnonzero(self.run.frontier.state == states.DELAYED).tolist())
        on_tick(self.run, Now(self.at, self.at))
        after = set(np.flatnonzero(self.run.frontier.state == states.DELAYED).tolist())
        assert after <= before
        assert due is None or before == after or due <= self.at
        over = {self.task(index) for index in before - after}
        for index in before:  # a delay of 10 s is at most doubled by backoff, and jitter takes or adds a half of it
            waited = self.at - self.due[self.task(index)]
            assert waited >= 4.9 if index not in after else waited <= 31
        self.reference.tick(over)

    @rule(data=st.data(), keep=st.booleans())
    def edit(self, data: st.DataObject, keep: bool) -> None:
        document = data.draw(edited(self.document, NAMES, {}, {}))
        now = self.now()
        try:
            new = edit.replan(self.run, spec_of(document))
        except SpecError:
            return
        fresh = Reference(document)
        fresh.add(document)
        for name, answer in self.reference.answers.items():
            if name in fresh.tasks and new.index(name) in new.generated:
                fresh.answers[name] = answer
                fresh.add(json.loads(answer), fresh.tasks[name])
        assert set(new.names(range(new.size))) == set(fresh.tasks)
        changed = self.changed(new)
        changed |= {
            name
            for name in self.reference.answers
            if name in fresh.tasks and name not in fresh.answers and fresh.tasks[name].template.get("is_generator")
        }
        entry = submitted(self.run, document, self.run.version + 1, now.wall, keep_downstream=keep)
        edit.on_edit(self.run, difference(self.run.plan, new), entry, now)
        old = dict(self.reference.tasks)
        list(self.reference.edit(fresh, changed, keep_downstream=keep))
        self.document = document
        self.moved(old)

    def changed(self, new: Any) -> set[str]:
        changes = difference(self.run.plan, new)
        names = set()
        for block, flags in zip(new.blocks, changes.changed, strict=True):
            for index in range(block.start, block.stop):
                if flags if isinstance(flags, (bool, np.bool_)) else flags[index - block.start]:
                    names.add(new.name(index))
        return names

    @rule(data=st.data(), share=st.sampled_from([0, 50, 100]))
    def crash(self, data: st.DataObject, share: int) -> None:
        """The engine dies; another one reads the run back, and hears what launchers finished meanwhile."""
        self.book.take(self.run)
        now = self.now()
        self.run = replay(self.book.record(), self.book.history(), self.run.epoch + 1, now)
        self.run.outbox.entries.clear()
        flying, self.flying, self.questions, self.gone, self.due = self.flying, {}, [], [], {}
        doomed = {task: task.doom for task in flying.values() if task.doom}
        self.reference.crash()
        self.reference.is_recovering = True
        heard = {t: data.draw(st.sampled_from(ENDS)) for t in flying if data.draw(st.integers(1, 100)) <= share}
        rest = joined([self.end_report(ticket, end, now) for ticket, end in heard.items()])
        waiting = {
            t: end
            for t, end in heard.items()
            if flying[t].alive and flying[t] not in doomed and not flying[t].superseded
        }
        numbers = {ticket: ticket.attempt for ticket in heard}
        rest = on_recovered(self.run, rest, now)
        while followed := self.followed(waiting, flying):
            ticket, end = followed[0], waiting.pop(followed[0])
            task = flying[ticket]
            task.state, task.attempt = "sent", numbers[ticket]
            if self.reference.finish(task, *end) == "ask":
                self.answer_recovered(data, task)
                rest = on_recovered(self.run, rest, now)
            elif task.state == "delayed":
                self.due[task] = now.mono
            del heard[ticket]
        on_unfollowed(self.run, rest, now)
        for ticket, end in heard.items():
            self.reference.set_aside(flying[ticket], ticket.attempt, end)
        self.reference.recovered()
        for index in np.flatnonzero(self.run.frontier.state == states.DELAYED).tolist():
            task = self.task(index)
            if task.state is None:  # read back: some of its delay was left
                task.state, self.due[task] = "delayed", self.due.get(task, self.at)
        self.run.settle(now)
        self.reference.settle()

    def followed(self, waiting: dict[Ticket, Any], flying: dict[Ticket, Task]) -> list[Ticket]:
        known = self.reference.states()
        return [ticket for ticket in waiting if self.reference.is_ready(flying[ticket], known)]

    def answer_recovered(self, data: st.DataObject, task: Task) -> None:
        index = self.index(task)
        self.run.outbox.answers.clear()
        self.say(data, index, task)

    # What holds after every step.

    @invariant()
    def agrees(self) -> None:
        run, reference = self.run, self.reference
        self.book.take(run)
        known = reference.states()
        indexes = live(run).tolist()
        assert sorted(map(run.plan.name, indexes)) == sorted(reference.tasks)
        for index in indexes:
            task = self.task(index)
            code = CODES.get(task.state or "", int(known[task]))
            assert run.frontier.state[index] == code, (task.name, run.frontier.state[index], task.state, known[task])
            assert run.frontier.attempt[index] == task.attempt, task.name
            if code not in states.ENDED:
                assert run.failures.get(index, 0) == task.failures, (
                    task.name,
                    run.failures.get(index),
                    task.failures,
                    code,
                    task.state,
                )
                assert run.crashes.get(index, 0) == task.crashes, task.name
        if reference.ended:
            assert run.state is reference.final()
        else:
            assert run.state in {RunState.QUEUED, RunState.RUNNING}

    @invariant()
    def adds_up(self) -> None:
        frontier = self.run.frontier
        for block in self.run.plan.blocks:
            column = frontier.state[block.start : block.stop]
            assert frontier.counts[block.number].tolist() == np.bincount(column, minlength=states.CODES).tolist()
        flying = np.flatnonzero(states.IS_IN_FLIGHT[frontier.state]).tolist()
        assert frontier.in_flight == len(flying)
        assert Counter(frontier.queue_of(index).number for index in flying) == Counter(
            {queue.number: queue.in_flight for queue in frontier.queues if queue.in_flight}
        )
        assert sum(self.run.counts().values()) == len(live(self.run))
        queued = np.flatnonzero(frontier.state == states.QUEUED).tolist()
        fresh = [(queue, index) for queue, index in queue_entries(self.run) if frontier.state[index] == states.QUEUED]
        assert sorted(fresh) == sorted((frontier.queue_of(index).number, index) for index in queued)
        assert {queue for queue, _ in fresh} <= frontier.ready
        assert set(self.run.doomed) | set(self.run.started) | set(self.run.answering) <= set(flying)
        assert not self.run.is_ended or not self.run.frontier.totals()[states.IS_ACTIVE].any()

    @invariant()
    def can_be_read_back(self) -> None:
        """Restoring from what was recorded gives the same states; what was in flight is queued, or as it was told to
        become.
        """
        self.book.take(self.run)
        back = replay(self.book.record(), self.book.history(), 99, Now(self.at, self.at))
        assert not back.take_entries()
        twin = copy.deepcopy(self.reference)
        twin.crash()
        known = {task.name: state for task, state in twin.states().items()}
        seen = {back.plan.name(i): State(int(states.PUBLIC[back.frontier.state[i]])) for i in live(back).tolist()}
        assert seen == known, {n: (seen.get(n), known.get(n)) for n in {*seen, *known} if seen.get(n) != known.get(n)}
        assert {back.plan.name(i): int(back.frontier.attempt[i]) for i in live(back).tolist()} == {
            task.name: task.recorded for task in twin.tasks.values()
        }

    def teardown(self) -> None:
        """Whatever happened, the run ends once everything has answered."""
        if not hasattr(self, "run"):
            return
        for _ in range(10_000):
            if self.run.is_ended:
                break
            self.finish_all()
        assert self.run.is_ended
        names = {name.lower() for name in State.__members__}
        assert (self.run.state is RunState.COMPLETED) == (not any(self.run.counts()[n] for n in names - {"completed"}))

    def finish_all(self) -> None:
        self.at += 5000
        now = Now(self.at, self.at)
        on_tick(self.run, now)
        for queue in self.run.frontier.queues:
            self.run.frontier.take(queue, 1000)
        flying = np.flatnonzero(states.IS_IN_FLIGHT[self.run.frontier.state]).tolist()
        for index in list(self.run.answering):
            if index in self.run.answering:
                on_generated(self.run, index, None, b"", now)
        on_reports(
            self.run,
            report_of(
                [self.run.ticket(i) for i in flying if self.run.frontier.state[i] in states.IN_FLIGHT], Kind.FINISHED
            ),
            now,
        )


class GeneratorMachine(Machine):
    """The first template generates: its tasks have answered when it all begins, and are asked again and again."""

    @initialize(document=documents(), data=st.data())
    def begin(self, document: Json, data: st.DataObject) -> None:
        first = document["tasks"]["a"]
        first["is_generator"] = True
        super().begin(document)
        self.run_generators(data)

    def run_generators(self, data: st.DataObject) -> None:
        """Let all generators that are ready run and answer, and what they generate run, most of it successfully."""
        for _ in range(data.draw(st.sampled_from([3, 4, 2, 1]))):
            for number in sorted(self.run.frontier.ready):
                self.take_from(number, 100, self.now())
            for ticket in [t for t, task in self.flying.items() if t not in self.questions and task.alive]:
                task = self.flying[ticket]
                if task.alive and data.draw(st.sampled_from([*[True] * 9, False])):
                    self.succeed(data, ticket, task)

    def succeed(self, data: st.DataObject, ticket: Ticket, task: Task) -> None:
        now = self.now()
        on_reports(self.run, self.end_report(ticket, (Reason.OK, 0, 0), now), now)
        asks = self.reference.finish(task, Reason.OK, 0, 0) == "ask"
        self.forget(ticket)
        if asks:
            self.say(data, self.index(task), task)
        self.reference.settle()

    @precondition(lambda self: any(task.state == "completed" for task in self.generators()))
    @rule(data=st.data(), keep=st.sampled_from([True, True, False]))
    def answer_again(self, data: st.DataObject, keep: bool) -> None:
        """Completed generators are requeued, run, and answer, one after the other."""
        for _ in range(data.draw(st.sampled_from([3, 2, 1]))):
            completed = [task for task in self.generators() if task.state == "completed"]
            if not completed:
                return
            task = data.draw(st.sampled_from(completed))
            index, now = self.index(task), self.now()
            on_requeue(self.run, np.array([index], np.int64), now, keep_downstream=keep)
            self.reference.run_again({task}, keep_downstream=keep)
            if self.run.frontier.state[index] == states.QUEUED:
                self.take_from(self.run.frontier.queue_of(index).number, 100, now)
                self.succeed(data, self.run.ticket(index), task)
            self.agrees()
            if data.draw(st.sampled_from([True, True, False])):
                self.run_generators(data)

    @rule(data=st.data())
    def go_on(self, data: st.DataObject) -> None:
        self.run_generators(data)

    def generators(self) -> list[Task]:
        return [task for task in self.reference.tasks.values() if task.template.get("is_generator")]


@pytest.mark.parametrize("machine", [Machine, GeneratorMachine], ids=["any", "generators"])
@pytest.mark.parametrize("small", [0, 24], ids=["as arrays", "one by one"])
def test_a_run_agrees_with_the_reference(small: int, machine: type[Machine], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states, "SMALL", small)
    run_state_machine_as_test(
        machine,
        settings=settings(
            settings(),
            stateful_step_count=20 if machine is Machine else 10,
            suppress_health_check=list(HealthCheck),
            max_examples=settings().max_examples,
        ),
    )

"""What must hold at the end of every story, each thing by its name; the graph is expanded by the naive reference."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from attrs import define, field

from daggy.attempt import Reason, RunState, State, Ticket
from daggy.engine.archive import attempts_of
from daggy.engine.engine import Engine
from daggy.run import states
from daggy.run.replay import replay
from daggy.run.run import Run, from_ranges, places_of
from daggy.run.states import Now
from daggy.tracker import Attempts, Generated, Moved, NewsItem, Submitted
from tests.simulation.story import Story
from tests.simulation.world import Happened
from tests.unit.run.kit import Book as Kept
from tests.unit.run.reference import FAILED, Reference, Task

Json = dict[str, Any]


@define
class BrokenError(AssertionError):
    """An invariant does not hold: its name, what was seen, and the task (run, name) that it is about."""

    invariant: str
    said: str
    run: int = 0
    name: str = ""


@define(eq=False)
class Deed:
    """One process of one attempt, as it really was."""

    ticket: Ticket
    name: str
    began: float
    ended: float = float("inf")
    reason: Reason | None = None


@define(eq=False)
class Book:
    """What really happened, and what was kept, by task."""

    deeds: dict[Ticket, Deed] = field(factory=dict)
    by_task: dict[tuple[int, str], list[Deed]] = field(factory=lambda: defaultdict(list))

    @classmethod
    def read(cls, log: Iterable[Happened]) -> Book:
        """Return it from the world's log."""
        book = cls()
        for one in log:
            if one.what == "start":
                if one.ticket in book.deeds:
                    raise BrokenError("one start a ticket", f"{one.ticket} began twice", one.ticket.run, one.name)
                deed = book.deeds[one.ticket] = Deed(one.ticket, one.name, one.at)
                book.by_task[one.ticket.run, one.name].append(deed)
            else:
                deed = book.deeds[one.ticket]
                deed.ended, deed.reason = one.at, one.reason if one.what == "end" else Reason.LOST
        return book


@define(eq=False)
class Graphs:
    """The naive graphs of one version of a run: as it was at first, and after each answer of a generator."""

    began: list[float] = field(factory=list)
    made: list[Reference] = field(factory=list)

    def at(self, moment: float) -> Reference:
        """Return the graph of a moment."""
        return self.made[max(0, bisect_right(self.began, moment) - 1)]

    def with_task(self, name: str) -> Reference | None:
        """Return the last graph that has a task of this name."""
        return next((one for one in reversed(self.made) if name in one.tasks), None)


def graph(document: Json, said: Mapping[str, bytes]) -> Reference:
    """Return the naive graph of a document with what its generators have answered."""
    made = Reference(document)
    made.add(document)
    for name, answer in said.items():
        task, document = made.tasks.get(name), json.loads(answer)
        if task is not None and task.template.get("is_generator") and fits(made, document, task):
            made.say(task, answer, document)
    return made


def fits(made: Reference, answer: Json, generator: Task) -> bool:
    """Return whether all that an answer waits for is there: an edit may have taken some of it away."""
    wanted = {entry["task"] for template in answer["tasks"].values() for entry in template["parents"]}
    return all(made.outside(name, generator) for name in wanted - answer["tasks"].keys())


class Checks:
    """All invariants over one story that has come to its end."""

    def __init__(self, story: Story, engine: Engine) -> None:
        """Read what happened."""
        self.story, self.engine = story, engine
        self.book = Book.read(story.world.log)
        self.documents: dict[tuple[int, int], Json] = {}
        self.graphs: dict[tuple[int, int], Graphs] = {}
        for run in {entry.run for entry in story.entries if isinstance(entry, Submitted)}:
            self._read_graphs(run)

    def _read_graphs(self, run_id: int) -> None:
        kept_at = zip(self.story.entries, self.story.kept_at, strict=True)
        about = [(entry, at) for entry, at in kept_at if getattr(entry, "run", 0) == run_id]
        kept = Kept(*(entry for entry, _ in about))
        run = replay(kept.record(), kept.history(), 0, Now(0.0, 0.0))
        said: dict[str, bytes] = {}
        for entry, at in about:
            if isinstance(entry, Submitted):
                self.documents[run_id, entry.version] = json.loads(entry.spec)
            elif isinstance(entry, Generated):
                name = _name(run, entry.version, entry.index)
                said.pop(name, None)
                said[name] = entry.answer
            else:
                continue
            graphs = self.graphs.setdefault((run_id, entry.version), Graphs())
            graphs.began.append(at)
            graphs.made.append(graph(self.documents[run_id, entry.version], said))

    def template(self, deed: Deed) -> Json | None:
        """Return the template of the task of a deed."""
        made = self.graphs[deed.ticket.run, deed.ticket.version].with_task(deed.name)
        return None if made is None else made.tasks[deed.name].template

    def whole(self) -> None:
        """Check what is about no single run."""
        for said in self.story.world.broken:
            raise BrokenError(said.partition(":")[0], said)
        self.parallel()
        self.numbers()
        self.nothing_left()

    def _waits(self, made: Reference, task: Task) -> Iterator[tuple[Task, str]]:
        for parent, on in task.parents:
            yield parent, on
            yield from ((one, on) for one in made.generated(parent))
        if task.origin is not None:
            yield task.origin, "completed"

    def _check_parent(self, deed: Deed, parent: str, on: str, is_set_aside: bool) -> None:
        run = deed.ticket.run
        before = [one for one in self.book.by_task.get((run, parent), ()) if one.began <= deed.began]
        is_kept = is_set_aside or run in self.story.keeping
        if any(one.ended > deed.began for one in before) and not is_kept:
            raise BrokenError("order", f"{deed.ticket} began while its parent '{parent}' ran", run, deed.name)
        if on == "completed" and not any(one.reason is Reason.OK for one in before):
            raise BrokenError(
                "order", f"{deed.ticket} began before its parent '{parent}' was completed", run, deed.name
            )

    def parallel(self) -> None:
        """No template runs more tasks at once than it may, no run uses more than its limits."""
        for run, version in {(ticket.run, ticket.version) for ticket in self.book.deeds}:
            document = self.documents[run, version]
            deeds = [
                deed for deed in self.book.deeds.values() if (deed.ticket.run, deed.ticket.version) == (run, version)
            ]
            for name, template in document["tasks"].items():
                if most := template.get("max_parallel"):
                    mine = [deed for deed in deeds if self.template(deed) is template]
                    self._at_once(mine, most, "max_parallel", name)
            for need, most in document.get("limits", {}).items():
                mine = [deed for deed in deeds if need in (self.template(deed) or {}).get("resources", {})]
                self._at_once(mine, most, "limits", need)

    def _at_once(self, deeds: list[Deed], most: int, invariant: str, said: str) -> None:
        moments = sorted([(deed.began, 1) for deed in deeds] + [(deed.ended, -1) for deed in deeds])
        count = 0
        for at, change in moments:
            count += change
            if count > most:
                raise BrokenError(
                    invariant, f"{count} at once of '{said}' at {at}, {most} allowed", deeds[0].ticket.run
                )

    def numbers(self) -> None:
        """No attempt begins with a number of which it is kept that a command has ended it.

        The very attempt may, where its place held it and the engine died with the kill: the next one kills it.
        """
        ended: dict[tuple[int, int, int, int], float] = {}
        for entry, at in zip(self.story.entries, self.story.kept_at, strict=True):
            if isinstance(entry, Moved):
                for index, attempt in entry.flying.tolist():
                    ended.setdefault((entry.run, entry.version, index, attempt), at)
        for ticket, deed in self.book.deeds.items():
            if (
                deed.reason is not Reason.KILLED
                and ended.get((ticket.run, ticket.version, ticket.index, ticket.attempt), deed.began) < deed.began
            ):
                said = f"{ticket} began though a command had ended an attempt of its number"
                raise BrokenError("numbers", said, ticket.run, deed.name)

    def nothing_left(self) -> None:
        """Nothing runs, nothing is reserved, and every launcher was allowed to forget."""
        for launcher, process in self.story.world.running():
            raise BrokenError(
                "nothing left", f"{process.ticket} still runs at launcher {launcher.number}", process.ticket.run
            )
        for launcher in self.story.world.launchers.values():
            if launcher.spool:
                raise BrokenError("acknowledged", f"launcher {launcher.number} keeps {len(launcher.spool)} reports")
        for link in self.engine.state.dispatcher.links.values():
            for machine in link.pool.machines.values():
                if machine.used():
                    raise BrokenError("nothing left", f"{machine.used()} of '{machine.name}' is still reserved")

    # Of one run.

    def run(self, run: Run, copy: Run) -> None:
        """Check one run that has ended, as it is in memory and as it is read back."""
        if not run.is_ended:
            raise BrokenError("ends", f"run {run.id} is {run.state.name.lower()}", run.id)
        self.same(run, copy)
        self.order(run)
        self.counts(run)
        self.outcome(run)
        self.rows(run)
        self.once(run)
        self.fresh(run)
        self.requeued(run)
        self.told(run)

    def order(self, run: Run) -> None:
        """No child begins before its parents have ended as it demands, nor while one of them runs."""
        set_aside = set(self._superseded(run))
        for (run_id, name), deeds in self.book.by_task.items():
            for deed in deeds if run_id == run.id else ():
                graphs = self.graphs[run.id, deed.ticket.version]
                made = graphs.at(deed.began)
                is_set_aside = (name, deed.ticket.attempt) in set_aside or self._was_removed(run, deed)
                if name not in made.tasks and is_set_aside:
                    continue  # it hears of that later
                if name not in made.tasks:
                    raise BrokenError(
                        "order", f"{deed.ticket} is no task of version {deed.ticket.version}", run.id, name
                    )
                for parent, on in self._waits(made, made.tasks[name]):
                    self._check_parent(deed, parent.name, on, is_set_aside)

    def _superseded(self, run: Run) -> Iterator[tuple[str, int]]:
        """Yield name and number of the attempts that a command had ended: they may begin before they hear of it."""
        for entry, row in self._kept(run):
            if row["outcome"] in (State.WAITING, State.KILLED):
                yield _name(run, entry.version, int(row["index"])), int(row["attempt"])

    def _was_removed(self, run: Run, deed: Deed) -> bool:
        """Return whether an edit or an answer took a task away with an attempt that has not completed: nobody asks for
        its end.
        """
        later = [self.graphs[run.id, version] for version in range(deed.ticket.version, run.version + 1)]
        if all(deed.name in made.tasks for graphs in later for made in graphs.made):
            return False
        is_it = (deed.name, deed.ticket.attempt)
        completed = (entry_row for entry_row in self._kept(run) if entry_row[1]["outcome"] == State.COMPLETED)
        return not any((_name(run, e.version, int(row["index"])), row["attempt"]) == is_it for e, row in completed)

    def _kept(self, run: Run) -> Iterator[tuple[Attempts, Any]]:
        for entry in self.story.entries:
            if isinstance(entry, Attempts) and entry.run == run.id:
                yield from ((entry, row) for row in entry.rows)

    def same(self, run: Run, copy: Run) -> None:
        """What is read back is what was there."""
        if run.state is not copy.state or run.version != copy.version or run.plan.size != copy.plan.size:
            raise BrokenError(
                "read back",
                f"{run.state, run.version, run.plan.size} is read as {copy.state, copy.version, copy.plan.size}",
                run.id,
            )
        for what, mine, kept in (
            ("state", states.PUBLIC[run.frontier.state], states.PUBLIC[copy.frontier.state]),
            ("attempt", run.frontier.attempt, copy.frontier.attempt),
        ):
            # a number that was handed out and given back is known to nobody but the engine that did so
            if (differ := np.flatnonzero(mine < kept if what == "attempt" else mine != kept)).size:
                name = run.plan.name(int(differ[0]))
                raise BrokenError(
                    "read back", f"{what} {mine[differ[0]]} of {name} is read as {kept[differ[0]]}", run.id, name
                )

    def counts(self, run: Run) -> None:
        """Counts are what the states add up to."""
        public = states.PUBLIC[run.frontier.state]
        counted = {state.name.lower(): int(np.count_nonzero(public == state)) for state in State}
        if counted != run.counts():
            raise BrokenError("counts", f"{run.counts()} of {counted}", run.id)

    def states_of(self, run: Run) -> dict[str, State]:
        """Return the public state of each task by name."""
        public = states.PUBLIC[run.frontier.state].tolist()
        return {run.plan.name(index): State(code) for index, code in enumerate(public) if code != 255}

    def outcome(self, run: Run) -> None:
        """Tasks have ended; what failed is passed on, and only that; the run is completed if all tasks are."""
        known = self.states_of(run)
        made = self.graphs[run.id, run.version].made[-1]
        completed = [name for name, state in known.items() if state is State.COMPLETED]
        for name, task in made.tasks.items():
            if task.origin is None and name not in known:
                raise BrokenError("tasks", f"'{name}' is missing", run.id, name)
        for name, state in known.items():
            if state in (State.WAITING, State.QUEUED, State.RUNNING):
                raise BrokenError("ends", f"'{name}' is {state.name.lower()} in a run that has ended", run.id, name)
            origin, _, _ = name.rpartition("/")
            if name not in made.tasks and known.get(origin, State.COMPLETED) is State.COMPLETED:
                raise BrokenError("tasks", f"'{name}' is no task of the spec", run.id, name)
            if name not in made.tasks:
                continue  # what its generator said before an edit, which has not said anything new
            waits = [(known[one.name], on) for one, on in self._waits(made, made.tasks[name]) if one.name in known]
            failed = any(on == "completed" and one in FAILED for one, on in waits)
            if state is State.UPSTREAM_FAILED and not failed:
                raise BrokenError("upstream", f"'{name}' is upstream_failed, and no parent failed", run.id, name)
        if (run.state is RunState.COMPLETED) != (len(completed) == len(known)):
            raise BrokenError("completed", f"{run.state.name} with {len(completed)} of {len(known)} completed", run.id)

    def rows(self, run: Run) -> None:
        """Each process that ran is known as one attempt, with the reason that it really ended for; and no other is."""
        for name in self.states_of(run):
            known: dict[int, Any] = {}
            for version, row, _ in attempts_of(run, run.plan.index(name), self.story.tracker):
                if int(row["attempt"]) in known:
                    raise BrokenError(
                        "one end a ticket", f"attempt {row['attempt']} is kept twice ({version})", run.id, name
                    )
                known[int(row["attempt"])] = row
            places = set(places_of(run, run.plan.index(name)))
            deeds = self.book.by_task.get((run.id, name), ())
            for deed in [deed for deed in deeds if (deed.ticket.version, deed.ticket.index) in places]:
                self._check_deed(deed, known.pop(deed.ticket.attempt, None))
            invented = [row for row in known.values() if row["started"] > 0 and self._is_certain(run, name)]
            if invented:
                raise BrokenError("attempts", f"attempt {invented[0]['attempt']} never was", run.id, name)

    def _is_certain(self, run: Run, name: str) -> bool:
        """Return whether a task is the same in all versions: neither dropped for a while, nor generated anew."""
        return "/" not in name and all(
            name in self.graphs[run.id, version].made[0].tasks for version in range(1, run.version + 1)
        )

    def _generates(self, deed: Deed) -> bool:
        template = self.template(deed)
        return template is not None and bool(template.get("is_generator"))

    def _check_deed(self, deed: Deed, row: Any) -> None:
        run, name = deed.ticket.run, deed.name
        if row is None:
            raise BrokenError("every start is known", f"{deed.ticket} has no attempt", run, name)
        reason = Reason(int(row["reason"]))
        unwanted = deed.reason is Reason.OK and reason is Reason.KILLED and self._generates(deed)
        if reason not in (deed.reason, Reason.LOST, Reason.GENERATOR) and not unwanted:
            raise BrokenError("reasons", f"{deed.ticket} ended {deed.reason}, kept as {reason.name}", run, name)

    def once(self, run: Run) -> None:
        """What is completed does not run again, unless somebody asked for it or something that it builds on changed."""
        version, done, answered = 1, set[str](), 0
        for entry in self.story.entries:
            if getattr(entry, "run", 0) != run.id:
                continue
            if isinstance(entry, Submitted) and entry.version > 1:
                # What an edit may run again the reducer's own tests say exactly.
                version, done, answered = entry.version, set(), 0
            elif isinstance(entry, Generated):
                answered += 1
                done &= self.graphs[run.id, version].made[answered].tasks.keys()
            elif isinstance(entry, Moved) and entry.state is State.WAITING:
                moved = from_ranges(entry.ranges).tolist()
                done -= {_name(run, entry.version, index) for index in moved}
            elif isinstance(entry, Attempts) and entry.version == version:  # not of what an edit took out
                for row in entry.rows:
                    name = _name(run, entry.version, int(row["index"]))
                    if name in done:
                        raise BrokenError("once", f"'{name}' ran again though it was completed", run.id, name)
                    if row["outcome"] == State.COMPLETED:
                        done.add(name)

    def fresh(self, run: Run) -> None:
        """What is completed began after all that it waits for had completed, tasks that a later answer added included:
        parents may have run again since, if that was wanted, but none is new.
        """
        made, known = self.graphs[run.id, run.version].made[-1], self.states_of(run)
        for name, task in made.tasks.items():
            if known.get(name) is not State.COMPLETED:
                continue
            last = max(deed.began for deed in self._good(run, name))
            for parent, on in self._waits(made, task):
                ended = [deed.ended for deed in self._good(run, parent.name)]
                if on == "completed" and min(ended, default=float("inf")) > last:
                    raise BrokenError("fresh", f"'{name}' is completed without its parent '{parent}'", run.id, name)

    def _good(self, run: Run, name: str) -> list[Deed]:
        return [deed for deed in self.book.by_task.get((run.id, name), ()) if deed.reason is Reason.OK]

    def requeued(self, run: Run) -> None:
        """What is completed and was requeued, and that was answered, has begun once more."""
        known = self.states_of(run)
        for run_id, name, at in self.story.requeued:
            deeds = self.book.by_task.get((run_id, name), ())
            if run_id == run.id and known.get(name) is State.COMPLETED and not any(deed.began >= at for deed in deeds):
                raise BrokenError("requeued", f"'{name}' has not begun again since {at}", run.id, name)

    def told(self, run: Run) -> None:
        """The last that was told of a run is what it is."""
        told = [entry for entry in self.story.entries if isinstance(entry, NewsItem) and entry.run == run.id]
        if not told or not self.story.plan.follows:
            return
        last = json.loads(told[-1].body)
        if last["counts"] != run.counts() or last["state"] != run.state.name.lower():
            raise BrokenError("told", f"{last} of {run.state.name} {run.counts()}", run.id)


def _name(run: Run, version: int, index: int) -> str:
    """Return the name that an index had in a version of a run."""
    plan = run.translations[version].old if version in run.translations else run.plan
    return plan.name(index)

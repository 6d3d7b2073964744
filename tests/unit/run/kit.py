"""What the run room's tests share: specs from JSON, reports by hand, a history from the entries a run gave out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from daggy.attempt import REPORT, Kind, Reason, Reports, Rows, RunState, State, Ticket
from daggy.plan import plan
from daggy.run import states
from daggy.run.growth import on_generated
from daggy.run.indexes import Indexes, indexes_of
from daggy.run.reports import on_reports
from daggy.run.run import Run
from daggy.run.states import Now
from daggy.spec import RunSpec, parse, parse_fragment
from daggy.tracker import Attempts, Entry, Generated, History, Moved, Noted, RunChanged, RunRecord, Submitted, Version

Json = dict[str, Any]


def encoded(document: Json) -> bytes:
    return json.dumps({"directory": "/", **document}).encode()


def spec_of(document: Json) -> RunSpec:
    return parse(encoded(document), directory="/")


def tasks(**templates: Json | Sequence[str]) -> Json:
    """A document: each template's keys, or only its parents; all run `true`."""
    made = {}
    for name, keys in templates.items():
        given = keys if isinstance(keys, dict) else {"parents": list(keys)}
        made[name] = {"details": {"command": ["true", name]}, **given}
    return {"tasks": made}


def begun(document: Json, epoch: int = 1) -> Run:
    """A run of a document, with what waits for nothing ready."""
    run = Run(1, plan(spec_of(document)), created=0.0, epoch=epoch)
    run.begin()
    return run


def submitted(run: Run, document: Json, version: int, at: float, *, keep_downstream: bool = False) -> Submitted:
    digest = plan(spec_of(document)).digest
    return Submitted(run.id, version, encoded(document), digest, "", {}, at, keep_downstream=keep_downstream)


def take(run: Run, *names: str) -> list[int]:
    """Hand out ready tasks until those named are, or all that are ready; return their indexes in this order."""
    wanted = {run.plan.index(name) for name in names}
    taken: list[int] = []
    for queue in run.frontier.queues:
        while queue.number in run.frontier.ready and (index := run.frontier.take_one(queue)) >= 0:
            taken.append(index)
    if names:
        unwanted = [index for index in taken if index not in wanted]
        reports(run, unwanted, Kind.RECALLED)
        assert wanted <= set(taken), f"{names} are not all ready"
        return [run.plan.index(name) for name in names]
    return taken


def report_of(tickets: Iterable[Ticket], kind: Kind, reason: Reason = Reason.OK, **columns: float) -> Reports:
    """Reports about tickets, all alike."""
    listed = list(tickets)
    rows = np.zeros(len(listed), REPORT)
    for row, ticket in zip(rows, listed, strict=True):
        row["run"], row["version"], row["epoch"] = ticket.run, ticket.version, ticket.epoch
        row["row"]["index"], row["row"]["attempt"] = ticket.index, ticket.attempt
    rows["kind"] = kind
    rows["row"]["reason"] = reason
    for name, value in columns.items():
        rows["row"][name] = value
    return Reports(rows)


def joined(parts: Sequence[Reports]) -> Reports:
    return Reports(np.concatenate([part.rows for part in parts]) if parts else np.zeros(0, REPORT))


def reports(
    run: Run, indexes: Iterable[int], kind: Kind = Kind.FINISHED, reason: Reason = Reason.OK, **columns: float
) -> None:
    """Report about tasks in flight."""
    on_reports(run, report_of(map(run.ticket, indexes), kind, reason, **columns), now())


def answer(run: Run, name: str, **templates: object) -> None:
    """Let a generator in flight succeed and answer these templates."""
    index = run.plan.index(name)
    reports(run, [index])
    run.outbox.answers.clear()
    said = json.dumps(tasks(**templates)).encode()  # type: ignore[arg-type]
    on_generated(run, index, parse_fragment(said, run.plan.spec), said, now())


def now(at: float = 1.0) -> Now:
    return Now(at, at)


def code_of(run: Run, name: str) -> int:
    return int(run.frontier.state[run.plan.index(name)])


def state_of(run: Run, name: str) -> str:
    """A task's public state, by its name in lower case."""
    return State(int(states.PUBLIC[code_of(run, name)])).name.lower()


def states_of(run: Run) -> dict[str, str]:
    return {run.plan.name(i): state_of(run, run.plan.name(i)) for i in live(run).tolist()}


def outcome(run: Run) -> RunState:
    """The run's state; a call, so that nobody takes it for unchanged."""
    return run.state


def live(run: Run) -> Indexes:
    return np.flatnonzero(run.frontier.state != states.REMOVED)


def drain(run: Run) -> None:
    """Let everything succeed until nothing is left to do."""
    while taken := take(run):
        reports(run, taken)


def queue_entries(run: Run) -> list[tuple[int, int]]:
    """All entries of all ready queues: (queue, index), stale ones included; the queues stay as they are."""
    found = []
    for queue in run.frontier.queues:
        tasks = queue.tasks
        listed = list(tasks._items[tasks._head :])
        for start, stop in tasks._ranges:
            listed += indexes_of(slice(start, stop)).tolist()
        found += [(queue.number, index) for index in listed]
    return found


def _copied(entry: Entry) -> Entry:
    if not isinstance(entry, Attempts):
        return entry
    return Attempts(entry.run, entry.version, entry.rows.copy(), dict(entry.messages))


class Book:
    """A tracker that keeps one run's entries in a list."""

    def __init__(self, *entries: Entry) -> None:
        self.entries = [*entries]

    def take(self, run: Run) -> None:
        self.entries += map(_copied, run.take_entries())

    def record(self) -> RunRecord:
        first = self.entries[0]
        assert isinstance(first, Submitted)
        changes = [entry for entry in self.entries if isinstance(entry, RunChanged)]
        last = changes[-1] if changes else None
        state = last.state if last else RunState.QUEUED
        started = next((change.at for change in changes if change.state is RunState.RUNNING), None)
        over = state not in {RunState.QUEUED, RunState.RUNNING}
        ended = last.at if last and over else None
        version = max(entry.version for entry in self.entries if isinstance(entry, Submitted))
        return RunRecord(first.run, version, "", {}, state, first.at, started, ended, first.digest)

    def history(self) -> History:
        generated = [entry for entry in self.entries if isinstance(entry, Generated)]
        versions = [
            Version(
                entry.version, entry.spec, entry.digest, entry.at, entry.keep_downstream,
                [one for one in generated if one.version == entry.version],
            )
            for entry in self.entries
            if isinstance(entry, Submitted)
        ]  # fmt: skip
        notes = {(one.version, one.index): one for one in self.entries if isinstance(one, Noted)}
        entries = [entry for entry in self.entries if isinstance(entry, (Attempts, Moved))]
        return History(versions, entries, {}, [notes[key] for key in sorted(notes)])


def row_of(run: Run, index: int) -> Rows:
    row = run.last_row(index)
    assert row is not None
    return row

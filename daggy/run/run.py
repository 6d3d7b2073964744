"""One run: a plan, a frontier, a ledger and a state. Handlers change it and leave instructions in its outbox."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from itertools import islice

import numpy as np
from attrs import define, field, frozen
from numpy.typing import NDArray

from daggy.attempt import ATTEMPT, Rows, RunState, State, Texts, Ticket
from daggy.errors import InternalError
from daggy.plan import Difference, GateArray, Plan, earlier
from daggy.run import states
from daggy.run.delays import Delays
from daggy.run.frontier import Frontier
from daggy.run.gates import Gates
from daggy.run.indexes import Indexes
from daggy.run.ledger import Ledger
from daggy.run.rebuild import rebuild
from daggy.run.states import Now
from daggy.tracker import Attempts, Entry, Moved, RunChanged


class Doom(enum.IntEnum):
    """What becomes of a task in flight once its attempt has ended."""

    KILL = 1  # it is killed, unless it completed first
    AGAIN = 2  # its definition or its inputs changed: it waits again, whatever its outcome
    HALT = 3  # it may finish if it has started, and is killed if it has not
    DISCARD = 4  # it is killed, whatever its outcome: it was to wait again, and then was killed


SPARE = 64 << 20
"""Bytes of results that are kept in memory though no task takes them: an edit may add one that does."""

KILLING = (Doom.KILL, Doom.DISCARD)
"""What leaves a task killed, so that a resume includes it."""


@frozen
class Note:
    """The latest note of a task: which attempt wrote it, the JSON object as text, and when (wall clock)."""

    attempt: int
    text: str
    at: float


@frozen
class Answer:
    """A generator's attempt succeeded: its answer is to be read and handed to `on_generated`."""

    index: int
    ticket: Ticket
    row: Rows


@define
class Outbox:
    """Instructions of the handlers of one run, in order; the engine takes them after each batch."""

    entries: list[Entry] = field(factory=list)
    kills: list[Ticket] = field(factory=list)
    recalls: list[Ticket] = field(factory=list)
    answers: list[Answer] = field(factory=list)


class Run:
    """State of one run. It never awaits, reads no clock and knows no executor.

    `doomed`, `started` and `answering` are keyed by task, and hold only tasks in flight; `failures` and `crashes`
    only tasks that had some since they were last reset. `errored` counts the tasks that errored since then, against
    `max_failures`. `tickets` (and `launched`, the other way round) holds the tickets of tasks that were launched
    under another index, or by an earlier engine, and still run; `translations` leads from each earlier version's
    indexes to the next one's; `orphans` are tickets in flight whose tasks are no longer part of the run. `answers`
    is what the generators answered whose tasks are in the plan. `superseded` is of a run read back: tasks with an
    attempt that was in flight when a command ended it, whose end is not known yet, and that attempt's number;
    `discarded` those among them that do not count even if they completed. `spent` has the last number of each
    task's attempts that a command has recorded as ended: no other attempt gets it.
    """

    def __init__(self, run_id: int, plan: Plan, *, created: float, epoch: int, version: int = 1) -> None:
        """Make a new run. `created` is wall clock; `epoch` the engine's."""
        self.id = run_id
        self.version = version
        self.epoch = epoch
        self.state = RunState.QUEUED
        self.created = created
        self.started_at: float | None = None
        self.ended_at: float | None = None
        self.frontier = Frontier(plan)
        self.gates = Gates(self.frontier)
        self.ledger = Ledger(version)
        self.delays = Delays()
        self.outbox = Outbox()
        self.killed = False
        self.halted = False
        self.is_recovering = False
        self.errored = 0
        self.failures: dict[int, int] = {}
        self.crashes: dict[int, int] = {}
        self.doomed: dict[int, Doom] = {}
        self.notes: dict[int, Note] = {}
        self.started: dict[int, float] = {}
        self.tickets: dict[int, Ticket] = {}
        self.launched: dict[Ticket, int] = {}
        self.orphans: dict[Ticket, str] = {}
        self.translations: dict[int, Difference] = {}
        self.answering: dict[int, tuple[Rows, Texts]] = {}
        self.answers: dict[int, bytes] = {}
        self.superseded: dict[int, int] = {}
        self.discarded: dict[int, int] = {}
        self.spent: dict[int, int] = {}
        self.moves: list[Moved] = []
        self.stale = 0

    @property
    def plan(self) -> Plan:
        """Return the plan as it stands: generated tasks included."""
        return self.frontier.plan

    @property
    def is_ended(self) -> bool:
        """Return whether nothing is left to do."""
        return self.state not in (RunState.QUEUED, RunState.RUNNING)

    def begin(self) -> None:
        """Make tasks ready that wait for nothing: in a new run, or in one read back whose states are set."""
        rebuild(self.gates)

    def ticket(self, index: int) -> Ticket:
        """Return the ticket of a task's present attempt, as it was launched."""
        known = self.tickets.get(index)
        return known or Ticket(self.id, self.version, index, self.epoch, int(self.frontier.attempt[index]))

    def index_of(self, ticket: Ticket) -> int:
        """Return the present index of a task in flight; -1 if this is not the ticket of one."""
        index = self.launched.get(ticket, ticket.index if ticket.version == self.version else -1)
        if not 0 <= index < self.plan.size or self.frontier.state[index] not in states.IN_FLIGHT:
            return -1
        return index if self.ticket(index) == ticket else -1

    def counts(self) -> dict[str, int]:
        """Return the number of tasks in each public state."""
        return public_counts(self.frontier.totals())

    def kept_counts(self) -> dict[str, int] | None:
        """Return the counts by public state that the run has when it is read back with all that it has recorded.

        What is in flight will be queued. None if commands end some of that: what follows is known once it has ended.
        """
        if self.doomed:
            return None
        counts = self.counts()
        counts["queued"] += counts["running"]
        counts["running"] = 0
        return counts

    def take_entries(self) -> list[Entry]:
        """Take the entries for the tracker, in order, ended attempts included."""
        self._journal_attempts()
        entries, self.outbox.entries = self.outbox.entries, []
        if self.ledger.results.weight > SPARE and not self.plan.takes_inputs:
            self.ledger.drop_results()
        return entries

    def _journal_attempts(self) -> None:
        for first, rows in self.ledger.take_pending():
            last = first + len(rows)
            messages, results = self.ledger.messages.between(first, last), self.ledger.results.between(first, last)
            self.outbox.entries.append(Attempts(self.id, self.version, rows, messages, results))

    def record(self, entry: Entry) -> None:
        """Add an entry behind all attempts that ended before it."""
        self._journal_attempts()
        self.outbox.entries.append(entry)

    def record_move(self, state: State, indexes: Indexes, cause: str, actor: str, now: Now) -> None:
        """Record that tasks changed state without an attempt ending; those in flight are ended for it."""
        if len(indexes):
            flying = indexes[states.IS_IN_FLIGHT[self.frontier.state[indexes]]]
            ending = [(index, self.ticket(index).attempt) for index in flying.tolist() if index in self.doomed]
            self.spent.update(ending)
            pairs = np.array(ending, np.int64).reshape(-1, 2)
            moved = Moved(self.id, self.version, state, as_ranges(indexes), cause, actor, now.wall, pairs)
            self.moves.append(moved)
            self.record(moved)

    def abandon(self, index: int) -> None:
        """Kill the attempt of a task that is no longer part of the run; only its end is recorded."""
        ticket = self.ticket(index)
        if index in self.answering:
            rows, texts = self.answering.pop(index)
            rows["outcome"] = State.KILLED
            self.record(alone(self.id, ticket.version, rows, texts))
            return
        self.orphans[ticket] = self.plan.name(index)
        self.outbox.kills.append(ticket)

    def forget_flight(self, index: int) -> None:
        """Drop what is kept only while a task is in flight."""
        if self.started:
            self.started.pop(index, None)
        if self.doomed:
            self.doomed.pop(index, None)
        if self.tickets and (ticket := self.tickets.pop(index, None)):
            self.launched.pop(ticket, None)

    def forget_failures(self, index: int) -> None:
        """Reset a task's counts of failures and losses."""
        if self.failures:
            self.failures.pop(index, None)
        if self.crashes:
            self.crashes.pop(index, None)

    def ask_for_answer(self, index: int, row: bytes, texts: Texts) -> None:
        """Keep a generator's success until its answer has been read: it has not ended yet."""
        rows = np.frombuffer(row, ATTEMPT).copy()
        self.answering[index] = (rows, texts)
        self.outbox.answers.append(Answer(index, self.ticket(index), rows[0]))

    # The run's own state.

    def change(self, state: RunState, now: Now) -> None:
        """Put the run into a state, and record it."""
        if state is self.state:
            return
        self.state = state
        if state is RunState.RUNNING and self.started_at is None:
            self.started_at = now.wall
        self.ended_at = now.wall if self.is_ended else None
        self.record(RunChanged(self.id, state, now.wall))

    def settle(self, now: Now) -> None:
        """End the run if nothing is left to do; it is completed only if every task is.

        Not while reports from before a crash are still being applied.
        """
        if self.is_recovering:
            return
        if self.errored:
            self.halt_if_failing(now)
        if self.frontier.in_flight or self.frontier.is_busy():
            return
        totals = self.frontier.totals()
        if totals[states.IS_ACTIVE].any():
            if totals[states.WAITING] == totals[states.IS_ACTIVE].sum():
                self._blame_stall()
            return
        if not totals[states.IS_FAILED].any():
            self.change(RunState.COMPLETED, now)
        else:
            self.change(RunState.KILLED if self.killed else RunState.ERRORED, now)

    def _blame_stall(self) -> None:
        index = int(self.frontier.where(states.mask(states.WAITING))[0])
        raise InternalError(f"no task can end any more, yet a task still waits: {story(self, index)}")

    def reopen(self, now: Now) -> None:
        """Continue an ended, killed or halted run; failures so far no longer count."""
        self.killed = self.halted = False
        self.errored = 0
        halted = [index for index, doom in self.doomed.items() if doom is Doom.HALT]
        for index in halted:
            del self.doomed[index]
        self.record_move(State.WAITING, np.array(halted, np.int64), "resumed", "", now)
        if self.is_ended and self.frontier.totals()[states.IS_ACTIVE].any():
            self.change(RunState.RUNNING if self.started_at else RunState.QUEUED, now)

    def failures_left(self) -> int:
        """Return how many more tasks may fail before the run halts: no more than that are handed out ahead."""
        most = self.plan.spec.max_failures
        return 1 << 30 if most is None else max(0, most - self.errored)

    def halt_if_failing(self, now: Now) -> None:
        """Stop starting work once `max_failures` tasks have errored."""
        most = self.plan.spec.max_failures
        if most is None or self.halted or self.errored < most:
            return
        self.halted = True
        unstarted = self.frontier.where(states.IS_UNSTARTED)
        flying = self.frontier.where(states.IS_IN_FLIGHT).tolist()
        held = [index for index in flying if self._hold(index)]
        stopped = np.concatenate([unstarted, np.array(held, np.int64)])
        self.stop_unstarted(unstarted)
        self.record_move(State.KILLED, stopped, f"stopped after {most} failures", "", now)
        self.frontier.clear_ready()

    def _hold(self, index: int) -> bool:
        """Keep a task in flight from starting (again); return whether it may have to be killed for that."""
        if self.doomed.get(index) is Doom.AGAIN:
            self.doomed[index] = Doom.DISCARD
            return True
        if self.frontier.state[index] != states.SENT or index in self.answering or index in self.doomed:
            return False
        self.doomed[index] = Doom.HALT
        self.outbox.recalls.append(self.ticket(index))
        return True

    def stop_unstarted(self, indexes: Indexes) -> None:
        """Kill tasks that have not been handed out."""
        for block, chosen in self.frontier.by_block(indexes):
            self.frontier.move(block, chosen, states.KILLED)

    def last_row(self, index: int) -> Rows | None:
        """Return a task's last ended attempt: one row of ATTEMPT, or None."""
        number = int(self.frontier.last[index])
        return self.ledger.row(number - 1) if number else None


def alone(run_id: int, version: int, rows: Rows, texts: Texts) -> Attempts:
    """Return one ended attempt, a row of ATTEMPT with what it left beside it, as an entry of its own."""
    messages, results = ({0: text} if text else {} for text in (texts.message, texts.result))
    return Attempts(run_id, version, rows, messages, results)


def story(run: Run, index: int) -> str:
    """Return what is known of one task, for an internal error: its name, state, gates and last attempt."""
    frontier = run.frontier
    code = int(frontier.state[index])
    gates = [
        f"{array.on.name.lower()} gate {gate} of array {array.number}: {_counted(run, array, gate)}"
        for array in run.plan.into[frontier.block_number(index)]
        if (gate := array.gate_before(index)) >= 0
    ]
    row = run.last_row(index)
    last = "never ended" if row is None else f"last reason {int(row['reason'])}, outcome {int(row['outcome'])}"
    moves = [f"{moved.state.name.lower()} ({moved.cause})" for moved in islice(moves_of(run, index), 5)]
    numbers = f"index {index}, state {code}, attempt {int(frontier.attempt[index])}"
    return "; ".join([f"task '{run.plan.name(index)}' ({numbers})", last, *gates[:5], *moves])


def _counted(run: Run, array: GateArray, gate: int) -> str:
    done, total = run.gates.done[array.number], array.total
    counted = "not counted" if done is None else str(int(done[gate]))
    return f"{counted} of {total if isinstance(total, int) else int(total[gate])}"


def places_of(run: Run, index: int) -> Iterator[tuple[int, int]]:
    """Yield every version and index under which a task is known, the present one first.

    Edits give a task another index, and so do new answers of its generator.
    """
    version, plan, left = run.version, run.plan, sorted(run.translations)
    while index >= 0:
        yield version, index
        for before in earlier(plan, index):
            yield version, before
            index = before
        if not left:
            return
        version = left.pop()
        changes = run.translations[version]
        # What was generated after the edit has no place before it.
        index = int(changes.back(np.array([index], np.int64))[0]) if index < changes.new.size else -1
        plan = changes.old


def moves_of(run: Run, index: int) -> Iterator[Moved]:
    """Yield a task's recorded moves without an attempt, the last first."""
    places: dict[int, list[int]] = {}
    for version, here in places_of(run, index):
        places.setdefault(version, []).append(here)
    for moved in reversed(run.moves):
        first, stop = moved.ranges[:, 0], moved.ranges[:, 1]
        if any(bool(((first <= here) & (here < stop)).any()) for here in places.get(moved.version, ())):
            yield moved


def public_counts(codes: NDArray[np.int64]) -> dict[str, int]:
    """Return counts by public state's name from counts by code."""
    counts = dict.fromkeys((state.name.lower() for state in State), 0)
    for code, count in enumerate(codes.tolist()):
        public = int(states.PUBLIC[code])
        if public != 255:
            counts[State(public).name.lower()] += count
    return counts


def as_ranges(indexes: Indexes) -> NDArray[np.int64]:
    """Return ascending distinct indexes as half-open ranges, shape (n, 2)."""
    ordered = np.sort(indexes)
    breaks = np.flatnonzero(np.diff(ordered) != 1)
    starts = ordered[np.concatenate([[0], breaks + 1])]
    stops = ordered[np.concatenate([breaks, [len(ordered) - 1]])] + 1
    return np.stack([starts, stops], axis=1)


def from_ranges(ranges: NDArray[np.int64]) -> Indexes:
    """Return the indexes that half-open ranges hold, in their order."""
    lengths = ranges[:, 1] - ranges[:, 0]
    firsts = np.repeat(ranges[:, 0] - np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths)
    return firsts + np.arange(lengths.sum(), dtype=np.int64)

"""What a machine elsewhere was sent: nothing is forgotten before it is answered for, and nothing is told twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from daggy.attempt import REPORT, Kind, Reports, Rows
from daggy.launcher import frames
from daggy.launcher.frames import Key
from daggy.launcher.ledger import SENT, SPARE, Ledger
from daggy.launcher.outstanding import Outstanding

KEYS = st.integers(0, 30).map(lambda index: (1, 1, index, 1, 1))
NOTHING = Reports(np.zeros(0, REPORT))


def told(kind: Kind, key: Key, launcher: int = 0, seq: int = 0) -> Rows:
    rows = frames.about(kind, key, launcher)
    rows["seq"] = seq
    return rows


class Machine(RuleBasedStateMachine):
    """One launcher there, which is told of tasks, and a line that may lose what either side says."""

    @initialize()
    def begin(self) -> None:
        self.sent = Outstanding(Ledger(None))
        self.given: set[Key] = set()  # by the engine, not answered for
        self.passed_on: set[Key] = set()  # ends that the engine was told
        self.acked = 0
        self.there: dict[Key, Kind] = {}  # what the launcher has: STARTED, or FINISHED and not acknowledged
        self.seqs: dict[Key, int] = {}
        self.seq = 0
        self.heard: list[tuple[Kind, Key]] = []

    def report(self, rows: Rows) -> None:
        for kind, *ticket in frames.kinds_and_keys(rows.tobytes()):
            key: Key = (ticket[0], ticket[1], ticket[2], ticket[3], ticket[4])
            if kind != Kind.STARTED:
                assert key in self.given, "it was answered for before"
                self.given.discard(key)
                if kind == Kind.FINISHED and key in self.seqs:
                    self.passed_on.add(key)
            self.heard.append((Kind(kind), key))
        self.sent.take(rows)

    @rule(key=KEYS, arrives=st.booleans())
    def launch(self, key: Key, arrives: bool) -> None:
        if key in self.given or key in self.there:
            return
        self.sent.add([(key, 5.0)])
        self.given.add(key)
        if arrives:
            self.there[key] = Kind.STARTED

    @rule(key=KEYS, is_heard=st.booleans())
    def start(self, key: Key, is_heard: bool) -> None:
        if self.there.get(key) == Kind.STARTED and is_heard and key in self.given:
            self.report(told(Kind.STARTED, key, 1))

    @rule(key=KEYS)
    def end(self, key: Key) -> None:
        """It ends while the line is broken: a meeting tells."""
        if self.there.get(key) == Kind.STARTED:
            self.seq += 1
            self.there[key], self.seqs[key] = Kind.FINISHED, self.seq

    @rule()
    def meet(self) -> None:
        ended = sorted((self.seqs[key], key) for key, kind in self.there.items() if kind == Kind.FINISHED)
        rows = [told(Kind.FINISHED, key, 1, seq) for seq, key in ended]
        rows += [told(Kind.STARTED, key, 1) for key, kind in self.there.items() if kind == Kind.STARTED]
        reports = Reports(np.concatenate(rows)) if rows else NOTHING
        news = self.sent.news([(1, reports)])
        self.report(news.reports.rows)
        for key in news.unheard:
            self.report(told(Kind.RECALLED, key))
        assert {tuple(frames.key(ticket)) for ticket in news.strays} == {
            key for key, kind in self.there.items() if kind == Kind.STARTED and key not in self.given
        }
        assert self.given == {key for key, kind in self.there.items() if kind == Kind.STARTED and key in self.given}

    @rule()
    def give_up(self) -> None:
        self.report(self.sent.lost("gone").rows)
        assert not self.given

    @rule(upto=st.integers(0, 40))
    def keep(self, upto: int) -> None:
        """The engine acknowledges; the launcher may forget what it need not tell again."""
        self.sent.kept(1, upto)
        self.acked = max(self.acked, upto)
        wanted = [self.seqs[key] for key in self.passed_on if self.seqs[key] > self.acked]
        assert self.sent.ackable(1) == min([*wanted, self.sent.reported.get(1, 0) + 1]) - 1

    @invariant()
    def it_has_what_was_not_answered_for(self) -> None:
        assert set(self.sent.tasks) == self.given


TestMachine = Machine.TestCase


@given(st.lists(st.tuples(KEYS, st.floats(0, 100, width=32)), max_size=30), st.binary(max_size=SENT.size - 1))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_ledger_gives_back_what_was_sent_whatever_was_torn(
    tmp_path: Path, sent: list[tuple[Key, float]], torn: bytes
) -> None:
    path = tmp_path / "ledger"
    path.unlink(missing_ok=True)
    first = Ledger(path)
    for one in sent:
        first.add([one], 0, dict)
    if sent:
        with path.open("ab") as file:
            file.write(torn)
    again = Ledger(path)
    assert again.found == dict(sent)
    again.add([((9, 9, 9, 9, 9), 1.0)], len(sent), lambda: again.found)
    assert Ledger(path).found == {**dict(sent), (9, 9, 9, 9, 9): 1.0}


def test_a_ledger_stays_small(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    ledger = Ledger(path)
    for index in range(4 * SPARE):
        ledger.add([((1, 1, index, 1, 1), 0.0)], 1, lambda: {(1, 1, 0, 1, 1): 0.0})
    assert path.stat().st_size <= 2 * SPARE * SENT.size
    ledger.clear()
    assert not path.exists()


def test_what_came_back_is_not_expected_there_by_the_next_engine_until_it_is_sent_again(tmp_path: Path) -> None:
    """It may have been sent to another machine by the same ticket: what that one says would be about an earlier one."""
    path, one, other = tmp_path / "ledger", (1, 1, 0, 1, 1), (1, 1, 1, 1, 1)
    sent = Outstanding(Ledger(path))
    sent.add([(one, 5.0), (other, 5.0)])
    assert sent.take(told(Kind.RECALLED, one)) == [True]
    assert set(Ledger(path).found) == {other}
    sent.add([(one, 5.0)])
    assert set(Ledger(path).found) == {one, other}

"""One connection, several threads: the engine's writer and its loop ask the same tracker."""

from __future__ import annotations

import threading
from pathlib import Path

from daggy.tracker import Place, RunFilter
from daggy_sqlite import SqliteTracker
from daggy_sqlite.tracker import SqliteSettings


def test_a_reader_on_another_thread_does_not_meddle_with_a_transaction(tmp_path: Path) -> None:
    tracker = SqliteTracker(SqliteSettings(), tmp_path)
    faults: list[Exception] = []
    done = threading.Event()

    def read() -> None:
        try:
            while not done.is_set():
                tracker.runs(RunFilter(limit=1))
                tracker.last_epoch()
        except Exception as error:  # noqa: BLE001 - whatever it is
            faults.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(1, 301):
            tracker.append([Place(number, "pool", f"host{number}")])
    finally:
        done.set()
        reader.join()
    assert not faults
    assert len(tracker.places()) == 300
    tracker.close()

"""Lists of runs have the same counts with a server and without one, however that ended."""

import json
import shutil
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from daggy_sqlite import SqliteSettings, SqliteTracker
from tests.integration.serve_rig import Server, command, serving, shell

OLD = Path(__file__).parents[1] / "data" / "format-3"

Counts = dict[int, dict[str, int]]


def listed(place: Path) -> Counts:
    """The counts of each run, as `ls` shows them."""
    answer = command("ls", "--json", "--dir", str(place), cwd=place.parent)
    assert answer.returncode == 0, answer.stderr
    return {run["run_id"]: run["counts"] for run in json.loads(answer.stdout)["items"]}


def shown(place: Path, runs: Counts) -> Counts:
    """The counts of these runs, as `show` shows them."""
    answers = {run: command("show", str(run), "--json", "--dir", str(place), cwd=place.parent) for run in runs}
    return {run: json.loads(answer.stdout)["counts"] for run, answer in answers.items()}


def some(counts: dict[str, int]) -> dict[str, int]:
    return {state: count for state, count in counts.items() if count}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path / "state") as made:
        yield made


def runs_of_all_kinds(server: Server) -> None:
    """Two runs that have ended in all the ways that tasks have, and two that have not."""
    generated = json.dumps({"tasks": {"x": shell("exit 1"), "y": shell("true", ["x"])}})
    server.ended(server.submit({"g": shell(f"echo '{generated}'", is_generator=True), "last": shell("true", ["g"])}))
    killed = server.submit({"a": shell("true"), "b": shell("sleep 1000", ["a"]), "c": shell("true", ["b"])})
    server.until(lambda: server.get(f"/runs/{killed}")["counts"]["running"] == 1)
    server.api("POST", f"/runs/{killed}/kill")
    server.ended(killed)
    for _ in range(2):
        server.submit({"a": shell("true"), "b": shell("sleep 1000", ["a"]), "c": shell("true", ["b"])})
    server.until(lambda: all(server.get(f"/runs/{run}")["counts"]["running"] == 1 for run in (3, 4)))


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_they_are_the_same_with_and_without_a_server(server: Server, how: signal.Signals) -> None:
    runs_of_all_kinds(server)
    with_it = listed(server.directory)
    held: Any = {"completed": 1, "running": 1, "waiting": 1}
    assert {run: some(counts) for run, counts in with_it.items()} == {
        1: {"completed": 1, "errored": 1, "upstream_failed": 2},
        2: {"completed": 1, "killed": 2},
        3: held,
        4: held,
    }
    assert shown(server.directory, with_it) == with_it
    server.stop(how)
    without = listed(server.directory)
    queued = {**with_it[3], "running": 0, "queued": 1}
    assert without == {**with_it, 3: queued, 4: queued}
    assert shown(server.directory, without) == without


def test_runs_of_an_earlier_format_are_counted_when_they_are_listed_and_once_by_a_server(tmp_path: Path) -> None:
    place = tmp_path / "state"
    place.mkdir(mode=0o700)
    for name in ("daggy.db", "instance"):
        shutil.copy(OLD / name, place)
    SqliteTracker(SqliteSettings(), place).close()  # brings it up

    def kept() -> list[Any]:
        with closing(sqlite3.connect(place / "daggy.db")) as connection:
            return [json.loads(counts) for (counts,) in connection.execute("SELECT counts FROM runs") if counts]

    without = listed(place)
    assert without
    assert all(map(some, without.values()))
    assert shown(place, without) == without
    assert kept() == []
    with serving(place) as server:
        server.api("POST", "/runs/2/kill")
        server.ended(2)
        counts = listed(place)
        server.until(lambda: len(kept()) == len(without))
        assert counts == listed(place) == shown(place, without)
    assert counts == listed(place) == shown(place, without)

"""A server takes up what an earlier Daggy left when it and its launcher were killed."""

from __future__ import annotations

import contextlib
import shutil
import socket
import sqlite3
from pathlib import Path

import pytest

from tests.integration.fork_rig import rig
from tests.integration.serve_rig import serving

KEPT = Path(__file__).parents[1] / "data"


def test_ends_in_the_spool_of_an_earlier_launcher_count(tmp_path: Path) -> None:
    """What had ended is known from the spool alone, with its output; what ran is lost, and runs again."""
    shutil.copytree(KEPT / "format-3", tmp_path / "state")
    mark = tmp_path / "state" / "instance"
    mark.write_text(mark.read_text().split()[0])  # not the inode, by which copies are known
    with serving(tmp_path / "state") as server:
        server.ended(2)
        tasks = {task["name"]: task for task in server.get("/runs/2/tasks")["items"]}
        attempts = {name: server.get(f"/runs/2/tasks/{task['index']}")["attempts"] for name, task in tasks.items()}
        reasons = {name: [one["reason"] for one in known] for name, known in attempts.items()}
        assert reasons == {
            "first": ["ok"],
            "ends": ["ok"],
            "goes": ["lost", "ok"],
            "missing": ["spawn"],
            "last": ["ok"],
        }
        assert attempts["missing"][0]["message"].startswith("no such file: '/no/such/program'")
        index = tasks["ends"]["index"]
        assert server.api("GET", f"/runs/2/tasks/{index}/logs/stdout", params={"attempt": 1}).text == "ends 1\n"
        assert server.get("/runs/1")["state"] == "errored"
    with contextlib.closing(sqlite3.connect(tmp_path / "state" / "daggy.db")) as database:
        epochs = database.execute("SELECT number, instance, host FROM epochs_readable ORDER BY number").fetchall()
    assert epochs == [(1, "", ""), (2, mark.read_text().split()[0], socket.gethostname())]


@pytest.mark.trio
async def test_the_number_of_a_launcher_may_be_large(tmp_path: Path) -> None:
    (tmp_path / "launchers" / "65535").mkdir(parents=True)
    async with rig(tmp_path, durable=True) as at_work:
        row = await at_work.run("echo", "there")
        assert row["launcher"] == 65_536
        assert await at_work.output(0) == b"there\n"

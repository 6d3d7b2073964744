"""What of attempts' outputs is copied from machines elsewhere, and read once these are gone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio
from hypothesis import given, strategies as st

from daggy.attempt import LINKED, REPORT, Kind, Reason, Rows
from daggy.launcher import logs
from daggy.launcher.homecoming import Homecoming, ends

MOST = 100


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 200))
def test_ends_are_as_long_as_may_be(stdout: int, stderr: int, most: int) -> None:
    found = ends(stdout, stderr, most)
    assert sum(found.values()) == min(most, stdout + stderr)
    for stream, size in (("stdout", stdout), ("stderr", stderr)):
        assert min(size, most // 2) <= found.get(stream, 0) <= size


def finished(reason: Reason, stdout: bytes, stderr: bytes, *, linked: bool = False) -> Rows:
    rows = np.zeros(1, REPORT)
    rows["kind"], rows["run"] = Kind.FINISHED, 1
    attempt = rows["row"]
    attempt["launcher"], attempt["pack"], attempt["offset"], attempt["reason"] = 3, 2, 0 if linked else 5, reason
    attempt["stdout"], attempt["stderr"] = len(stdout), len(stderr)
    attempt["flags"] = LINKED if linked else 0
    return rows


def brought(place: Path, rows: Rows, files: dict[str, bytes]) -> None:
    """Copy what is to be copied of an attempt from a machine that has these files."""
    (place / "runs/1/packs").mkdir(parents=True)

    async def read(path: str, offset: int, limit: int) -> bytes:
        await trio.lowlevel.checkpoint()
        return files[path][offset : offset + limit]

    async def scenario() -> None:
        home = Homecoming(place, MOST)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(home.run, read)
            home.want(rows)
            await home.done()
            nursery.cancel_scope.cancel()

    trio.run(scenario)


@pytest.mark.parametrize("linked", [False, True])
def test_the_end_of_what_a_failed_attempt_wrote_comes_home(tmp_path: Path, *, linked: bool) -> None:
    stdout, stderr = b"o" * 500 + b"last word", b"short"
    rows = finished(Reason.EXIT, stdout, stderr, linked=linked)
    stem = "runs/1/packs/3.2"
    there = {f"{stem}.stdout": stdout, f"{stem}.stderr": stderr} if linked else {stem: b"other" + stdout + stderr}
    brought(tmp_path, rows, there)
    row: Any = rows["row"][0]
    size = len(stdout)
    assert logs.read_end(tmp_path, 1, row, "stdout", size - 9, 1000) == b"last word"
    assert logs.read_end(tmp_path, 1, row, "stdout", size - 95, 2) == b"oo"
    assert logs.read_end(tmp_path, 1, row, "stderr", 0, 1000) == stderr
    with pytest.raises(FileNotFoundError, match=r"only the last 95 were copied .* --tail 100"):
        logs.read_end(tmp_path, 1, row, "stdout", size - 96, 1)


def test_of_what_completed_nothing_large_is_copied(tmp_path: Path) -> None:
    brought(tmp_path, finished(Reason.OK, b"o" * 500, b""), {})
    assert not list((tmp_path / "runs/1/packs").iterdir())

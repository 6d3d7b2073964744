"""Damage to files never makes Daggy believe what was not written: a true part is read, or nothing."""

from __future__ import annotations

import contextlib
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st

from daggy.attempt import ATTEMPT, LINKED, REPORT, Rows
from daggy.launcher import frames, logs, spool
from daggy.launcher.dead_launchers import read as recovered
from tests.hostile.seeds import record
from tests.hostile.test_hostile_targets import damaged
from tests.unit.launcher.test_spool import Truth, histories

ONE_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@given(histories(), st.data())
def test_nothing_finished_that_was_not_written_is_believed(
    history: tuple[list[list[bytes]], list[Truth]], data: st.DataObject
) -> None:
    segments, _ = history
    whole = [b"".join(map(record, segment)) for segment in segments]
    number = data.draw(st.integers(0, len(whole) - 1))
    spooled = spool.read([*whole[:number], data.draw(damaged([whole[number]])), *whole[number + 1 :]])
    written = {payload[1 : 1 + REPORT.itemsize] for segment in segments for payload in segment if payload[:1] == b"F"}
    assert {row.tobytes() for row in spooled.finished} <= written
    started = {payload[1 : 1 + REPORT.itemsize] for segment in segments for payload in segment if payload[:1] == b"S"}
    assert {running.row.tobytes() for running in spooled.running.values()} <= started


@pytest.fixture
def packs(tmp_path: Path) -> Path:
    home = tmp_path / "runs" / "1" / "packs"
    home.mkdir(parents=True)
    return home


def rows_of(outputs: list[tuple[bytes, bytes]]) -> Rows:
    rows = np.zeros(len(outputs), ATTEMPT)
    offset = 0
    for row, (out, err) in zip(rows, outputs, strict=True):
        row["launcher"], row["pack"], row["offset"] = 2, 3, offset
        row["stdout"], row["stderr"], row["crc"] = len(out), len(err), zlib.crc32(out + err)
        offset += len(out) + len(err)
    return rows


@ONE_FOLDER
@given(st.lists(st.tuples(st.binary(max_size=50), st.binary(max_size=50)), min_size=1, max_size=6), st.data())
def test_output_is_read_as_it_was_written_or_not_at_all(
    packs: Path, outputs: list[tuple[bytes, bytes]], data: st.DataObject
) -> None:
    whole = b"".join(out + err for out, err in outputs)
    directory = packs.parents[2]
    for content in (whole, data.draw(damaged([whole]))):
        (packs / "2.3").write_bytes(content)
        for row, streams in zip(rows_of(outputs), outputs, strict=True):
            for stream, written in zip(("stdout", "stderr"), streams, strict=True):
                try:
                    read = logs.read(directory, 1, 1, row, stream, 0, 1000)
                except ValueError:
                    assert content != whole
                else:
                    assert read == written


HUGE: list[dict[str, Any]] = [
    {"stdout": 2**64 - 1},
    {"stdout": 2**63, "stderr": 2**63},
    {"stdout": 2**40},
    {"stdout": 5, "offset": 2**63},
    {"stdout": 5, "offset": 2**64 - 1},
]


@pytest.mark.parametrize("columns", HUGE)
def test_a_row_that_claims_more_than_any_file_holds_is_damage(packs: Path, columns: dict[str, int]) -> None:
    (packs / "0.0").write_bytes(b"hello")
    row = np.zeros(1, ATTEMPT)
    for name, value in columns.items():
        row[name] = value
    with pytest.raises(ValueError, match="damaged"):
        logs.read(packs.parents[2], 1, 1, row[0], "stdout", 0, 100)


@pytest.mark.parametrize("offset", [0, 3, 5, 6, 2**63 - 1, 2**63, 2**64 - 2])
def test_a_file_of_its_own_that_is_shorter_than_its_row_says_is_damage(packs: Path, offset: int) -> None:
    (packs / "0.0.stdout").write_bytes(b"hello")
    row = np.zeros(1, ATTEMPT)
    row["flags"], row["stdout"] = LINKED, 2**64 - 1
    with pytest.raises(ValueError, match="damaged"):
        logs.read(packs.parents[2], 1, 1, row[0], "stdout", offset, 2**62)


@pytest.mark.parametrize(
    "payload",
    [
        b'{"pid": 1, "version": 2, "lanes": 5}',
        b'{"pid": 1, "version": 2, "lanes": null}',
        b'{"pid": 1, "version": 2, "lanes": ["0"]}',
        b'{"pid": null, "version": 2}',
        b'{"pid": 1, "version": 2, "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"[]",
    ],
)
def test_a_greeting_of_other_types_is_a_fault_of_the_wire(payload: bytes) -> None:
    with pytest.raises(frames.WireError, match="'H' cannot be read"):
        frames.answer(ord("H"), payload)


@given(st.sampled_from("RWDTH"), st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
@example("T", "\ud800")
def test_frames_of_any_json_are_read_or_a_fault_of_the_wire(kind: str, value: object) -> None:
    for payload in (json.dumps(value).encode(), b"\1\0\0\0" + bytes(REPORT.itemsize) + json.dumps(value).encode()):
        with contextlib.suppress(frames.WireError):
            assert isinstance(frames.answer(ord(kind), payload), frames.Answer)


@pytest.mark.parametrize("header", [b'H{"boot": 5}', b'H{"boot": "b", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"])
def test_a_spool_with_a_strange_header_is_damaged_and_no_traceback(header: bytes) -> None:
    spooled = spool.read([record(header) + record(b"E"), record(b'H{"boot": "b"}') + record(b"E")])
    assert "segment 1 of 2" in spooled.hole


def test_a_sequence_number_that_cannot_be_counted_on_from_is_damage(tmp_path: Path) -> None:
    row = np.zeros(1, REPORT)
    row["seq"] = 2**64 - 1
    folder = tmp_path / "launchers" / "1" / "spool"
    folder.mkdir(parents=True)
    payloads = [b'H{"boot": "another"}', b"E", b"F" + row.tobytes()]
    (folder / "00000001").write_bytes(b"".join(map(record, payloads)))
    (folder / "00000002").write_bytes(b"")
    remains = recovered(tmp_path, "nobody", 1)
    assert (remains.last, len(remains.reports.rows)) == (0, 0)
    assert "segment 1 of 2" in remains.damage

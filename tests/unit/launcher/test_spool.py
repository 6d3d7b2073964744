"""A spool is written and read; however it is damaged, what is read of it was once true."""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

from daggy.attempt import REPORT, Kind
from daggy.errors import DirectoryError
from daggy.launcher import dead_launchers, spool
from daggy.launcher.frames import Key, about
from daggy.launcher.program import spool as writer, wire
from daggy.launcher.program.wire import VERSION

HEADER = b'H{"boot": "b", "version": %d}' % VERSION


def key_of(index: int) -> Key:
    return (1, 2, index, 4, 5)


def row_of(index: int, kind: Kind, seq: int = 0) -> bytes:
    rows = about(kind, key_of(index), 9)
    rows["seq"] = seq
    return rows.tobytes()


def record(payload: bytes) -> bytes:
    import zlib

    return writer.RECORD.pack(len(payload), zlib.crc32(payload)) + payload


def accepted(index: int, lane: int = 0, width: int = 2) -> bytes:
    return b"A" + writer.ACCEPTED.pack(1, 2, 4, lane, width) + writer.PAIR.pack(index, 5)


def started(index: int) -> bytes:
    return b"S" + row_of(index, Kind.STARTED) + writer.PROCESS.pack(1000 + index, 3.5)


def finished(index: int, seq: int, message: str = "") -> bytes:
    return b"F" + row_of(index, Kind.FINISHED, seq) + message.encode()


def recalled(index: int) -> bytes:
    return b"R" + writer.TICKET.pack(*key_of(index))


def left(result: str) -> bytes:
    return b"V" + result.encode()


def noted(index: int, note: str) -> bytes:
    return b"N" + writer.TICKET.pack(*key_of(index)) + note.encode()


Truth = tuple[list[int], list[dict[int, str]], list[int], list[int]]


def truth(spooled: spool.Spooled) -> Truth:
    """Return indexes finished; messages, results, notes, and what the unfinished told; indexes running, pending."""
    indexes = spooled.finished["row"]["index"].tolist()
    running, pending = ([key[2] for key in table] for table in (spooled.running, spooled.pending))
    unfinished = {key[2]: note for key, note in spooled.told.items()}
    return indexes, [spooled.messages, spooled.results, spooled.notes, unfinished], running, pending


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[list[bytes]], list[Truth]]:
    """Return segments of records, and what is true after each record (in the middle of a restatement: before it)."""
    waiting: list[int] = []
    running: list[int] = []
    done: list[int] = []
    messages: dict[int, str] = {}
    results: dict[int, str] = {}
    notes: dict[int, str] = {}
    told: dict[int, str] = {}
    segments = [[HEADER, b"E"]]
    truths: list[Truth] = [([], [{}, {}, {}, {}], [], [])] * 3
    count = 0

    def note(payload: bytes, into: list[bytes]) -> None:
        into.append(payload)
        truths.append((done[:], [dict(one) for one in (messages, results, notes, told)], running[:], waiting[:]))

    for move in draw(st.lists(st.sampled_from("asnfrR"), max_size=25)):
        if move == "a":
            waiting.append(count)
            note(accepted(count), segments[-1])
            count += 1
        elif move == "s" and waiting:
            running.append(waiting.pop(0))
            note(started(running[-1]), segments[-1])
        elif move == "n" and running:
            told[running[0]] = draw(st.sampled_from(['{"a":1}', '{"ä":2}']))
            note(noted(running[0], told[running[0]]), segments[-1])
        elif move == "f" and running:
            result = draw(st.sampled_from(["", '"ä"']))
            if result:
                note(left(result), segments[-1])
                results[len(done)] = result
            done.append(running.pop(draw(st.integers(0, len(running) - 1))))
            if last := told.pop(done[-1], ""):
                notes[len(done) - 1] = last
            text = draw(st.sampled_from(["", "tö"]))
            if text:
                messages[len(done) - 1] = text
            note(finished(done[-1], len(done), text), segments[-1])
        elif move == "r" and waiting:
            note(recalled(waiting.pop()), segments[-1])
        elif move == "R":
            segments.append([])
            restated = [one for index in running for one in (accepted(index), started(index))]
            restated += [noted(index, text) for index, text in told.items()]
            for payload in [HEADER, *restated, *map(accepted, waiting), b"E"]:
                note(payload, segments[-1])
    return segments, truths


@given(histories())
def test_what_was_written_is_read(history: tuple[list[list[bytes]], list[Truth]]) -> None:
    segments, truths = history
    spooled = spool.read([b"".join(map(record, segment)) for segment in segments])
    assert truth(spooled) == truths[-1]
    assert not spooled.hole
    assert (spooled.boot, spooled.wire) == ("b", VERSION)
    assert spooled.finished["seq"].tolist() == list(range(1, len(spooled.finished) + 1))


WIRE_2 = struct.Struct("<QBIIIIIddfIhBBHHHBHIQQQI")
"""A REPORT of wire 2: launchers' numbers had two bytes."""


def of_wire_2(payload: bytes) -> bytes:
    """Return the record that a launcher of wire 2 wrote instead of this one."""
    if payload == HEADER:
        return b'H{"boot": "b", "version": 2}'
    if payload[:1] not in (b"S", b"F"):
        return payload
    row, rest = payload[1 : 1 + REPORT.itemsize], payload[1 + REPORT.itemsize :]
    return payload[:1] + WIRE_2.pack(*wire.REPORT.unpack(row)) + rest


@given(histories())
def test_what_a_launcher_of_wire_2_wrote_is_read_as_the_same(history: tuple[list[list[bytes]], list[Truth]]) -> None:
    segments, truths = history
    now = spool.read([b"".join(map(record, segment)) for segment in segments])
    old = spool.read([b"".join(map(record, map(of_wire_2, segment))) for segment in segments])
    assert truth(old) == truths[-1]
    assert old.finished.tobytes() == now.finished.tobytes()
    assert {key: (one.pid, one.boot, one.row.tobytes()) for key, one in old.running.items()} == {
        key: (one.pid, one.boot, one.row.tobytes()) for key, one in now.running.items()
    }
    assert (old.wire, old.hole) == (2, "")


def test_a_spool_of_an_unknown_wire_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "launchers" / "3" / "spool"
    folder.mkdir(parents=True)
    (folder / "00000001").write_bytes(b"".join(map(record, [b'H{"boot": "b", "version": 9}', b"E", accepted(1)])))
    with pytest.raises(DirectoryError, match=r"launchers/3.* of another version of Daggy \(wire 9\)"):
        dead_launchers.read(tmp_path, "nobody", 3)


@given(histories(), st.data(), st.integers(0, 9000))
def test_a_torn_tail_is_cut_at_the_last_whole_record(
    history: tuple[list[list[bytes]], list[Truth]], data: st.DataObject, zeros: int
) -> None:
    """Wherever the last segment ends, and whatever room was laid out after it and never written."""
    segments, truths = history
    whole = [b"".join(map(record, segment)) for segment in segments]
    cut = data.draw(st.integers(0, len(whole[-1])))
    torn = whole[-1][:cut] + bytes(zeros)
    spooled = spool.read([*whole[:-1], torn])
    left = size = 0
    for payload in segments[-1]:
        size += len(record(payload))
        left += torn[:size] == whole[-1][:size]  # what was cut off may have been zeros itself
    position = sum(map(len, segments[:-1])) + left
    assert truth(spooled) == truths[position]
    assert not spooled.hole


@given(histories(), st.data())
def test_a_damaged_byte_never_makes_a_wrong_record(
    history: tuple[list[list[bytes]], list[Truth]], data: st.DataObject
) -> None:
    segments, truths = history
    whole = [bytearray(b"".join(map(record, segment))) for segment in segments]
    number = data.draw(st.integers(0, len(whole) - 1))
    at = data.draw(st.integers(0, len(whole[number]) - 1))
    length = data.draw(st.integers(1, 600))
    damage = data.draw(st.sampled_from([b"\0", b"\xff"])) * len(whole[number][at : at + length])
    if whole[number][at : at + length] == damage:
        return
    whole[number][at : at + length] = damage
    spooled = spool.read([bytes(segment) for segment in whole])
    assert truth(spooled) in truths
    last = number == len(whole) - 1
    assert spooled.hole or last
    if spooled.hole:
        assert f"segment {number + 1} of {len(whole)}" in spooled.hole


@given(st.lists(st.binary(max_size=200), max_size=3))
def test_arbitrary_bytes_are_no_traceback(segments: list[bytes]) -> None:
    assert not len(spool.read(segments).finished)


@given(st.sampled_from("HASFRE?"), st.binary(max_size=150))
def test_a_record_of_nonsense_with_a_good_crc_is_damage(kind: str, body: bytes) -> None:
    spool.read([record(HEADER) + record(b"E") + record(kind.encode() + body) + record(accepted(1))])


def test_the_next_of_each_lane_are_suspects_as_many_as_had_free_slots() -> None:
    payloads = [HEADER, b"E", *(accepted(index, 0, 3) for index in range(6)), accepted(7, 1, 1), accepted(8, 1, 1)]
    spooled = spool.read([b"".join(map(record, [*payloads, started(0), started(7)]))])
    assert [key[2] for key in spooled.suspects()] == [1, 2]
    spooled = spool.read([b"".join(map(record, [*payloads, started(0), finished(0, 1)]))])
    assert [key[2] for key in spooled.suspects()] == [1, 2, 3, 7]


def test_a_lane_that_was_widened_after_its_tasks_were_accepted_has_as_many_suspects() -> None:
    widened = b"A" + writer.ACCEPTED.pack(0, 0, 4, 0, 3)
    payloads = [HEADER, b"E", *(accepted(index, 0, 1) for index in range(6)), started(0)]
    assert not spool.read([b"".join(map(record, payloads))]).suspects()
    spooled = spool.read([b"".join(map(record, [*payloads, widened]))])
    assert [key[2] for key in spooled.suspects()] == [1, 2]
    narrowed = b"A" + writer.ACCEPTED.pack(0, 0, 4, 0, 1)  # what was accepted before may have been started before
    payloads = [HEADER, b"E", *(accepted(index, 0, 3) for index in range(6)), narrowed]
    assert [key[2] for key in spool.read([b"".join(map(record, payloads))]).suspects()] == [0, 1, 2]


class Written:
    """A spool in a folder, whose launcher has nothing to restate but one waiting task, and `more`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.more: list[bytes] = []
        (folder / "lock").touch()
        header = {"boot": "b", "version": VERSION}
        self.spool = writer.Spool(str(folder), header, lambda: [accepted(77), *self.more])

    def read(self) -> spool.Spooled:
        return spool.read([path.read_bytes() for path in sorted((self.folder / "spool").iterdir())])


@pytest.fixture
def written(tmp_path: Path) -> Written:
    return Written(tmp_path)


def test_segments_roll_restate_and_are_forgotten(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "SEGMENT", 500)
    for seq in range(1, 21):
        written.spool.write([accepted(seq), started(seq), finished(seq, seq)], seq)
    spooled = written.read()
    assert spooled.finished["seq"].tolist() == list(range(1, 21))
    assert [key[2] for key in spooled.pending] == [77]
    before = len(list((written.folder / "spool").iterdir()))
    written.spool.forget(10)
    assert len(list((written.folder / "spool").iterdir())) < before
    assert set(range(11, 21)) <= set(written.read().finished["seq"].tolist())
    written.spool.forget(20)
    written.spool.leave()
    assert not [path for path in (written.folder / "spool").iterdir() if path.stat().st_size > 1000]


def test_much_to_restate_does_not_make_every_write_a_segment(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "SEGMENT", 500)
    written.more = [noted(77, "x" * 10_000)]
    for seq in range(1, 21):
        written.spool.write([accepted(seq), started(seq), finished(seq, seq)], seq)
    assert len(list((written.folder / "spool").iterdir())) < 15
    assert written.read().finished["seq"].tolist() == list(range(1, 21))


def test_a_short_write_is_truncated_and_tried_again(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    written.spool.write([accepted(1)], 0)
    write = os.write
    full = [True]

    def short(descriptor: int, data: bytes) -> int:
        if full[0] and len(data) < 20:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[: len(data) // 2] if full[0] else data)

    monkeypatch.setattr(os, "write", short)
    with pytest.raises(OSError, match="No space"):
        written.spool.write([started(1), finished(1, 1, "m")], 1)
    assert truth(written.read()) == ([], [{}, {}, {}, {}], [], [77, 1])
    full[0] = False
    written.spool.write([started(1), finished(1, 1, "m")], 1)
    assert truth(written.read()) == ([1], [{0: "m"}, {}, {}, {}], [], [77])


def test_a_new_segment_that_finds_no_room_leaves_the_old_one_in_charge(
    written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    written.spool.write([accepted(1)], 0)
    monkeypatch.setattr(writer, "SEGMENT", 1)

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space"):
            written.spool.write([accepted(2)], 0)
    assert len(list((written.folder / "spool").iterdir())) == 1
    written.spool.write([accepted(2)], 0)
    assert [key[2] for key in written.read().pending] == [77, 2]


def test_only_one_keeps_a_spool(written: Written) -> None:
    with pytest.raises(BlockingIOError):
        Written(written.folder)


def test_nobody_keeps_a_spool_whose_lock_was_removed(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        writer.Spool(str(tmp_path), {"boot": "b"}, list)
    assert not list(tmp_path.iterdir())


def test_rows_of_a_spool_are_reports(written: Written) -> None:
    written.spool.write([finished(3, 1)], 1)
    rows = written.read().finished
    assert rows.dtype == REPORT
    assert isinstance(rows, np.ndarray)

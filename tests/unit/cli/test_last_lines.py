"""The last lines of an output are read from its end, in as few pieces as it takes."""

import trio
from hypothesis import given, strategies as st

from daggy.cli import outputs


def reader(data: bytes, asked: list[int]) -> outputs.Read:
    async def read(stream: str, offset: int, limit: int) -> bytes:
        asked.append(limit)
        return data[offset : offset + limit]

    return read


@given(st.lists(st.binary(max_size=5).map(lambda line: line.replace(b"\r", b"")), max_size=30), st.integers(0, 12))
def test_last_lines_are_those_of_the_whole(pieces: list[bytes], lines: int) -> None:
    data = b"\n".join(pieces)
    read = reader(data, [])
    expected = b"".join(data.splitlines(keepends=True)[-lines:]) if lines else b""
    assert trio.run(outputs.last_lines, read, "stdout", len(data), lines) == expected


def test_a_large_output_is_not_read_whole() -> None:
    asked: list[int] = []
    data = b"a line of some length\n" * 1_000_000
    last = trio.run(outputs.last_lines, reader(data, asked), "stdout", len(data), 10)
    assert last == b"a line of some length\n" * 10
    assert sum(asked) < 10_000


def test_one_endless_line_is_read_no_further_than_allowed() -> None:
    asked: list[int] = []
    data = b"x" * 10_000_000
    last = trio.run(outputs.last_lines, reader(data, asked), "stderr", len(data), 10, 1 << 16)
    assert set(last) == {ord("x")}
    assert sum(asked) <= 1 << 17


async def all_pieces(data: bytes, size: int) -> list[bytes]:
    return [piece async for piece in outputs.pieces(reader(data, []), "stdout", size)]


def test_pieces_are_everything_in_order() -> None:
    data = bytes(range(256)) * 20_000
    got = trio.run(all_pieces, data, len(data))
    assert b"".join(got) == data
    assert max(map(len, got)) <= outputs.PIECE


def test_pieces_end_when_an_output_is_shorter_than_was_said() -> None:
    assert trio.run(all_pieces, b"abc", 10) == [b"abc"]

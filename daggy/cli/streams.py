"""Standard streams: a message that cannot be written is dropped, an answer that cannot be written is an error."""

from __future__ import annotations

import codecs
import errno
import io
import os
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO, cast

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

PIECE = 1 << 20
"""Bytes of standard input that are read at a time."""

LOST = 3
BROKEN_PIPE = 141  # as a program that dies of SIGPIPE


class LostAnswerError(Exception):
    """Standard output cannot be written. `exit_code` is what the command ends with if nothing worse happened."""

    def __init__(self, error: OSError) -> None:
        """Keep what the system said."""
        self.has_reader = error.errno != errno.EPIPE
        self.exit_code = LOST if self.has_reader else BROKEN_PIPE
        reason = (error.strerror or str(error)).lower() if self.has_reader else "its reader has gone"
        super().__init__(f"standard output cannot be written: {reason}")


class Answers(io.FileIO):
    """Standard output. The first write that fails raises; what is written after that is dropped."""

    lost: LostAnswerError | None = None

    def write(self, data: ReadableBuffer) -> int:
        """Write bytes.

        Raises:
            LostAnswerError: they cannot be written.
        """
        if self.lost is not None:
            return memoryview(data).nbytes
        try:
            return _write(super().write, data, self)
        except OSError as error:
            self.lost = LostAnswerError(error)
            raise self.lost from None

    def finish(self, code: int) -> int:
        """Write what is buffered; return the exit code of a command that would end with `code`."""
        try:
            sys.stdout.flush()
        except LostAnswerError as error:
            show(error)
        return code or (self.lost.exit_code if self.lost is not None else 0)


class Messages(io.FileIO):
    """Standard error. What cannot be written is dropped.

    `waits` says whether a reader that is slow, or a terminal that was stopped, is waited for.
    """

    waits = True

    def write(self, data: ReadableBuffer) -> int:
        """Write bytes, or drop them."""
        dropped = memoryview(data).nbytes
        if not self.waits and not select.select((), (self,), (), 0)[1]:
            return dropped
        try:
            return _write(super().write, data, self)
        except OSError:
            return dropped


def _write(write: Callable[[ReadableBuffer], int | None], data: ReadableBuffer, file: io.FileIO) -> int:
    """Write bytes; wait where the caller left a pipe or terminal in non-blocking mode."""
    while (written := write(data)) is None:
        select.select((), (file,), ())
    return written


def open_streams() -> Answers:
    """Replace the standard streams; return the one for answers.

    A descriptor that was closed is filled, so that no database or socket takes its number: reading and writing it
    fails, as if it was still closed.
    """
    for descriptor, mode in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        _fill(descriptor, mode)
    answers, messages = Answers(1, "w", closefd=False), Messages(2, "w", closefd=False)
    encoding = _encoding()
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(answers), encoding, "backslashreplace", line_buffering=answers.isatty()
    )
    sys.stderr = io.TextIOWrapper(io.BufferedWriter(messages), encoding, "backslashreplace", line_buffering=True)
    return answers


def _fill(descriptor: int, mode: int) -> None:
    try:
        os.fstat(descriptor)
    except OSError:
        opened = os.open(os.devnull, mode)
        if opened != descriptor:
            os.dup2(opened, descriptor)
            os.close(opened)


def _raw(stream: TextIO) -> io.FileIO:
    """Return what is under a standard stream that `open_streams` replaced."""
    return cast("io.FileIO", cast("io.BufferedWriter", stream.buffer).raw)


def _encoding() -> str:
    """Return the encoding that the caller's locale asks for; UTF-8 for ASCII, which cannot write most names."""
    found = sys.stdout.encoding if sys.stdout is not None else "utf-8"
    return "utf-8" if codecs.lookup(found).name == "ascii" else found


def show(error: LostAnswerError) -> None:
    """Say that an answer was lost; a reader that went away knows."""
    if error.has_reader:
        print(error, file=sys.stderr)


def write_bytes(data: bytes) -> None:
    """Write bytes to standard output as they are.

    Raises:
        LostAnswerError: they cannot be written.
    """
    sys.stdout.flush()
    left = memoryview(data)
    while left:
        left = left[_raw(sys.stdout).write(left) :]


@contextmanager
def droppable_messages() -> Iterator[None]:
    """Drop messages that their reader is too slow to take, instead of waiting for it."""
    messages = cast("Messages", _raw(sys.stderr))
    messages.waits = False
    try:
        yield
    finally:
        messages.waits = True


def read_input() -> bytes:
    """Return all of standard input.

    Raises:
        OSError: it cannot be read.
    """
    pieces: list[bytes] = []
    while True:
        try:
            piece = os.read(0, PIECE)
        except BlockingIOError:  # a caller left it in non-blocking mode
            select.select((0,), (), ())
            continue
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)

"""The launcher as a program: its standard streams, its signals, and the engine's first command."""

from __future__ import annotations

import gc
import os
import select

from daggy.launcher.program.launcher import Launcher
from daggy.launcher.program.light import TYPE_CHECKING, loads, signal
from daggy.launcher.program.link import Link
from daggy.launcher.program.wire import VERSION, Stream

if TYPE_CHECKING:
    from typing import Any

    from daggy.launcher.program.link import Frame


def main() -> None:
    """Serve the engine at standard input and output."""
    gc.disable()  # nothing here is cyclic
    source, sink = os.dup(0), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # tasks inherit it
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    signals: list[int] = []
    wake = take_signals(signals)
    stream = Stream(source, sink)
    frames = first_frames(stream, wake, signals)
    if not frames:
        return
    hello: dict[str, Any] = loads(frames[0][1])
    link = Link(stream, wake, hello["epoch"])
    if hello["version"] != VERSION:
        link.greet(stream)
        return
    launcher = Launcher(link, hello, signals)
    if link.listener:  # the engine's terminal is nothing to a launcher that outlives it
        signal.signal(signal.SIGHUP, lambda *_: None)
    for kind, payload in link.until_hello(frames[1:]):
        launcher.obey(kind, payload)
    launcher.serve(wake)
    if launcher.reports.spool:
        launcher.reports.spool.leave()
    os._exit(0)  # taking the interpreter apart takes longer than all that this program has left to do


def take_signals(signals: list[int]) -> int:
    """Append to a list the signals that ask this program to exit; return a descriptor that is readable after any.

    Whatever was inherited as ignored or blocked, by this program or for its tasks, is so no more.
    """
    wake, bell = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(bell, False)
    signal.set_wakeup_fd(bell, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGIO):  # SIGIO: a file was opened while it was leased
        signal.signal(number, lambda *_: None)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: signals.append(number))
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    return wake


def first_frames(stream: Stream, wake: int, signals: list[int]) -> list[Frame]:
    """Wait for the engine to speak; empty if it has gone, or a signal asks to exit."""
    while stream.open and not signals:
        if wake in select.select([wake, stream.source], [], [])[0]:
            os.read(wake, 4096)
        frames = stream.receive()
        if frames:
            return frames
    return []


if __name__ == "__main__":
    main()

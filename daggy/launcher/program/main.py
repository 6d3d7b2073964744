"""The launcher as a program: its standard streams, its signals, its end. Standard library only."""

import gc
import os
import signal
from typing import List

from daggy.launcher.program.launcher import Launcher
from daggy.launcher.program.wire import Stream


def main() -> None:
    """Serve standard input and output."""
    gc.disable()  # nothing here is cyclic
    source, sink, null = os.dup(0), os.dup(1), os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    launcher = Launcher(Stream(source, sink))
    wake, bell = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(bell, False)
    asked: List[int] = []
    signal.set_wakeup_fd(bell, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGIO):  # SIGIO: somebody opened a file while it was leased
        signal.signal(number, lambda *_: None)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: asked.append(number))
    signal.signal(signal.SIGHUP, lambda number, _: None if launcher.door else asked.append(number))
    launcher.serve(wake, asked)
    if launcher.spool:
        launcher.spool.leave()


if __name__ == "__main__":
    main()

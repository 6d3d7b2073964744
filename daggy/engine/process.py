"""Sets up a process that runs an engine."""

from __future__ import annotations

import gc
import sys


def tune() -> None:
    """Set this process up for one busy loop.

    Garbage collections do not look at what is there already. A tracker's thread gets the interpreter soon: with the
    default of 5 ms it would keep 3,000 rows a second instead of 300,000.
    """
    gc.freeze()
    sys.setswitchinterval(0.0005)

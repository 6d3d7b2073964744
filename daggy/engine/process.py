"""Sets up a process that runs an engine."""

from __future__ import annotations

import gc
import importlib
import sys


def tune() -> None:
    """Set this process up for one busy loop.

    Garbage collections are rare, on a heap without cycles. A tracker's thread gets the interpreter soon: with the
    default of 5 ms it would keep 3,000 rows a second instead of 300,000.
    """
    importlib.import_module("numpy.ma")  # `np.unique` would load it at its first call, and stop the loop for that
    gc.freeze()
    gc.set_threshold(100_000, 50, 1000)
    sys.setswitchinterval(0.0005)

"""Keeps Python's garbage collector from visiting millions of values without cycles."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_collector(*, freeze: bool) -> Iterator[None]:
    """Turn the collector off; with `freeze`, objects made meanwhile are never visited again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if freeze:
            gc.freeze()
        if enabled:
            gc.enable()

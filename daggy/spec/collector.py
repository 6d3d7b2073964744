"""Python's collector of cycles, kept from walking over millions of values that hold none."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_collector(*, freeze: bool) -> Iterator[None]:
    """Turn the collector off; with `freeze`, what was made meanwhile is never looked at again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if freeze:
            gc.freeze()
        if enabled:
            gc.enable()

"""What a long turn of the engine's loop owes to everybody else on the loop."""

from __future__ import annotations

import trio

LONG = 0.001
"""Seconds from which a turn is long; after shorter ones nobody is let go first, for a chain of tasks would notice."""

PASSES = 4
"""Passes in which nobody else went on before nobody wants to: trio goes through a pass in either order, and who is
first in it does not see the others.
"""


async def give_way(took: float) -> None:
    """After a long turn let others go on until nobody wants to, but for no longer than the turn took.

    An answer to somebody who asks takes a dozen passes of the loop. With a turn in each of them whoever asks would wait
    for a dozen turns.

    Args:
        took: Seconds of the turn.
    """
    if took < LONG:
        return
    until = trio.current_time() + took
    quiet = 0
    while quiet < PASSES and trio.current_time() < until:
        await trio.lowlevel.checkpoint()
        quiet = 0 if trio.lowlevel.current_statistics().tasks_runnable else quiet + 1

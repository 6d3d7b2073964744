"""What pools have and what is in use of it, for people and for metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from daggy.attempt import Reason
from daggy.engine.dispatch import Dispatcher
from daggy.engine.shares import MachineUse


@frozen
class MachineStatus:
    """A machine of a pool: its resources, what is in use of them, tasks that run, and tasks that wait there."""

    name: str
    totals: Mapping[str, float]
    used: Mapping[str, float]
    running: int
    waiting: int


@frozen
class PoolStatus:
    """A pool. `trouble` says why it can start nothing at this moment; `attempts` counts ended attempts by reason."""

    name: str
    is_default: bool
    trouble: str
    machines: Sequence[MachineStatus]
    attempts: Mapping[Reason, int]


def pool_statuses(dispatcher: Dispatcher, attempts: Mapping[str, NDArray[np.int64]]) -> list[PoolStatus]:
    """Return the status of each pool; `attempts` counts ended ones by pool and reason."""
    return [
        PoolStatus(
            name,
            name == dispatcher.default_pool,
            link.trouble,
            [_machine(machine) for machine in link.pool.machines.values()],
            {reason: int(attempts[name][reason]) for reason in Reason},
        )
        for name, link in dispatcher.links.items()
    ]


def _machine(machine: MachineUse) -> MachineStatus:
    shares = list(machine.all_shares())
    return MachineStatus(
        machine.name,
        dict(machine.machine.totals or {}) if machine.is_open else {},
        {name: round(amount, 6) for name, amount in machine.used().items()},
        sum(share.running for share in shares),
        sum(share.waiting for share in shares),
    )

"""Why no machine of a pool takes a task at this moment: what they lack, in groups. For people."""

from __future__ import annotations

import math
from collections.abc import Iterator

from daggy.engine.pool import Pool
from daggy.engine.shares import SLACK, MachineUse, Needs
from daggy.view.explain import Because

EXAMPLES = 3
"""Machines of a group that are named."""


def lacking(pool: Pool, needs: Needs, longest: float, wall: float, absence: str) -> Iterator[Because]:
    """Yield one reason for each group of machines; nothing if one would take the task.

    Kinds: `machines`, whose `why` is `lacking` (of each resource in `lacks` the most that is free on one of them),
    `away`, `drained`, `aside` (attempts went wrong there), or `until` (the last of them goes away in so many `seconds`,
    and the task may take `longest`);
    `reserved` (a machine is kept free for a task that was passed over too long); `pool` (there is no machine).

    Args:
        pool: The task's.
        needs: The task's.
        longest: Seconds that it may take.
        wall: The wall clock.
        absence: Why there is no machine, if there is none.
    """
    machines = pool.machines.values()
    fitting = [machine for machine in machines if machine.fits(needs) and machine.lasts(longest, wall)]
    if fitting:
        if held := [machine.name for machine in fitting if machine.held]:
            yield {"kind": "reserved", "pool": pool.name, "machines": held}
        return
    if not machines:
        yield {"kind": "pool", "pool": pool.name, "message": absence}
    groups: dict[tuple[str, ...], list[MachineUse]] = {}
    for machine in machines:
        why = "drained" if machine.name in pool.drained else "aside" if machine.name in pool.aside else ""
        key = (why,) if why else _group(machine, needs)
        groups.setdefault(key, []).append(machine)
    for (why, *names), group in sorted(groups.items(), key=lambda one: (one[0][0] != "lacking", -len(one[1]))):
        told = {"kind": "machines", "pool": pool.name, "machines": len(group), "why": why}
        told["examples"] = [machine.name for machine in group[:EXAMPLES]]
        if why == "lacking":
            told["lacks"] = [_most_free(group, name, dict(needs).get(name, 1.0)) for name in names]
        elif why == "until":
            last = max(machine.machine.until or 0.0 for machine in group)
            told |= {"seconds": round(max(0.0, last - wall), 3), "longest": longest}
        yield told


def _group(machine: MachineUse, needs: Needs) -> tuple[str, ...]:
    """Return why a machine does not take a task, and which resources it lacks for it."""
    if not machine.is_open:
        return ("away",)
    short = [name for name, amount in needs if amount > 0 and amount > _free(machine, name) + SLACK]
    if _free(machine, "slots") < 1:
        short.append("slots")
    return ("lacking", *short) if short else ("until",)


def _free(machine: MachineUse, name: str) -> float:
    if name == "slots":
        slots = machine.machine.slots
        return math.inf if slots is None else slots - machine.reserved()
    return machine.most(name) - machine.used().get(name, 0.0)


def _most_free(group: list[MachineUse], name: str, amount: float) -> Because:
    best = max(group, key=lambda machine: _free(machine, name))
    of = best.machine.slots if name == "slots" else best.most(name)
    return {"name": name, "needs": amount, "free": round(max(0.0, _free(best, name)), 6), "of": of}

"""Specs read and planned before an engine takes them; large ones in a process of their own: the loop goes on."""

from __future__ import annotations

from pathlib import Path

import trio
from attrs import define, field, frozen

from daggy.engine.configuration import Limits
from daggy.errors import TooLargeError
from daggy.plan import Plan, plan
from daggy.spec import parse
from daggy.spec.model import RunSpec


@frozen(eq=False)
class Accepted:
    """A spec that was read and planned.

    Args:
        spec: The spec.
        raw: The same as it is to be kept.
        plan: Its plan.
    """

    spec: RunSpec
    raw: bytes
    plan: Plan


@define(eq=False)
class Intake:
    """Reads specs, one large one at a time.

    Args:
        limits: What is accepted at most.
    """

    limits: Limits
    _turn: trio.Lock = field(factory=trio.Lock)

    async def read(self, body: bytes | Path) -> Accepted:
        """Return a spec, read and planned.

        Raises:
            SpecError: everything that is wrong with it.
            TooLargeError: it comes to more tasks than are accepted.
        """
        raw = body if isinstance(body, bytes) else await trio.Path(body).read_bytes()
        spec = parse(raw, directory=None)
        made = plan(spec)
        self.check(made.size)
        return Accepted(spec, raw, made)

    def check(self, tasks: int) -> None:
        """Refuse more tasks than are accepted.

        Raises:
            TooLargeError: it is more.
        """
        if tasks > self.limits.tasks:
            raise TooLargeError(
                f"the spec comes to {tasks:,} tasks, and this server accepts {self.limits.tasks:,}; "
                "split it, or raise 'limits.tasks' in the server's configuration"
            )

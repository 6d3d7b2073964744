"""Routes about the server itself: whether it is ready, what its pools have and what of it is in use."""

from __future__ import annotations

from typing import Any

from litestar import Response, get

from daggy.engine.dispatch import Line
from daggy.engine.shares import MachineUse
from daggy.server.requests import Asked, service_of
from daggy.server.shapes import PoolPage, ReadyShape, answer


@get("/ready", summary="Whether work goes on")
async def ready(request: Asked) -> Response[ReadyShape]:
    """Answer 200 while work goes on as it should, else 503 with the reason. Needs no token."""
    reason = service_of(request).engine.readiness()
    return answer(ReadyShape, {"ready": not reason, "reason": reason}, 503 if reason else 200)


@get("/pools", summary="List pools")
async def list_pools(request: Asked) -> Response[PoolPage]:
    """List all pools with their machines, and what of these is in use."""
    dispatcher = service_of(request).engine.dispatcher
    items = [_pool(line, line.pool.name == dispatcher.default_pool) for line in dispatcher.lines.values()]
    return answer(PoolPage, {"items": items, "next": None})


def _pool(line: Line, is_default: bool) -> dict[str, Any]:
    machines = [_machine(machine) for machine in line.pool.machines.values()]
    return {"name": line.pool.name, "is_default": is_default, "trouble": line.trouble, "machines": machines}


def _machine(machine: MachineUse) -> dict[str, Any]:
    shares = [*machine.shares.values(), *machine.adopted.values()]
    return {
        "name": machine.name,
        "totals": dict(machine.totals),
        "used": {name: round(amount, 6) for name, amount in machine.used().items()},
        "running": sum(share.running for share in shares),
        "waiting": sum(share.waiting for share in shares),
    }


HANDLERS = [ready, list_pools]
"""What the application serves under the API's path."""

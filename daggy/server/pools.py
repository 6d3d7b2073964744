"""Routes about the server itself: whether it is ready, what its pools have and what of it is in use."""

from __future__ import annotations

from typing import Any

from attrs import asdict
from litestar import Response, get

from daggy.engine.status import PoolStatus
from daggy.server.requests import Asked, service_of
from daggy.server.shapes import PoolPage, ReadyShape, answer


@get("/ready", summary="Whether work goes on")
async def ready(request: Asked) -> Response[ReadyShape]:
    """Answer 200 while work goes on as it should, else 503 with the reason. Needs no token."""
    service = service_of(request)
    reason = service.engine.readiness()
    told = {"ready": not reason, "reason": reason, "takes_runs": service.takes_runs}
    return answer(ReadyShape, told, 503 if reason else 200)


@get("/pools", summary="List pools")
async def list_pools(request: Asked) -> Response[PoolPage]:
    """List all pools with their machines, and what of these is in use."""
    items = [_pool(pool) for pool in service_of(request).engine.status()]
    return answer(PoolPage, {"items": items, "next": None})


def _pool(pool: PoolStatus) -> dict[str, Any]:
    machines = [asdict(machine) for machine in pool.machines]
    return {"name": pool.name, "is_default": pool.is_default, "trouble": pool.trouble, "machines": machines}


HANDLERS = [ready, list_pools]
"""What the application serves under the API's path."""

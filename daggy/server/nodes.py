"""Routes about nodes: the machines of pools, which people drain and give up."""

from __future__ import annotations

from typing import Any

from attrs import asdict
from litestar import Response, delete, get, patch

from daggy.engine.nodes import NodeStatus
from daggy.errors import UsageError
from daggy.server.bodies import members
from daggy.server.requests import SMALL_BODY, Asked, actor_of, service_of
from daggy.server.shapes import NodePage, NodeShape, answer
from daggy.view.shapes import timestamp


@get("/nodes", summary="List nodes")
async def list_nodes(request: Asked, pool: str = "") -> Response[NodePage]:
    """List the machines of all pools, or of one: state, what is in use, and when what runs on a silent one is lost."""
    items = [_node(node) for node in service_of(request).engine.nodes.listed(pool)]
    return answer(NodePage, {"items": items, "next": None})


@patch("/nodes/{pool:str}/{name:str}", summary="Drain a node, or end that")
async def change_node(request: Asked, pool: str, name: str) -> Response[NodeShape]:
    """Set `state`: `draining`, and the node takes nothing new; or `up`. What runs there goes on."""
    service = service_of(request)
    asked = await members(request, service.engine.directory.path, SMALL_BODY, {"state": str})
    state = asked.get("state")
    if state not in ("draining", "up"):
        raise UsageError("state: write 'draining' or 'up'")
    return answer(NodeShape, _node(service.engine.nodes.drain(pool, name, on=state == "draining")))


@delete("/nodes/{pool:str}/{name:str}", status_code=202, summary="Give a node up")
async def remove_node(request: Asked, pool: str, name: str) -> Response[NodeShape]:
    """Count what a silent or refused node runs as lost, at once: you know that it will not come back."""
    engine = service_of(request).engine
    return answer(NodeShape, _node(engine.nodes.give_up(pool, name, actor_of(request))), 202)


def _node(node: NodeStatus) -> dict[str, Any]:
    told = asdict(node)
    told["since"] = timestamp(node.since) if node.since else None
    told["until"] = None if node.until is None else timestamp(node.until)
    return told


HANDLERS = [list_nodes, change_node, remove_node]
"""What the application serves under the API's path."""

"""Parts of the client: the routes about a server's machines, and about what there is to call."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from attrs import frozen

Json = Any


@frozen
class Nodes:
    """The machines of a server's pools.

    Args:
        call: Sends a request and returns its answer.
    """

    call: Callable[..., Json]

    def list(self, pool: str = "") -> Json:
        """Return all nodes, or those of one pool."""
        return self.call("GET", "/nodes", {"pool": pool})

    def change(self, pool: str, name: str, state: str) -> Json:
        """Have a node take nothing new (`draining`), or let it take tasks again (`up`); return it."""
        body = json.dumps({"state": state}).encode()
        return self.call("PATCH", _node(pool, name), None, body, {"Content-Type": "application/json"})

    def remove(self, pool: str, name: str) -> Json:
        """Count what a silent or refused node runs as lost, at once; return it."""
        return self.call("DELETE", _node(pool, name))


def _node(pool: str, name: str) -> str:
    return f"/nodes/{quote(pool, '')}/{quote(name, '')}"


@frozen
class Functions:
    """The functions and scripts that a server shows.

    Args:
        call: Sends a request and returns its answer.
    """

    call: Callable[..., Json]

    def list(self) -> Json:
        """Return all functions."""
        return self.call("GET", "/functions")

    def show(self, name: str) -> Json:
        """Return a function, by "package.module:name"."""
        return self.call("GET", f"/functions/{quote(name, '')}")

    def scripts(self) -> Json:
        """Return all scripts."""
        return self.call("GET", "/scripts")

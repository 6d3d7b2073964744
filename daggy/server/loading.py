"""Stands in for an application while it is loaded: answers whether the server is ready, and holds other requests."""

from __future__ import annotations

import json
from collections.abc import Callable

import trio
from attrs import define, field

from daggy.api import API
from daggy.server.exchange import App, Receive, Scope, Send

OPEN = ("/ready", f"{API}/ready")
"""Paths that need no token: whether the server is ready."""


@define(eq=False)
class Loading:
    """Stands in for an application until it is loaded.

    Args:
        readiness: Returns why work does not go on as it should; empty if it does.
        takes_runs: Whether runs can be submitted.
    """

    readiness: Callable[[], str]
    takes_runs: bool = field(default=True, kw_only=True)
    _app: App | None = None
    _is_loaded: trio.Event = field(factory=trio.Event)

    def finish(self, app: App) -> None:
        """Pass all requests on to the application, those that have been waiting first."""
        self._app = app
        self._is_loaded.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on as soon as the application is loaded."""
        if self._app is None and scope["path"] in OPEN and scope["method"] in ("GET", "HEAD"):
            await self._tell_readiness(send)
            return
        await self._is_loaded.wait()
        assert self._app is not None
        await self._app(scope, receive, send)

    async def _tell_readiness(self, send: Send) -> None:
        reason = self.readiness()
        content = json.dumps({"ready": not reason, "reason": reason, "takes_runs": self.takes_runs}).encode()
        told = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": 503 if reason else 200, "headers": told})
        await send({"type": "http.response.body", "body": content})

"""An application that is still being loaded: it tells readiness at once, everything else once it is there."""

from __future__ import annotations

import json
from collections.abc import Callable

import trio
from attrs import define, field

from daggy.server.exchange import App, Receive, Scope, Send

API = "/api/v1"
"""Where the API is."""

OPEN = ("/ready", f"{API}/ready")
"""Where readiness is told, to everybody."""


@define(eq=False)
class Coming:
    """Stands for an application until it comes.

    Args:
        readiness: Returns why work does not go on as it should; empty if it does.
    """

    readiness: Callable[[], str]
    _app: App | None = None
    _is_there: trio.Event = field(factory=trio.Event)

    def come(self, app: App) -> None:
        """Pass everything on from here on, also what has been waiting."""
        self._app = app
        self._is_there.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on as soon as there is somebody to pass it to."""
        if self._app is None and scope["path"] in OPEN and scope["method"] in ("GET", "HEAD"):
            await self._tell_readiness(send)
            return
        await self._is_there.wait()
        assert self._app is not None
        await self._app(scope, receive, send)

    async def _tell_readiness(self, send: Send) -> None:
        reason = self.readiness()
        content = json.dumps({"ready": not reason, "reason": reason}).encode()
        told = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": 503 if reason else 200, "headers": told})
        await send({"type": "http.response.body", "body": content})

"""Lets `last` stand for the newest run wherever a path has a run's id."""

from __future__ import annotations

import json
from urllib.parse import quote

from attrs import frozen

from daggy.api import API
from daggy.engine.engine import Engine
from daggy.errors import DaggyError, NotFoundError
from daggy.server.exchange import App, Receive, Scope, Send
from daggy.server.problems import status_of
from daggy.server.refusals import body
from daggy.tracker import RunFilter

LAST = f"{API}/runs/last"


@frozen(eq=False)
class Newest:
    """An application whose paths may name the newest run as `last`.

    Args:
        app: The application, which knows runs by id only.
        engine: Knows which run is the newest.
    """

    app: App
    engine: Engine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Put the run's id into the path, and pass the request on."""
        if scope["type"] == "http" and f"{scope['path']}/".startswith(f"{LAST}/"):
            try:
                path = f"{API}/runs/{await self._newest()}{scope['path'].removeprefix(LAST)}"
            except DaggyError as error:
                await _refuse(send, status_of(error), str(error))
                return
            scope["path"], scope["raw_path"] = path, quote(path).encode()
        await self.app(scope, receive, send)

    async def _newest(self) -> int:
        found = await self.engine.runs.records(RunFilter(limit=1))
        if not found:
            raise NotFoundError("there are no runs yet, so 'last' names none; submit one first")
        return found[0].run


async def _refuse(send: Send, status: int, message: str) -> None:
    content = json.dumps(body(status, message)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})

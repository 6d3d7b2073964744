"""Reads from requests: the server's parts, the user, cursors, pairs and times."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Annotated, Any

from litestar import Request
from litestar.datastructures import State as AppState
from litestar.params import Parameter

from daggy.errors import UsageError
from daggy.server.service import Service

SMALL_BODY = 1 << 20
"""Bytes of a body that is no spec."""

Asked = Request[Any, Any, AppState]
Limit = Annotated[int, Parameter(ge=1, le=10_000, description="Items on a page.")]
Cursor = Annotated[str | None, Parameter(description="`next` of the page before.")]


def service_of(request: Asked) -> Service:
    """Return the server's parts."""
    service: Service = request.app.state.service
    return service


def actor_of(request: Asked) -> str:
    """Return the user's name, as the client gives it."""
    return request.headers.get("x-daggy-actor", "")[:200]


def number_of(text: str | None) -> int | None:
    """Return a cursor as a number.

    Raises:
        UsageError: it is none.
    """
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise UsageError(f"cursor: '{text}' is not the 'next' of a page")
    return int(text)


def pairs(texts: Sequence[str] | None, name: str) -> dict[str, str]:
    """Return `key:value` texts as a map.

    Raises:
        UsageError: one has no colon.
    """
    found = {}
    for text in texts or ():
        key, colon, value = text.partition(":")
        if not colon:
            raise UsageError(f"{name}: '{text}' has no colon; write {name}=KEY:VALUE")
        found[key] = value
    return found


def moment(text: str | None, name: str) -> float | None:
    """Return the seconds since 1970 that an ISO 8601 time names; without a zone it is UTC.

    Raises:
        UsageError: it is none.
    """
    if text is None:
        return None
    try:
        time = dt.datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{name}: '{text}' is not a time; write one such as 2026-01-02T03:04:05Z") from None
    return (time if time.tzinfo else time.replace(tzinfo=dt.UTC)).timestamp()

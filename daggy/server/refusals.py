"""The one shape of errors, for the application and for access control."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

CODES = {422: "invalid_spec", 413: "too_large", 416: "range", 503: "unavailable", 507: "no_room"}
"""Names of statuses where they differ from HTTP's."""


def body(status: int, message: str, problems: Sequence[dict[str, str]] = ()) -> dict[str, Any]:
    """Return the body of an error. It can always be encoded: half a surrogate pair of the request is escaped."""
    code = CODES.get(status) or HTTPStatus(status).name.lower()
    listed = [{key: _encodable(text) for key, text in problem.items()} for problem in problems]
    return {"error": {"code": code, "message": _encodable(message), "problems": listed}}


def _encodable(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()

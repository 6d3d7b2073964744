"""Errors as the API returns them: one shape, never a traceback."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from attrs import frozen
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.status_codes import HTTP_500_INTERNAL_SERVER_ERROR

from daggy.errors import (
    ConflictError,
    DaggyError,
    DirectoryError,
    InternalError,
    NoRoomError,
    NotFoundError,
    PreconditionError,
    SpecError,
    TemplateError,
    TooLargeError,
    TrackerError,
    UnavailableError,
    UsageError,
)
from daggy.server.refusals import body as body

LOG = logging.getLogger("daggy.server")

STATUSES: Sequence[tuple[type[DaggyError], int]] = (
    (SpecError, 422),
    (NotFoundError, 404),
    (PreconditionError, 412),
    (ConflictError, 409),
    (TooLargeError, 413),
    (NoRoomError, 507),
    (UnavailableError, 503),
    (TrackerError, 503),
    (DirectoryError, 503),
    (TemplateError, 422),
    (UsageError, 400),
)
"""The first that fits; everything else is a fault of ours."""


@frozen
class ProblemShape:
    """One thing that is wrong: `path` is its place in the document, `mend` what to do about it."""

    path: str
    message: str
    mend: str


@frozen
class ErrorBody:
    """What went wrong: `code` for programs, `message` for people, `problems` one by one."""

    code: str
    message: str
    problems: Sequence[ProblemShape]


@frozen
class ErrorShape:
    """The body of every answer that is not a success."""

    error: ErrorBody


def status_of(error: DaggyError) -> int:
    """Return the status of an error."""
    return next((status for kind, status in STATUSES if isinstance(error, kind)), HTTP_500_INTERNAL_SERVER_ERROR)


def on_daggy_error(request: Request[Any, Any, Any], error: DaggyError) -> Response[Any]:
    """Answer what Daggy itself refuses."""
    status = status_of(error)
    if isinstance(error, InternalError) or status == HTTP_500_INTERNAL_SERVER_ERROR:
        return on_bug(request, error)
    problems = error.problems if isinstance(error, SpecError) else ()
    listed = [{"path": one.path, "message": one.message, "mend": one.mend} for one in problems]
    message = f"{len(listed)} problems" if len(listed) > 1 else str(error)
    return Response(body(status, message, listed), status_code=status)


def on_http_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
    """Answer what the framework refuses: routes, methods, parameters."""
    status = error.status_code
    if status >= HTTP_500_INTERNAL_SERVER_ERROR:
        return on_bug(request, error)
    extra = error.extra if isinstance(error.extra, list) else []
    listed = [{"path": str(one.get("key", "")), "message": str(one.get("message", "")), "mend": ""} for one in extra]
    message = "; ".join(f"{one['path']}: {one['message']}" for one in listed) or _detail(request, error)
    return Response(body(status, message, listed), status_code=status, headers=error.headers)


def _detail(request: Request[Any, Any, Any], error: HTTPException) -> str:
    if error.status_code == HTTPStatus.NOT_FOUND:
        return f"nothing at '{request.url.path}'; /openapi.json says what there is"
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        return f"'{request.url.path}' takes no {request.method}"
    return error.detail


def on_bug(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """Answer an unexpected error with a reference to the log."""
    reference = secrets.token_hex(4)
    LOG.error("%s %s failed, reference %s", request.method, request.url.path, reference, exc_info=error)
    message = f"this is a bug in Daggy; please report it with the server's log entry for {reference}"
    return Response(body(HTTP_500_INTERNAL_SERVER_ERROR, message), status_code=HTTP_500_INTERNAL_SERVER_ERROR)

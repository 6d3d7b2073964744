"""The application: routes, errors in one shape, and the API's description with a page that tries it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version as installed
from pathlib import Path
from typing import Any

from litestar import Litestar, MediaType, Request, Response, Router, get
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme

from daggy.api import API
from daggy.errors import DaggyError, NotFoundError, UsageError
from daggy.server import events, functions, metrics, nodes, pools, runs, tasks
from daggy.server.description import completed
from daggy.server.problems import on_bug, on_daggy_error, on_http_error
from daggy.server.service import Service

STATIC = Path(__file__).parent / "static"

FILES = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css", "docs.js": "text/javascript"}
"""What the page of the API's description is made of."""


def make_app(service: Service) -> Litestar:
    """Return the application for a server's parts; access is controlled in front of it."""
    handlers = [*runs.HANDLERS, *tasks.HANDLERS, *pools.HANDLERS, *nodes.HANDLERS, *events.HANDLERS]
    api = Router(API, route_handlers=[*handlers, *functions.HANDLERS, *metrics.HANDLERS], before_request=look_first)
    return Litestar(
        [api, pools.ready, *metrics.HANDLERS, openapi, docs, file],
        openapi_config=_description(),
        exception_handlers={DaggyError: on_daggy_error, HTTPException: on_http_error, Exception: on_bug},
        state=State({"service": service}),
        request_max_body_size=None,
        debug=False,
        logging_config=None,
    )


def _description() -> OpenAPIConfig:
    try:
        number = installed("daggy")
    except PackageNotFoundError:
        number = "0"
    scheme = SecurityScheme(type="http", scheme="bearer", description="The token that `daggy token` prints.")
    return OpenAPIConfig(
        title="Daggy",
        version=number,
        description="Runs work modelled as a directed acyclic graph.",
        path="/unused",
        render_plugins=[],
        components=Components(security_schemes={"token": scheme}),
        security=[{"token": []}],
        use_handler_docstrings=True,
    )


def look_first(request: Request[Any, Any, Any]) -> Response[None] | None:
    """Answer which methods a path takes; refuse other requests with unknown query parameters.

    The framework's own answer has the methods of one of a path's routes only.
    """
    if request.method != "OPTIONS":
        refuse_unknown(request)
        return None
    place = request.scope["path_template"]
    methods = {method for route in request.app.routes if route.path_format == place for method in route.methods}
    return Response(None, status_code=204, headers={"Allow": ", ".join(sorted(methods))})


def refuse_unknown(request: Request[Any, Any, Any]) -> None:
    """Refuse query parameters that a route does not take, rather than ignoring them.

    Raises:
        UsageError: there is one; or a number is `null`, which the framework would take for its absence.
    """
    known = _parameters(request.route_handler)
    for name, value in request.query_params.multi_items():
        if name not in known:
            there = ", ".join(sorted(known)) or "none"
            raise UsageError(f"no query parameter '{name}' here; there are: {there}")
        if value == "null" and not known[name]:
            raise UsageError(f"{name}: 'null' is not a value; leave it out")


def _parameters(handler: Any) -> dict[str, bool]:
    """Return the query parameters that a route takes, and whether they may be any text."""
    if not isinstance(handler, HTTPRouteHandler):
        return {}
    known = {}
    for name, field in handler.parsed_fn_signature.parameters.items():
        given = field.kwarg_definition
        if (
            getattr(given, "header", None)
            or name in ("request", "run_id", "index", "stream")
            or f"{{{name}:" in str(handler.paths)
        ):
            continue
        known[getattr(given, "query", None) or name] = "str" in str(field.annotation)
    return known


@get("/openapi.json", include_in_schema=False)
async def openapi(request: Request[Any, Any, Any]) -> Response[dict[str, Any]]:
    """Return the description of the API, OpenAPI 3.1."""
    return Response(completed(request.app.openapi_schema.to_schema()))


@get("/docs", include_in_schema=False, media_type=MediaType.HTML)
async def docs() -> Response[bytes]:
    """Return the page that shows the API's description and tries it."""
    return Response((STATIC / "docs.html").read_bytes(), media_type=MediaType.HTML)


@get("/docs/{name:str}", include_in_schema=False)
async def file(name: str) -> Response[bytes]:
    """Return a part of that page."""
    if name not in FILES:
        raise NotFoundError(f"no file '{name}' here")
    return Response((STATIC / name).read_bytes(), media_type=FILES[name])

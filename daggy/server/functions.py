"""Routes about what there is to call: the functions and scripts that the configuration shows."""

from __future__ import annotations

import difflib

from litestar import Response, get

from daggy.errors import NotFoundError
from daggy.server.requests import Asked, service_of
from daggy.server.shapes import FunctionPage, FunctionShape, ScriptPage, answer


@get("/functions", summary="List functions")
async def list_functions(request: Asked) -> Response[FunctionPage]:
    """List the functions of the modules that the configuration names, with their schemas."""
    items, problems = await service_of(request).listing.functions()
    return answer(FunctionPage, {"items": items, "next": None, "problems": problems})


@get("/functions/{name:str}", summary="Show a function")
async def show_function(request: Asked, name: str) -> Response[FunctionShape]:
    """Show one of these functions, by "package.module:name"."""
    items, problems = await service_of(request).listing.functions()
    for one in items:
        if one["name"] == name:
            return answer(FunctionShape, one)
    close = difflib.get_close_matches(name, [one["name"] for one in items], 1)
    mend = f"did you mean '{close[0]}'?" if close else "the configuration lists modules under 'functions'"
    raise NotFoundError("; ".join([f"no function '{name}' is listed here", mend, *problems]))


@get("/scripts", summary="List scripts")
async def list_scripts(request: Asked) -> Response[ScriptPage]:
    """List the scripts of the folders that the configuration names, with what they say of themselves."""
    return answer(ScriptPage, {"items": await service_of(request).listing.scripts(), "next": None})


HANDLERS = [list_functions, show_function, list_scripts]
"""What the application serves under the API's path."""

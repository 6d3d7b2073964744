"""`daggy functions`: what there is to call."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from daggy.cli import text
from daggy.cli.options import json_option
from daggy.cli.target import Target, target_options
from daggy.errors import NotFoundError

Json = Any


@click.command()
@click.argument("name", metavar="[F]", default="")
@target_options
@json_option
def functions(target: Target, name: str, as_json: bool) -> None:
    """List the functions and scripts that the configuration shows; with F, the parameters of one function.

    F is package.module:name, or a module. Without a server it need not be in the configuration: it is looked for from
    the current directory.
    """
    items, problems = _served(target) if target.has_server else _read(target, name)
    for problem in problems:
        click.echo(problem, err=True)
    if name:
        items = [one for one in items if name in (one["name"], one["name"].partition(":")[0])]
        if not items:
            raise NotFoundError(f"there is no function '{name}' here; 'daggy functions' lists those that are shown")
    if as_json:
        text.print_json(items)
    elif ":" in name:
        _print_one(items[0])
    elif not items:
        click.echo("the configuration shows none; 'daggy functions MODULE' describes those of a module", err=True)
    else:
        rows = ((one["name"], _signature(one["parameters"]), _first_line(one)) for one in items)
        text.print_columns(("NAME", "PARAMETERS", "DESCRIPTION"), rows)


def _served(target: Target) -> tuple[Sequence[Json], Sequence[str]]:
    client = target.client()
    told = client.functions.list()
    return [*told["items"], *client.functions.scripts()["items"]], told["problems"]


def _read(target: Target, name: str) -> tuple[Sequence[Json], Sequence[str]]:
    """Return what the configuration shows, or what a module has that it does not show."""
    import trio  # help must not wait for these

    from daggy.engine.configuration import read_configuration
    from daggy.worker.listing import Listing, Module

    configuration = read_configuration(target.config, os.environ)
    if not name:
        listing = configuration.listing()
        return _read_all(listing)
    module = name.partition(":")[0]
    known = [one for one in configuration.functions if one.module == module]
    return trio.run(Listing(known or [Module(module)], ()).functions)


def _read_all(listing: Any) -> tuple[Sequence[Json], Sequence[str]]:
    import trio

    async def both() -> tuple[Sequence[Json], Sequence[str]]:
        functions, problems = await listing.functions()
        return [*functions, *await listing.scripts()], problems

    return trio.run(both)


def _first_line(told: Mapping[str, str]) -> str:
    return told["description"].partition("\n")[0] or "-"


def _signature(schema: Json) -> str:
    """Return parameters as in `alpha, folds=5`."""
    return ", ".join(_parameter(name, one) for name, one in schema.get("properties", {}).items()) or "-"


def _parameter(name: str, schema: Json) -> str:
    return f"{name}={json.dumps(schema['default'])}" if "default" in schema else name


def _print_one(told: Json) -> None:
    click.echo(told["name"])
    if told["description"]:
        click.echo(f"\n{told['description']}\n")
    text.print_columns(("PARAMETER", "TYPE", "DEFAULT", "DESCRIPTION"), _rows(told["parameters"]))
    if told["returns"]:
        click.echo(f"returns {_type(told['returns'])}")


def _rows(schema: Json) -> Iterator[Sequence[str]]:
    for name, one in schema["properties"].items():
        default = json.dumps(one["default"]) if "default" in one else "-"
        yield name, _type(one), default, one.get("description", "-")


def _type(schema: Json) -> str:
    """Return the type of a schema in few words."""
    if "enum" in schema:
        return " | ".join(map(json.dumps, schema["enum"]))
    if "anyOf" in schema:
        return " | ".join(map(_type, schema["anyOf"]))
    kind = schema.get("format") or schema.get("type") or "any"
    if kind == "array" and "items" in schema:
        return f"list of {_type(schema['items'])}"
    return str(schema.get("title") or (kind if isinstance(kind, str) else " | ".join(kind)))

"""`daggy nodes`, `drain`, `undrain`: the machines of a server's pools."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from daggy.cli import text
from daggy.cli.options import json_option
from daggy.cli.target import Target, server_options
from daggy.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from daggy.client import Client

node_argument = click.argument("node", metavar="NODE")


@click.command()
@click.option("--pool", metavar="NAME", default="", help="List only nodes of this pool.")
@click.option(
    "--remove",
    "removed",
    metavar="NODE",
    default="",
    help="Give a silent or refused node up: what it runs counts as lost at once.",
)
@server_options
@json_option
def nodes(target: Target, pool: str, removed: str, as_json: bool) -> None:
    """List the machines of the server's pools: their states, and what is in use of them."""
    client = target.client()
    if removed:
        node = client.nodes.remove(*_find(client, removed, pool))
        _print([node], as_json=as_json)
        return
    page = client.nodes.list(pool)
    if as_json:
        text.print_json(page)
    else:
        _print(page["items"], as_json=False)


@click.command()
@node_argument
@server_options
@json_option
def drain(target: Target, node: str, as_json: bool) -> None:
    """Have NODE take no new tasks. What runs there goes on; what waits there goes elsewhere."""
    client = target.client()
    _print([client.nodes.change(*_find(client, node), "draining")], as_json=as_json)


@click.command()
@node_argument
@server_options
@json_option
def undrain(target: Target, node: str, as_json: bool) -> None:
    """Let NODE take tasks again."""
    client = target.client()
    _print([client.nodes.change(*_find(client, node), "up")], as_json=as_json)


def _find(client: Client, node: str, pool: str = "") -> tuple[str, str]:
    """Return pool and name of a node that is named by its name, or as POOL/NAME where several pools have one.

    Raises:
        NotFoundError: there is none.
        UsageError: there are several.
    """
    items = client.nodes.list(pool)["items"]
    found = [(one["pool"], one["name"]) for one in items if node in (one["name"], f"{one['pool']}/{one['name']}")]
    if not found:
        raise NotFoundError(f"no node '{node}'; 'daggy nodes' lists those there are")
    if len(found) > 1:
        names = " or ".join(f"{pool}/{name}" for pool, name in found)
        raise UsageError(f"several pools have a node '{node}'; write {names}")
    return found[0]


def _print(items: list[Any], *, as_json: bool) -> None:
    if as_json:
        for one in items:
            text.print_json(one)
        return
    text.print_columns(
        ("POOL", "NODE", "STATE", "SINCE", "TASKS", "CORES", "MEMORY (GiB)", "LEFT", "LOST IN", "WHY"),
        (
            (
                one["pool"], one["name"], one["state"], text.when(one["since"]), one["running"] + one["waiting"],
                *_use(one), _left(one["until"]), _span(one["lost_in"]), one["why"],
            )
            for one in items
        ),
    )  # fmt: skip


def _left(until: str | None) -> str:
    import datetime as dt  # not needed for help

    if until is None:
        return ""
    return _span(max(0.0, (dt.datetime.fromisoformat(until) - dt.datetime.now(dt.UTC)).total_seconds()))


def _span(seconds: float | None) -> str:
    return "" if seconds is None else text.duration(seconds)


def _use(node: Any) -> Iterator[str]:
    """Yield what of cores and of memory (GiB) is in use."""
    for name, unit in (("cores", 1), ("memory_mb", 1024)):
        total = node["totals"].get(name)
        yield "" if total is None else f"{node['used'].get(name, 0) / unit:.4g}/{total / unit:.4g}"

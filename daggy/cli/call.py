"""`daggy call`: one function, called as a run of one task."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import click

from daggy.cli import text
from daggy.cli.options import pair
from daggy.cli.start import load_numpy
from daggy.cli.target import Target, target_options
from daggy.signals import interruptible

if TYPE_CHECKING:
    from daggy.cli.document import Call


def _arguments(ctx: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> dict[str, Any]:
    return {name: _value(text) for name, text in pair(ctx, parameter, texts).items()}


def _value(text: str) -> Any:
    """Return a value as JSON, or the text if it is none."""
    try:
        return json.loads(text, parse_constant=str)
    except ValueError:
        return text


@click.command()
@click.argument("function", metavar="F")
@click.argument("arguments", metavar="K=V", nargs=-1, callback=_arguments)
@click.option("--python", metavar="PROGRAM", default="python3", help="Call it in this interpreter. Default: python3.")
@target_options
def call(target: Target, function: str, arguments: dict[str, Any], python: str) -> int:
    """Call F, a function as package.module:name, with the arguments K=V, and print what it returns, as JSON.

    A value is JSON, or else a text. The call is a run of one task: of the server, if there is one, else by itself.
    """
    asked = _spec(function, arguments, python)
    return _by_server(target, asked) if target.has_server else _alone(target, asked)


def _spec(function: str, arguments: dict[str, Any], python: str) -> Call:
    from daggy.cli.document import Call  # help must not wait for these
    from daggy.spec import Document

    name = function.rpartition(":")[2]
    details = {"function": function, "arguments": arguments, "python": python}
    task = {"details": details, "templating": "none"}
    spec = {"name": name, "tasks": {name if name.isidentifier() else "call": task}}
    return Call(Document(json.dumps(spec).encode(), function, name))


def _by_server(target: Target, asked: Call) -> int:
    from daggy.cli.watching import conclude, watch_run  # help must not wait for it

    client = target.client()
    run = client.submit(asked.raw())
    with interruptible():
        ended = watch_run(target, client, run, quiet=True)
    code = conclude(ended, quiet=True, as_json=False)
    if code == 0:
        click.echo(text.json_line(client.task(run, 0)["attempts"][-1]["result"]))
    return code


def _alone(target: Target, asked: Call) -> int:
    load_numpy()
    from daggy.cli.session import Request, Session  # help must not wait for these
    from daggy.engine.configuration import read_configuration

    configuration = read_configuration(target.config, os.environ)
    return Session(Request(asked, None, configuration, quiet=True, prints_result=True)).run()

"""`daggy completion`: a script for completion in a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]), metavar="SHELL")
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a script that completes daggy's commands in SHELL: bash, zsh or fish.

    For bash, put this in ~/.bashrc: eval "$(daggy completion bash)"
    """
    kind = get_completion_class(shell)
    assert kind is not None  # the choice has no others
    root = ctx.find_root().command
    click.echo(kind(root, {}, "daggy", "_DAGGY_COMPLETE").source())

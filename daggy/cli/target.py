"""Where a command reads or acts: a server, or a directory that no server uses."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from attrs import frozen

from daggy.cli.options import config_option, directory_option
from daggy.paths import absolute, default_directory

if TYPE_CHECKING:
    from daggy.cli.source import RunSource, Source
    from daggy.client import Client


@frozen
class Target:
    """What the options say of it.

    Args:
        named: The state directory, absolute; None: the default one.
        config: The file that configures the trackers and pools of a directory without a server.
        server: A server's address; empty: that of the directory.
        token: Its token; empty: the directory's.
    """

    named: Path | None
    config: Path | None
    server: str
    token: str

    @property
    def directory(self) -> Path:
        """The state directory.

        Raises:
            UsageError: none was named, and there is no home directory.
        """
        return self.named or default_directory()

    def client(self) -> Client:
        """Return a client of the server.

        Raises:
            UnavailableError: there is none.
        """
        from daggy.client import Client  # help must not wait for it
        from daggy.errors import UnavailableError

        client = Client.find(self.named, self.server, self.token, _user())
        if not self.server:
            try:
                client.ready()
            except UnavailableError:
                raise UnavailableError(
                    f"no server uses '{self.directory}' any more; start one with 'daggy serve --dir {self.directory}'"
                ) from None
        return client

    @property
    def has_server(self) -> bool:
        """Whether a server is named, or uses the directory."""
        return bool(self.server) or (self.directory / "address").exists()

    def source(self) -> Source:
        """Return what to read from: the server, if there is one, else the directory."""
        from daggy.errors import UnavailableError

        if self.has_server:
            from daggy.cli.served import Served

            try:
                return Served(self.client(), None if self.server else self.kept)
            except UnavailableError:
                if self.server or not (self.directory / "daggy.db").exists():
                    raise
        return self.kept()

    def kept(self) -> Source:
        """Return the directory, to be read as of its last commit."""
        from daggy.cli.kept import Kept
        from daggy.engine.configuration import read_configuration

        return Kept.look(self.directory, read_configuration(self.config, os.environ))

    def ended(self, which: str) -> RunSource | None:
        """Return a run of the directory that has ended; None if it has not, or cannot be read."""
        from daggy.client import ENDED
        from daggy.errors import DaggyError

        try:
            run = None if self.server else self.kept().open(which)
        except DaggyError:
            return None
        return run if run is not None and run.run()["state"] in ENDED else None


def _user() -> str:
    """Return the name of the user, as far as a header can carry it; empty if it is unknown."""
    import getpass

    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        return ""
    return name if name.isascii() and name.isprintable() else ""


def target_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--dir, --config, --server, --token` to a command that reads; it gets them as `target`, a `Target`."""

    @functools.wraps(command)
    def with_target(directory: Path | None, config: Path | None, server: str, token: str, **others: Any) -> Any:
        return command(target=Target(directory and absolute(directory), config, server, token), **others)

    return directory_option(config_option(_server_option(_token_option(with_target))))


def server_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--dir, --server, --token` to a command that needs a server; it gets them as `target`, a `Target`."""

    @functools.wraps(command)
    def with_target(directory: Path | None, server: str, token: str, **others: Any) -> Any:
        return command(target=Target(directory and absolute(directory), None, server, token), **others)

    return directory_option(_server_option(_token_option(with_target)))


def _server_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--server", envvar="DAGGY_SERVER", default="", metavar="URL",
        help="Use this server (DAGGY_SERVER), not the directory's.",
    )(command)  # fmt: skip


def _token_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--token", envvar="DAGGY_TOKEN", default="", metavar="TOKEN", help="The server's access token (DAGGY_TOKEN)."
    )(command)

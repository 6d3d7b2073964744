"""The way to a host: the user's own `ssh`, and what its end means."""

from __future__ import annotations

import shlex
from functools import partial
from typing import ClassVar

from daggy.launcher import bundle, command_line
from daggy.launcher.line import Line, Way
from daggy_ssh.complaints import explained
from daggy_ssh.settings import SshHost, SshSettings

FIRST = (
    "-T",
    "-x",
    "-o",
    "BatchMode=yes",
    "-o",
    "ControlMaster=no",
    "-o",
    "ClearAllForwardings=yes",
    "-o",
    "RemoteCommand=none",
)
"""What must hold. It never asks; and it is never a master, which would live on, though it may use one: somebody with a
second factor opens it by hand."""
LAST = (
    "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=20", "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3",
)  # fmt: skip
"""What holds unless the pool's own arguments, which come before it, say otherwise."""


def destination(host: SshHost) -> list[str]:
    """Return the arguments that lead to a host."""
    words = [*(("-p", str(host.port)) if host.port else ()), *(("-l", host.user) if host.user else ())]
    if host.private_key_file:
        words += ["-i", host.private_key_file, "-o", "IdentitiesOnly=yes"]
    return [*words, host.host]


def command(settings: SshSettings, host: SshHost, program: bytes) -> list[str]:
    """Return the argv of an ssh that runs a program of this length, sent to it, on a host.

    What it runs is a line for whatever shell the login has there: single quotes, within which there is nothing that
    sh, csh or fish would replace.
    """
    *words, text = bundle.boot(settings.python, program)
    line = " ".join(["exec", *words, f"'{text}'"])
    if settings.setup:
        line = f"{settings.setup} && {line}"
    accept = ("-o", "StrictHostKeyChecking=accept-new") if settings.host_keys == "accept-new" else ()
    return ["ssh", *FIRST, *settings.ssh, *accept, *LAST, *destination(host), line]


class SshWay(Way):
    """Leads to one host."""

    ends_with: ClassVar[str] = (
        "its launchers end with the login: run 'loginctl enable-linger' there, or begin \"setup\" with "
        "'systemd-run --user --scope'"
    )

    def __init__(self, settings: SshSettings, host: SshHost) -> None:
        """Keep what is given."""
        self._settings, self._host = settings, host

    async def dial(self) -> Line:
        """Return a line to a relay that is being started there."""
        program = bundle.relay(self._settings.directory)
        by_hand = shlex.join(["ssh", *self._settings.ssh, *destination(self._host), "true"])
        return await command_line.start(
            command(self._settings, self._host, program), program, partial(explained, by_hand)
        )

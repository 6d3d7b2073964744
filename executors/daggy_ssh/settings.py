"""Settings of the ssh executor."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from attrs import Attribute, field, frozen

from daggy.launcher.fleet import AT_ONCE
from daggy.launcher.homecoming import FETCH_BYTES

_HOST = re.compile(r"(?:(?P<user>[^@\s]+)@)?(?P<host>\[[^\]\s]+\]|[^:\s]+|[^\s]*:[^\s]*:[^\s]*)(?::(?P<port>\d+))?")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def _least(least: float) -> Callable[[object, Any, float], None]:
    def check(_: object, attribute: Attribute[float], value: float) -> None:
        if value < least:
            raise ValueError(f"'{attribute.name}' must be at least {least:g}")

    return check


def _one_of(*allowed: str) -> Callable[[object, Any, str], None]:
    def check(_: object, attribute: Attribute[str], value: str) -> None:
        if value not in allowed:
            raise ValueError(f"'{attribute.name}' must be one of {', '.join(allowed)}, not {value!r}")

    return check


def _one_line(_: object, attribute: Attribute[str], value: str) -> None:
    if "\n" in value or "\0" in value:
        raise ValueError(f"'{attribute.name}' must be one line")


def _absolute(_: object, attribute: Attribute[str], value: str) -> None:
    if value and not value.startswith("/") and value != "~" and not value.startswith("~/"):
        raise ValueError(f"'{attribute.name}' must be absolute or begin with ~/, not {value!r}")


def _duration(_: object, attribute: Attribute[str], value: str) -> None:
    if not _DURATION.fullmatch(value) or seconds(value) < 1:
        raise ValueError(f"'{attribute.name}' must be a duration of a second or more, such as '90s', '15m' or '2h'")


def _destination(_: object, attribute: Attribute[str], value: str) -> None:
    if not value or value.startswith("-") or any(character.isspace() for character in value):
        raise ValueError(f"'{attribute.name}' cannot be {value!r}; write the host as ssh takes it")


def seconds(duration: str) -> float:
    """Return the seconds of a duration such as "15m"."""
    found = _DURATION.fullmatch(duration)
    assert found is not None
    return float(found[1]) * _UNITS[found[2]]


@frozen
class SshHost:
    """A machine that SSH reaches. In a configuration "me@b:2200" stands for {"host": "b", "user": "me", "port": 2200}.

    Args:
        host: Its name or address, or an alias of the user's SSH configuration.
        name: What it is called here; empty: as `host`.
        user: Who logs in; empty: as SSH is configured.
        port: Where its SSH server listens; 0: as SSH is configured.
        private_key_file: The one key to use; empty: as SSH is configured.
        resources: What it has for tasks, by name; `cores`, `memory_mb` and `gpus` are measured unless they are given.
        labels: What tasks may ask for that is not used up.
    """

    host: str = field(validator=_destination)
    name: str = ""
    user: str = ""
    port: int = field(default=0, validator=_least(0))
    private_key_file: str = ""
    resources: Mapping[str, float] = field(factory=dict)
    labels: tuple[str, ...] = ()

    @classmethod
    def of(cls, text: str) -> SshHost:
        """Return the host that a text names.

        Raises:
            ValueError: it names none.
        """
        found = _HOST.fullmatch(text)
        if not found:
            raise ValueError(f"{text!r} is no name of a host; write 'host', 'user@host' or 'user@host:port'")
        return cls(found["host"].strip("[]"), user=found["user"] or "", port=int(found["port"] or 0))

    @property
    def called(self) -> str:
        """What it is called here."""
        return self.name or self.host


@frozen
class SshSettings:
    """Settings of a pool of the ssh executor.

    Args:
        hosts: The machines.
        targets: More of them; earlier configurations call them so.
        directory: Where Daggy keeps what it needs on them, on a local disk of theirs; `~` is understood.
        work: The directory there that stands for the spec's; empty: the spec's is there, under the same name.
        python: Their Python, 3.8 or newer, as a shell there understands it.
        setup: A line for the login shell there, run before anything else each time that a host is connected.
        environment: Variables of every task, under those of its spec.
        inherit: Whether tasks get the environment of the login there (less DAGGY_*) too.
        output_bytes: The most that an attempt may write; 0: no limit.
        ssh: More arguments for `ssh`, such as ["-o", "ProxyJump=gate"].
        host_keys: "known": a host whose key SSH does not know is refused; "accept-new": its key is accepted once.
        lease: How long tasks go on there without a word from here, such as "15m".
        fetch_bytes: The most that an attempt may have written for its output to be copied here once it has ended.
        at_once: How many of them are connected to at the same time.
        place: "spread": a task goes where there is most room; "pack": to the first host with room.
    """

    hosts: tuple[SshHost, ...] = ()
    targets: tuple[SshHost, ...] = ()
    directory: str = field(default="~/.cache/daggy", validator=_one_line)
    work: str = field(default="~", validator=_absolute)
    python: str = field(default="python3", validator=_one_line)
    setup: str = field(default="", validator=_one_line)
    environment: Mapping[str, str] = field(factory=dict)
    inherit: bool = True
    output_bytes: int = field(default=0, validator=_least(0))
    ssh: tuple[str, ...] = ()
    host_keys: str = field(default="known", validator=_one_of("known", "accept-new"))
    lease: str = field(default="15m", validator=_duration)
    fetch_bytes: int = field(default=FETCH_BYTES, validator=_least(0))
    at_once: int = field(default=AT_ONCE, validator=_least(1))
    place: str = field(default="spread", validator=_one_of("spread", "pack"))

    def __attrs_post_init__(self) -> None:
        """Refuse a pool without hosts, and hosts that cannot be told apart."""
        if not self.machines:
            raise ValueError('hosts: none is given; name them, such as ["a", "me@b:2200"]')
        names: set[str] = set()
        for host in self.machines:
            if host.called in names:
                raise ValueError(f"hosts: two are called '{host.called}'; give one of them another \"name\"")
            names.add(host.called)

    @property
    def machines(self) -> tuple[SshHost, ...]:
        """All hosts, in order."""
        return self.hosts + self.targets

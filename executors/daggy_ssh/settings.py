"""Settings of the ssh executor."""

from __future__ import annotations

import re
from collections.abc import Mapping

from attrs import Attribute, field, frozen

from daggy.launcher.fleet import AT_ONCE
from daggy.launcher.homecoming import FETCH_BYTES
from daggy.validators import absolute, duration, least, one_line, one_of

_HOST = re.compile(r"(?:(?P<user>[^@\s]+)@)?(?P<host>\[[^\]\s]+\]|[^:\s]+|[^\s]*:[^\s]*:[^\s]*)(?::(?P<port>\d+))?")


def _destination(_: object, attribute: Attribute[str], value: str) -> None:
    if not value or value.startswith("-") or any(character.isspace() for character in value):
        raise ValueError(f"'{attribute.name}' cannot be {value!r}; write the host as ssh takes it")


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
    port: int = field(default=0, validator=least(0))
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
    directory: str = field(default="~/.cache/daggy", validator=one_line)
    work: str = field(default="~", validator=absolute)
    python: str = field(default="python3", validator=one_line)
    setup: str = field(default="", validator=one_line)
    environment: Mapping[str, str] = field(factory=dict)
    inherit: bool = True
    output_bytes: int = field(default=0, validator=least(0))
    ssh: tuple[str, ...] = ()
    host_keys: str = field(default="known", validator=one_of("known", "accept-new"))
    lease: str = field(default="15m", validator=duration)
    fetch_bytes: int = field(default=FETCH_BYTES, validator=least(0))
    at_once: int = field(default=AT_ONCE, validator=least(1))
    place: str = field(default="spread", validator=one_of("spread", "pack"))

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

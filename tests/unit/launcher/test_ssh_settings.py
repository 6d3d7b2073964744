"""Settings of pools of machines over SSH: short and long forms, earlier ones, and what is wrong with the others."""

from __future__ import annotations

from typing import Any

import pytest

from daggy.errors import PluginError
from daggy.settings import structure
from daggy_ssh import SshHost, SshSettings
from daggy_ssh.way import command


def settings(**pool: Any) -> SshSettings:
    return structure(pool, SshSettings, "pool 'lab'")


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("a", SshHost("a")),
        ("me@b:2200", SshHost("b", user="me", port=2200)),
        ("b.example.org:22", SshHost("b.example.org", port=22)),
        ("fe80::1", SshHost("fe80::1")),
        ("me@[fe80::1]:22", SshHost("fe80::1", user="me", port=22)),
    ],
)
def test_a_host_as_a_text(text: str, host: SshHost) -> None:
    assert settings(hosts=[text]).machines == (host,)


def test_a_host_as_an_object() -> None:
    (host,) = settings(hosts=[{"host": "c", "name": "big", "resources": {"cores": 64}, "labels": ["ssd"]}]).machines
    assert host == SshHost("c", name="big", resources={"cores": 64.0}, labels=("ssd",))
    assert host.called == "big"


def test_a_pool_of_an_earlier_system() -> None:
    target = {"host": "localhost", "port": 22, "user": "me", "private_key_file": "k", "resources": {"cores": 10}}
    (host,) = settings(targets=[target]).machines
    words = command(settings(targets=[target]), host, b"")
    assert words[-10:-1] == ["-p", "22", "-l", "me", "-i", "k", "-o", "IdentitiesOnly=yes", "localhost"]


@pytest.mark.parametrize(
    ("pool", "said"),
    [
        ({}, 'hosts: none is given; name them, such as ["a", "me@b:2200"]'),
        ({"hosts": "a"}, "hosts: must be a list, not 'a'"),
        ({"hosts": ["a b"]}, "hosts[0]: 'a b' is no name of a host; write 'host', 'user@host' or 'user@host:port'"),
        ({"hosts": ["a", "-oProxyCommand=x"]}, "hosts[1]: 'host' cannot be '-oProxyCommand=x'; write"),
        ({"hosts": [{"hots": "a"}]}, "hosts[0]: no setting named 'hots'; did you mean 'host'?"),
        ({"hosts": ["a", "me@a"]}, "hosts: two are called 'a'; give one of them another \"name\""),
        (
            {"hosts": ["a"], "lease": "5"},
            "'lease' must be a duration of a second or more, such as '90s', '15m' or '2h'",
        ),
        ({"hosts": ["a"], "work": "x"}, "'work' must be absolute or begin with ~/, not 'x'"),
        ({"hosts": ["a"], "host_keys": "any"}, "'host_keys' must be one of known, accept-new, not 'any'"),
        ({"hosts": ["a"], "setup": "a\nb"}, "'setup' must be one line"),
        ({"hosts": ["a"], "place": "best"}, "'place' must be one of spread, pack, not 'best'"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(pool: dict[str, Any], said: str) -> None:
    with pytest.raises(PluginError) as caught:
        settings(**pool)
    assert said in str(caught.value)


def test_the_pools_own_arguments_come_before_what_may_differ_and_after_what_must_hold() -> None:
    words = command(settings(hosts=["a"], ssh=["-o", "ServerAliveInterval=1"]), SshHost("a"), b"")
    at = [words.index(word) for word in ("BatchMode=yes", "ServerAliveInterval=1", "ServerAliveInterval=5", "a")]
    assert at == sorted(at)

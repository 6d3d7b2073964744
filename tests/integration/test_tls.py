"""A server with a certificate: its clients on this machine and elsewhere, its agents, and renewal."""

from __future__ import annotations

import json
import ssl
from pathlib import Path

import httpx
import pytest

from tests.integration.agent_rig import Field, field, state
from tests.integration.certificates import make_certificate
from tests.integration.serve_rig import Server, command, shell


def secured(place: Field, certificate: Path, key: Path) -> None:
    config = json.loads(place.config.read_text())
    config["server"] = {"tls": {"certificate": str(certificate), "key": str(key)}}
    place.config.write_text(json.dumps(config))
    place.address = place.address.replace("http://", "https://")


def serial_of(server: Server) -> bytes:
    """The certificate that the server shows."""
    _, _, there = server.address.partition("://")
    host, _, port = there.partition(":")
    return ssl.get_server_certificate((host, int(port))).encode()


def test_a_server_with_a_certificate_its_clients_and_its_agents(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    with field(tmp_path) as place:
        secured(place, certificate, key)
        with place.serving(trusted=certificate) as server:
            assert server.address == place.address
            refused = place.agent(name="without")
            refused.until(lambda: "name its authority with --ca" in refused.said)
            agent = place.joined(server, "--ca", str(certificate))
            listed = command("nodes", "--dir", str(place.state), cwd=tmp_path)
            assert listed.returncode == 0, listed.stderr
            assert "box" in listed.stdout
            named = command(
                "ls", "--server", place.address, "--token", server.token, cwd=tmp_path, SSL_CERT_FILE=str(certificate)
            )
            assert named.returncode == 0, named.stderr
            run = server.submit({"a": shell("echo out")})
            assert server.ended(run)["state"] == "completed"
            first = serial_of(server)
            other, other_key = make_certificate(tmp_path, "other")
            other_key.replace(key)  # a moment without a pair that fits: the earlier one goes on
            other.replace(certificate)
            server.until(lambda: serial_of(server) != first)
            listed = command("nodes", "--dir", str(place.state), cwd=tmp_path)
            assert listed.returncode == 0, listed.stderr
            agent.send()
            assert agent.ended() == 0


def test_who_speaks_the_other_scheme_is_told(tmp_path: Path) -> None:
    with field(tmp_path) as place, place.serving() as server:
        place.address = place.address.replace("http://", "https://")
        agent = place.agent()
        agent.until(lambda: "does not speak TLS; is its address http://" in agent.said)
        assert state(server, "box") == ""


@pytest.mark.parametrize("broken", ["missing", "mixed", "text"])
def test_a_certificate_that_cannot_be_used_is_refused_with_the_mend(tmp_path: Path, broken: str) -> None:
    certificate, key = make_certificate(tmp_path)
    if broken == "missing":
        key.unlink()
    elif broken == "mixed":
        _, key = make_certificate(tmp_path, "other")
    else:
        certificate.write_text("hello")
    with field(tmp_path) as place:
        secured(place, certificate, key)
        refused = command("serve", "--config", str(place.config), "--dir", str(place.state), cwd=tmp_path)
    assert refused.returncode == 2
    said = "cannot be read: no such file" if broken == "missing" else "are not a certificate and its key"
    assert said in refused.stderr


def test_with_a_certificate_other_machines_may_reach_it(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    with field(tmp_path) as place:
        secured(place, certificate, key)
        with place.serving("--ip", "0.0.0.0", trusted=certificate) as server:
            assert httpx.get(f"{place.address}/ready", verify=ssl.create_default_context(cafile=certificate)).is_success
            assert server.process.poll() is None

"""The client for scripts, against a real server."""

from __future__ import annotations

from pathlib import Path

import pytest

from daggy.client import Client
from daggy.errors import SpecError
from tests.integration.serve_rig import serving


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("nightly.json", '{"tasks": {"a": {"details": {"command": ["pwd"]}}}}'),
        ("nightly.yaml", "tasks:\n  a: {details: {command: [pwd]}}\n"),
        ("nightly.toml", '[tasks.a.details]\ncommand = ["pwd"]\n'),
    ],
)
def test_the_client_submits_a_file_as_the_command_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    with serving(tmp_path / "state") as server, Client(server.address, server.token) as client:
        for path in (Path(name), name):
            ended = client.wait(client.submit(path))
            assert (ended["name"], ended["state"]) == ("nightly", "completed")
            assert b"".join(client.log(ended["run_id"], 0)).decode() == f"{tmp_path}\n"
        (tmp_path / name).write_text("[")
        with pytest.raises(SpecError, match=name):
            client.submit(name)


def test_beyond_the_end_of_what_an_attempt_wrote_there_is_nothing(tmp_path: Path) -> None:
    """Whether it runs or has ended: who reads on while it ends must not fail."""
    gate = tmp_path / "gate"
    shell = f"printf some; while ! test -e {gate}; do sleep 0.05; done"
    with serving(tmp_path / "state") as server, Client(server.address, server.token) as client:
        run = client.submit({"directory": "/", "tasks": {"a": {"details": {"shell": shell}}}})
        server.until(lambda: client.run(run)["counts"]["running"] and b"".join(client.log(run, 0)) == b"some")
        assert b"".join(client.log(run, 0, offset=9)) == b""
        gate.touch()
        client.wait(run)
        assert b"".join(client.log(run, 0, offset=9)) == b""

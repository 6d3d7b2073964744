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

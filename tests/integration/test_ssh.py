"""The ssh executor over a real SSH server on loopback: tasks run there, whatever ends on the way."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.serve_rig import command, shell
from tests.integration.sshd_rig import Sshd, sshd


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Sshd]:
    with sshd(tmp_path / "sshd") as server:
        yield server


def configured(directory: Path, **pools: object) -> str:
    path = directory / "daggy.json"
    path.write_text(json.dumps({"pools": pools}))
    return str(path)


def test_a_run_over_ssh(tmp_path: Path, far: Sshd) -> None:
    script = 'echo {{ N }} >> log; echo out {{ N }}; echo "$SSH_CONNECTION" >> ways'
    spec = {
        "parameters": {"N": {"range": [0, 60]}},
        "tasks": {"many": shell(script), "last": shell("sort -n log > sorted", parents=["many"])},
    }
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    config = configured(tmp_path, lab={"executor": "ssh", **far.settings()})
    ran = command("run", "--config", config, "spec.json", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "sorted").read_text().split() == [str(number) for number in range(60)]
    assert Counter(line.split()[3] for line in (tmp_path / "ways").read_text().splitlines()) == {str(far.port): 60}
    assert not list((far.directory / "far").glob("*/*/*/launchers/*/*"))

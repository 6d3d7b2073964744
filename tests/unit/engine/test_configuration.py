"""Configuration from a file, the environment and flags."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from daggy.engine.configuration import read_configuration
from daggy.errors import DaggyError, PluginError


def written(directory: Path, data: Any, name: str = "daggy.json") -> Path:
    path = directory / name
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


def test_nothing_configured_is_one_pool_with_all_cores() -> None:
    read = read_configuration(None, {})
    assert read.default_pool == "default"
    assert read.pools == {"default": {"executor": "fork", "workers": len(os.sched_getaffinity(0)), "eval": True}}
    assert read.evals == {"default"}
    assert read.tracker == {}
    assert (read.server.ip, read.server.port) == ("127.0.0.1", 2503)


def test_a_pool_executes_source_only_if_it_says_so(tmp_path: Path) -> None:
    assert not read_configuration(None, {}, serving=True).evals
    pools = {"a": {"executor": "fork"}, "b": {"executor": "fork", "eval": True}}
    path = written(tmp_path, {"pools": pools, "default_pool": "a"})
    assert read_configuration(path, {}).evals == {"b"}
    path = written(tmp_path, {"pools": {"a": {"eval": "yes"}}})
    with pytest.raises(PluginError, match=r"pools\.a\.eval: must be true or false, not 'yes'"):
        read_configuration(path, {})


def test_flags_beat_the_environment_which_beats_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, {"pools": {"Big": {"executor": "fork", "workers": 1, "output_bytes": 5}}})
    assert read_configuration(path, {}).pools["Big"]["workers"] == 1
    environment = {"DAGGY_POOLS__BIG__WORKERS": "2", "DAGGY_SERVER": "http://elsewhere", "DAGGY_TASK": "x"}
    assert read_configuration(path, environment).pools == {"Big": {"executor": "fork", "workers": 2, "output_bytes": 5}}
    flagged = read_configuration(path, environment, workers=3, resources={"gpus": 2, "memory_mb": 100})
    assert flagged.pools["Big"] == {
        "executor": "fork", "workers": 3, "output_bytes": 5, "resources": {"gpus": 2}, "memory_mb": 100,
    }  # fmt: skip


def test_a_sole_pool_is_the_default_pool(tmp_path: Path) -> None:
    path = written(tmp_path, {"pools": {"localhost": {"executor": "local"}}})
    read = read_configuration(path, {})
    assert read.default_pool == "localhost"
    assert read.executors()


def test_toml_is_read_by_its_extension(tmp_path: Path) -> None:
    path = written(tmp_path, '[server]\nport = 9000\n[tracker]\ntype = "memory"\n', "daggy.toml")
    read = read_configuration(path, {"DAGGY_SERVER__IP": "::1"})
    assert (read.server.port, read.server.ip, read.tracker) == (9000, "::1", {"type": "memory"})


def test_earlier_spellings_of_the_tracker_are_read(tmp_path: Path) -> None:
    path = written(tmp_path, {"tracker": {"tracker": "Memory"}})
    assert read_configuration(path, {}).tracker == {"type": "Memory"}
    assert read_configuration(path, {}).make_tracker(tmp_path, "sqlite").durable is False


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("[1]", "must be an object"),
        ("{", "is not JSON"),
        ({"pool": {}}, "no setting named 'pool'; did you mean 'pools'?"),
        ({"server": {"port": "many"}}, "server.port: must be a whole number"),
        ({"pools": {"a": {}, "b": {}}}, "several pools and none is the default; name one as 'default_pool'"),
        ({"pools": {"a": {}}, "default_pool": "b"}, "default_pool: no pool named 'b'; there are: a"),
    ],
)
def test_wrong_configurations_are_refused_with_the_mend(tmp_path: Path, data: Any, said: str) -> None:
    with pytest.raises(DaggyError) as caught:
        read_configuration(written(tmp_path, data), {})
    assert said in str(caught.value)
    assert caught.value.exit_code == 2
    assert str(caught.value).startswith(str(tmp_path))


def test_an_unknown_executor_is_refused_before_anything_starts(tmp_path: Path) -> None:
    read = read_configuration(written(tmp_path, {"pools": {"a": {"executor": "frok"}}}), {})
    with pytest.raises(DaggyError, match="no executor named 'frok'; did you mean 'fork'"):
        read.executors()

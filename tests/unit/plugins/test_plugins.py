"""Plug-ins: found by name, refused by name, imported only when used."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from daggy import plugins
from daggy.errors import PluginError
from daggy.executor import Site
from daggy.testing import NoopExecutor
from daggy_memory import MemoryTracker

MODULE = """
from daggy.testing import NoopExecutor
from daggy.executor import Executor
from daggy_memory import MemoryTracker

class Unfinished(Executor):
    Settings = NoopExecutor.Settings

class Unsettled(NoopExecutor):
    Settings = dict

class Vague(MemoryTracker):
    durable = "perhaps"

something = 3
"""

POINTS = """
[daggy.executors]
fork = daggy_odd:NoopExecutor
nothing = daggy_odd:NoSuch
unfinished = daggy_odd:Unfinished
unsettled = daggy_odd:Unsettled
something = daggy_odd:something
broken = daggy_broken:Executor
missing = daggy_missing:Executor

[daggy.trackers]
memory = daggy_memory:MemoryTracker
wrong = daggy_odd:NoopExecutor
vague = daggy_odd:Vague
"""


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install a distribution of odd plug-ins, and nothing else."""
    (tmp_path / "daggy_odd.py").write_text(MODULE)
    (tmp_path / "daggy_broken.py").write_text("raise ZeroDivisionError('oops')")
    info = tmp_path / "daggy_odd-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: daggy-odd\nVersion: 1\n")
    (info / "entry_points.txt").write_text(POINTS)
    elsewhere = [path for path in sys.path if not list(Path(path or ".").glob("daggy-*.dist-info"))]
    monkeypatch.setattr(sys, "path", [str(tmp_path), *elsewhere])
    yield
    for name in ("daggy_odd", "daggy_broken"):
        sys.modules.pop(name, None)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site("default", tmp_path, "x", durable=False)


@pytest.mark.usefixtures("odd")
def test_listing_imports_nothing() -> None:
    assert plugins.TRACKERS.installed() == ("memory", "vague", "wrong")
    assert "daggy_odd" not in sys.modules


@pytest.mark.usefixtures("odd")
def test_a_name_that_is_not_there_says_what_was_meant() -> None:
    with pytest.raises(PluginError) as caught:
        plugins.executor_class("frok")
    assert str(caught.value) == (
        "no executor named 'frok'; did you mean 'fork'? "
        "installed: broken, fork, missing, nothing, something, unfinished, unsettled"
    )
    with pytest.raises(PluginError, match="no tracker named 'x'; installed: memory, vague, wrong"):
        plugins.tracker_class("x")
    assert "daggy_odd" not in sys.modules


@pytest.mark.usefixtures("odd")
@pytest.mark.parametrize("name", ["fork", "local"])
def test_local_is_fork(name: str, site: Site) -> None:
    assert plugins.executor_class(name) is NoopExecutor
    executor = plugins.make_executor(name, {"workers": 3}, site)
    assert executor.capacity()[0].totals == {"cores": 3.0}
    assert executor.name == "fork", "its options are those of its real name"


@pytest.mark.usefixtures("odd")
def test_memory_is_memory_with_a_capital(tmp_path: Path) -> None:
    tracker = plugins.make_tracker("Memory", {}, tmp_path)
    assert isinstance(tracker, MemoryTracker)


@pytest.mark.usefixtures("odd")
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("nothing", "cannot be imported: AttributeError: .*; reinstall 'daggy-odd'"),
        ("missing", "cannot be imported: ModuleNotFoundError: .*daggy_missing.*; reinstall 'daggy-odd'"),
        ("broken", "cannot be imported: ZeroDivisionError: oops; reinstall 'daggy-odd'"),
        (
            "unfinished",
            "'daggy_odd:Unfinished' does not define __init__, capacity, check, fixed, read_log, recover, run",
        ),
        ("unsettled", "'daggy_odd:Unsettled' has no attrs class 'Settings'"),
        ("something", "is not a subclass of 'daggy.executor.Executor'"),
    ],
)
def test_what_is_not_an_executor_is_refused_at_load(name: str, told: str) -> None:
    with pytest.raises(PluginError, match=f"executor '{name}'.*{told}"):
        plugins.executor_class(name)


@pytest.mark.usefixtures("odd")
def test_what_is_not_a_tracker_is_refused_at_load() -> None:
    with pytest.raises(PluginError, match=r"is not a subclass of 'daggy\.tracker\.Tracker'"):
        plugins.tracker_class("wrong")
    with pytest.raises(PluginError, match="does not say whether it is durable"):
        plugins.tracker_class("vague")


@pytest.mark.usefixtures("odd")
def test_settings_are_refused_with_the_pool_named(site: Site) -> None:
    with pytest.raises(
        PluginError, match=r"pool 'default' \(executor 'fork'\): no setting named 'worker'; did you mean"
    ):
        plugins.make_executor("fork", {"worker": 3}, site)


def test_two_distributions_with_one_name_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for owner in ("one", "two"):
        info = tmp_path / f"{owner}-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {owner}\nVersion: 1\n")
        (info / "entry_points.txt").write_text(f"[daggy.executors]\nsame = {owner}:Executor\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PluginError, match="'same' is registered as 'one:Executor' and 'two:Executor'; uninstall one"):
        plugins.executor_class("same")

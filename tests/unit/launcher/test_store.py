"""What launchers keep on a machine for engines that outlive nothing goes when these have gone."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from daggy.launcher.program import store
from daggy.launcher.program.store import OLD, PASSING, Store


def aged(one: Store) -> Path:
    mark = Path(one.root) / PASSING
    past = time.time() - OLD - 10
    os.utime(mark, (past, past))
    return mark


def test_what_a_killed_engine_left_is_removed_and_what_is_kept_stays(tmp_path: Path) -> None:
    left, kept, fresh = (Store(str(tmp_path), name, "pool@box", name != "kept") for name in ("left", "kept", "fresh"))
    aged(left)
    fresh.sweep()
    assert not Path(left.root).exists()
    assert not (tmp_path / "left").exists()
    assert Path(kept.root).exists()
    assert Path(fresh.root).exists()


def test_an_engine_that_is_heard_keeps_what_is_there_for_it(tmp_path: Path) -> None:
    old, other = (Store(str(tmp_path), name, "pool@box", 1) for name in ("old", "other"))
    aged(old)
    old.ping()
    other.sweep()
    assert Path(old.root).exists()


def test_two_who_sweep_at_once_are_not_in_each_others_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left, other = (Store(str(tmp_path), name, "pool@box", 1) for name in ("left", "other"))
    aged(left)

    def gone(folder: str) -> None:
        raise FileNotFoundError(folder)  # the other one was faster

    monkeypatch.setattr(store, "remove", gone)
    other.sweep()
    assert store.listed(str(tmp_path / "nothing")) == []

"""Outputs that a power cut took the end of, found by the crash test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from daggy.attempt import ATTEMPT, LINKED
from daggy.launcher import logs


def test_linked_output_cut_short_by_a_power_cut_says_so(tmp_path: Path) -> None:
    row = np.zeros(1, ATTEMPT)
    row["flags"], row["launcher"], row["pack"], row["stdout"] = LINKED, 1, 2, 10
    home = tmp_path / "runs" / "1" / "packs"
    home.mkdir(parents=True)
    (home / "1.2.stdout").write_bytes(b"0123456789 and what was left behind wrote")
    assert logs.read(tmp_path, 1, 1, row[0], "stdout", 4, 100) == b"456789"
    (home / "1.2.stdout").write_bytes(b"01234567")
    with pytest.raises(ValueError, match="damaged"):
        logs.read(tmp_path, 1, 1, row[0], "stdout", 0, 4)

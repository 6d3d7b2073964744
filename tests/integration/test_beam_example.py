"""The examples that need Beam: a word count between two commands, and the ETL example on a pool of a Beam runner."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.beam_rig import beam_python

EXAMPLES = Path(__file__).parents[2] / "examples"

Daggy = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True)
def _python3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have `python3` be one with Beam."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").write_text(f'#!/bin/sh\nexec {beam_python()} "$@"\n')
    (tmp_path / "bin" / "python3").chmod(0o755)
    monkeypatch.setenv("HOME", str(tmp_path))  # the pool keeps its files below it
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")


def test_the_word_count_is_right(daggy: Daggy, tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("out"))
    ended = daggy("run", "--json", "examples/wordcount/wordcount.json", cwd=tmp_path, timeout=120)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["counts"]["completed"] == 3
    text = "".join(path.read_text() for path in EXAMPLES.glob("discover/sonnets/*.txt"))
    counted = Counter(re.findall(r"[a-z']+", text.lower()))
    out = tmp_path / "examples" / "wordcount" / "out"
    lines = [line.split() for line in (out / "counts.txt").read_text().splitlines()]
    assert {word: int(count) for count, word in lines} == counted
    top = [int(line.split()[0]) for line in (out / "top.txt").read_text().splitlines()]
    assert top == [count for _, count in counted.most_common(5)]


def test_the_etl_example_runs_on_a_beam_pool(daggy: Daggy, tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("out"))
    config = ("--config", "examples/etl/beam.toml")
    ended = daggy("run", "--json", *config, "examples/etl/etl.json", cwd=tmp_path, timeout=240)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["counts"]["completed"] == 60
    with (tmp_path / "examples/etl/out/report.csv").open(newline="") as report:
        rows = list(csv.DictReader(report))
    assert sum(int(row["people"]) for row in rows if row["date"] == "2020-04-01") == 331_449_281
    assert not list((tmp_path / ".cache" / "daggy" / "beam").iterdir())

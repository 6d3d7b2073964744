"""Every example runs as it stands, and does what its line in examples/README.md says."""

import csv
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
Daggy = Callable[..., subprocess.CompletedProcess[str]]

# People by region as the census published them: what the ETL example must find by adding up states.
PUBLISHED = {
    ("2000-04-01", "Northeast"): 53_594_378,
    ("2000-04-01", "Midwest"): 64_392_776,
    ("2000-04-01", "South"): 100_236_820,
    ("2000-04-01", "West"): 63_197_932,
    ("2010-04-01", "Northeast"): 55_317_240,
    ("2010-04-01", "Midwest"): 66_927_001,
    ("2010-04-01", "South"): 114_555_744,
    ("2010-04-01", "West"): 71_945_553,
    ("2020-04-01", "Northeast"): 57_609_148,
    ("2020-04-01", "Midwest"): 68_985_454,
    ("2020-04-01", "South"): 126_266_107,
    ("2020-04-01", "West"): 78_588_572,
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a folder with fresh examples in it, as a checkout has them."""
    shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("out"))
    return tmp_path


def counts(ended: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """Return the counts by state, those that are not zero, of a run that was asked for `--json`."""
    assert ended.stdout, ended.stderr
    run: dict[str, Any] = json.loads(ended.stdout)
    return {state: count for state, count in run["counts"].items() if count}


def test_every_example_is_described() -> None:
    described = (EXAMPLES / "README.md").read_text()
    specs = [str(path.relative_to(EXAMPLES)) for path in EXAMPLES.glob("*/*.json")]
    assert [spec for spec in specs if f"({spec})" not in described] == []


@pytest.mark.parametrize("spec", sorted(EXAMPLES.glob("*/*.json")), ids=lambda spec: str(spec.stem))
def test_example_is_a_good_spec_without_warnings(spec: Path, daggy: Daggy, checkout: Path) -> None:
    checked = daggy("check", str(spec), cwd=checkout)
    assert checked.returncode == 0, checked.stderr
    assert "warning" not in checked.stderr


def test_etl_finds_what_the_census_published(daggy: Daggy, checkout: Path) -> None:
    ended = daggy("run", "--json", "examples/etl/etl.json", cwd=checkout)
    assert ended.returncode == 0, ended.stderr
    assert counts(ended) == {"completed": 60}
    with (checkout / "examples/etl/out/report.csv").open(newline="") as report:
        rows = list(csv.DictReader(report))
    assert {(row["date"], row["region"]): int(row["people"]) for row in rows} == PUBLISHED
    for date in ("2000-04-01", "2010-04-01", "2020-04-01"):
        assert sum(int(row["house_seats"]) for row in rows if row["date"] == date) == 435


@pytest.mark.parametrize("dates", [100, pytest.param(10_000, marks=pytest.mark.mill)])
def test_diamond_completes_over_all_its_dates(dates: int, daggy: Daggy, checkout: Path) -> None:
    lines = checkout / "examples/diamond/dates.txt"
    lines.write_text("".join(lines.read_text().splitlines(keepends=True)[:dates]))
    ended = daggy("run", "--json", "examples/diamond/diamond.json", cwd=checkout, timeout=300)
    assert ended.returncode == 0, ended.stderr
    assert counts(ended) == {"completed": 4 * dates}


def test_discover_counts_the_words_of_every_sonnet(daggy: Daggy, checkout: Path) -> None:
    ended = daggy("run", "--json", "examples/discover/discover.json", cwd=checkout)
    assert ended.returncode == 0, ended.stderr
    assert counts(ended) == {"completed": 6}
    words = sum(len(path.read_text().split()) for path in EXAMPLES.glob("discover/sonnets/*.txt"))
    assert (checkout / "examples/discover/out/total").read_text() == f"{words} words\n"


def test_sweep_is_mended_by_an_edit_and_goes_on(daggy: Daggy, checkout: Path) -> None:
    command = ["run", "--json", "--dir", "sweep-state"]
    broken = daggy(*command, "examples/sweep/sweep.json", cwd=checkout)
    assert broken.returncode == 1, broken.stderr
    assert counts(broken) == {"completed": 8, "errored": 1, "upstream_failed": 1}
    results = {path: path.stat().st_mtime_ns for path in (checkout / "examples/sweep/out").iterdir()}

    mended = daggy(*command, "-p", "RATE=0.05,0.15,0.18", "examples/sweep/sweep.json", cwd=checkout)
    assert mended.returncode == 0, mended.stderr
    assert counts(mended) == {"completed": 10}
    assert {path: path.stat().st_mtime_ns for path in results} == results, "a completed task ran again"
    best = daggy("logs", "last", "best", "--dir", "sweep-state", cwd=checkout)
    assert "61 steps with rate 0.15 and momentum 0.5" in best.stdout


def test_study_finds_the_order_of_each_method(daggy: Daggy, checkout: Path) -> None:
    ended = daggy("run", "--json", "--dir", "study-state", "examples/study/study.json", cwd=checkout)
    assert ended.returncode == 0, ended.stderr
    told = json.loads(daggy("result", "--json", "--dir", "study-state", "last", cwd=checkout).stdout)
    drifts = {one["name"]: one["result"]["drift"] for one in told}
    assert len(drifts) == 10
    best = {"method": "runge-kutta", "step": 0.1, "steps": 100, "drift": drifts["drift.METHOD:runge-kutta.STEP:0.1"]}
    assert told[-1]["result"] == best
    falls = {
        method: drifts[f"drift.METHOD:{method}.STEP:0.05"] / drifts[f"drift.METHOD:{method}.STEP:0.025"]
        for method in ("euler", "leapfrog", "runge-kutta")
    }
    assert 2 < falls["euler"] < 3
    assert falls["leapfrog"] == pytest.approx(4, rel=0.05)
    assert falls["runge-kutta"] == pytest.approx(32, rel=0.05)


def test_cleanup_runs_whatever_became_of_the_others(daggy: Daggy, checkout: Path) -> None:
    ended = daggy("run", "--json", "examples/cleanup/cleanup.json", cwd=checkout)
    assert ended.returncode == 1, ended.stderr
    assert counts(ended) == {"completed": 5, "errored": 1, "upstream_failed": 1}
    assert "3 is not to be squared" in ended.stderr
    assert list((checkout / "examples/cleanup/out").iterdir()) == []

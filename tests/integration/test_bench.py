"""The benches do not rot: all of them run in their smallest form, and every row has its line. No time is asserted."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.goals import GOALS, MILLISECONDS, RATE, Goal
from tests.integration.beam_rig import beam_python
from tests.integration.slurm_rig import need_slurm
from tests.integration.sshd_rig import PROGRAM

BENCH = Path(__file__).parents[1] / "bench"


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(BENCH), *arguments], capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.mill
def test_every_row_is_measured(tmp_path: Path) -> None:
    rows = {name for name in GOALS if not name.startswith(("beam.", "slurm."))}
    done = bench("--quick", "--dir", str(tmp_path), *rows)
    assert done.returncode == 0, done.stderr
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line}
    assert rows <= lines.keys()
    unmeasured = {name for name in rows if " -  " in lines[name]}
    without_gcc = {name for name in unmeasured if "no gcc" in lines[name]}
    without_sshd = {name for name in unmeasured if "no sshd" in lines[name]}
    assert unmeasured == without_gcc | without_sshd
    assert bool(without_sshd) is (shutil.which(PROGRAM) is None)
    assert bool(without_gcc) is (shutil.which("gcc") is None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slurm
def test_every_row_of_slurm_is_measured(tmp_path: Path) -> None:
    need_slurm()
    done = bench("--quick", "--dir", str(tmp_path), "slurm.")
    assert done.returncode == 0, done.stderr
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line}
    assert not [name for name in GOALS if name.startswith("slurm.") and " -  " in lines[name]]


@pytest.mark.slow
def test_every_row_of_beam_is_measured(tmp_path: Path) -> None:
    beam_python()
    done = bench("--quick", "--dir", str(tmp_path), "beam.")
    assert done.returncode == 0, done.stderr
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line}
    assert not [name for name in GOALS if name.startswith("beam.") and " -  " in lines[name]]


def test_rows_are_chosen_by_the_beginnings_of_their_names() -> None:
    done = bench("--quick", "--markdown", "plan", "fan")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n| ") == 5
    assert "| the same, 100M tasks | 3 s | 1 s |" in done.stdout


def test_an_unknown_row_is_named_with_those_there_are() -> None:
    done = bench("plans")
    assert done.returncode == 2
    assert re.match(r"no row 'plans'; there are: processes\.memory, ", done.stderr)


@pytest.mark.parametrize(
    ("goal", "ratio"), [(Goal("", RATE, 100.0, None), 0.5), (Goal("", MILLISECONDS, 100.0, None), 2.0)]
)
def test_a_ratio_above_one_is_better_whatever_is_measured(goal: Goal, ratio: float) -> None:
    assert goal.ratio(50.0) == ratio


@pytest.mark.parametrize(
    ("goal", "figure", "verdict"),
    [
        (Goal("", RATE, 5e6, 12e6), 12e6, "stretch"),
        (Goal("", RATE, 5e6, 12e6), 5e6, "met"),
        (Goal("", RATE, 5e6, 12e6), 4.9e6, "missed"),
        (Goal("", MILLISECONDS, 5e-3, 2e-3), 2e-3, "stretch"),
        (Goal("", MILLISECONDS, 5e-3, 2e-3), 2.1e-3, "met"),
        (Goal("", MILLISECONDS, 5e-3, 2e-3), 5.1e-3, "missed"),
        (Goal("", MILLISECONDS, 5e-3, None), 0.0, "met"),
    ],
)
def test_a_verdict_knows_which_way_is_better(goal: Goal, figure: float, verdict: str) -> None:
    assert goal.verdict(figure) == verdict


@pytest.mark.parametrize(
    ("figure", "text"),
    [(12e6, "12M tasks/s"), (450_000, "450k tasks/s"), (1234.5, "1234 tasks/s"), (0.95, "0.95 tasks/s")],
)
def test_figures_have_three_digits(figure: float, text: str) -> None:
    assert RATE.text(figure) == text

"""What Slurm prints and what it takes, as Daggy reads and writes it."""

from __future__ import annotations

import math
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from daggy.executor import Entrance
from daggy_slurm import script, states
from daggy_slurm.cluster import unfit
from daggy_slurm.settings import SlurmSettings, option_of

PARTITIONS = "main*|4:00:00\nbig|infinite\n"
NODES = "main*|8|4000\nbig|8|4000\nbig|64|512000\nbig|16|64000\n"
CONFIG = "AccountingStorageType   = accounting_storage/none\nMaxArraySize            = 1001\n"


@given(st.sets(st.integers(0, 300), min_size=1))
def test_elements_that_wait_are_told_one_by_one(numbers: set[int]) -> None:
    ordered = sorted(numbers)
    parts: list[list[int]] = []
    for number in ordered:
        if parts and parts[-1][-1] == number - 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    listed = ",".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)
    printed = f"51_[{listed}%5]|PENDING|Priority|daggy-a.b|N/A||51\n"
    jobs = list(states.jobs_of(printed))
    assert [job.id for job in jobs] == [f"51_{number}" for number in ordered]
    assert [job.element for job in jobs] == ordered
    assert {job.said for job in jobs} == {"PENDING, Priority"}


def test_what_runs_says_where_and_until_when() -> None:
    job, other = states.jobs_of(
        "51_3|RUNNING|None|daggy-a.b|2026-11-27T23:29:39|n1|54\n"
        "garbage\n"
        "52|FAILED|NonZeroExitCode|x|Unknown|n[2-3]|52\n"
    )  # fmt: skip
    assert (job.id, job.element, job.state, job.nodes, job.said) == ("51_3", 3, "RUNNING", "n1", "RUNNING")
    assert job.end is not None
    assert (other.element, other.end) == (None, None)


@pytest.mark.parametrize(
    ("printed", "seconds"),
    [("infinite", math.inf), ("30", 1800), ("1:30", 90), ("4:00:00", 14400), ("1-00:00:00", 86400), ("2-12", 216000)],
)
def test_limits_are_read(printed: str, seconds: float) -> None:
    assert states.span_of(printed) == seconds


@given(st.floats(1, 1e6))
def test_a_limit_is_never_shorter_than_asked(seconds: float) -> None:
    minutes = int(states.minutes_of(seconds))
    assert minutes * 60 >= seconds > (minutes - 1) * 60 - 1e-6


LOG = "slurmstepd-n1: error: StepId=54.batch exceeded memory limit (413757440 > 104857600), being killed\n"
CGROUP_LOG = (
    "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=54.batch. Some of the step tasks have been OOM.\n"
)


@pytest.mark.parametrize(
    ("state", "number", "log", "ran_out"),
    [
        ("FAILED", "54", LOG, True),
        ("FAILED", "54", CGROUP_LOG, True),
        ("FAILED", "5", LOG, False),
        ("FAILED", "", LOG, False),
        ("FAILED", "54", "", False),
        ("TIMEOUT", "54", LOG, False),
        ("OUT_OF_MEMORY", "54", "", True),
    ],
)
def test_what_its_steps_say_tells_want_of_memory_apart(state: str, number: str, log: str, *, ran_out: bool) -> None:
    assert states.ran_out(states.Job("51_3", state, "JobLaunchFailure", "x", None, "n1", number), log) == ran_out


@pytest.mark.parametrize(
    ("state", "reason", "words"),
    [
        ("PENDING", "JobHeldUser", "scontrol release"),
        ("REQUEUE_HOLD", "None", "scontrol release"),
        ("PENDING", "BadConstraints", "'constraint'"),
        ("PENDING", "PartitionConfig", "partition"),
        ("PENDING", "Priority", ""),
        ("RUNNING", "None", ""),
    ],
)
def test_what_does_not_begin_by_itself_says_what_to_do(state: str, reason: str, words: str) -> None:
    stuck = states.Job("1_0", state, reason, "x", None, "").stuck
    assert bool(stuck) == bool(words)
    assert words in stuck


@pytest.mark.parametrize(
    ("said", "is_uncertain"),
    [
        ("sbatch: Batch job submission failed: Socket timed out on send/recv operation", True),
        ("sbatch: Batch job submission failed: Zero Bytes were transmitted or received", True),
        ("sbatch: Batch job submission failed: Invalid account or account/partition combination specified", False),
        ("sbatch: Batch job submission failed: Unable to contact slurm controller (connect failure)", False),
    ],
)
def test_an_answer_that_did_not_come_is_no_refusal(said: str, *, is_uncertain: bool) -> None:
    assert states.is_uncertain(said) == is_uncertain


@pytest.mark.parametrize("state", sorted(states.OVER))
def test_an_end_is_told_with_slurms_own_word(state: str) -> None:
    job = states.Job("1_0", state, "None", "x", None, "n1")
    assert state in states.meaning_of(job)
    assert "n1" in states.meaning_of(job)
    assert state not in states.QUEUED


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (SlurmSettings(time="4h"), ""),
        (SlurmSettings(time="5h"), "time: 5h is more than partition 'main' allows (4:00:00)"),
        (SlurmSettings(time="5h", partition="big"), ""),
        (SlurmSettings(time="5h", partition="main,big"), ""),
        (SlurmSettings(cores=9), "cores: 9 is more than any node of 'main' has (8)"),
        (SlurmSettings(cores=64, partition="big"), ""),
        (SlurmSettings(cores=65, partition="main,big"), "cores: 65 is more than any node of 'big' has (64)"),
        (
            SlurmSettings(memory_mb=3873),
            "memory_mb: 3873 is more than any node of 'main' has (3872, beside 128 for Daggy's own processes)",
        ),
        (SlurmSettings(partition="no"), "partition: there is no 'no'; there are: big, main"),
        (SlurmSettings(most=1001), "most: 1001 is more than arrays of this cluster may have (MaxArraySize 1001)"),
    ],
)
def test_what_a_site_cannot_serve_is_said(settings: SlurmSettings, words: str) -> None:
    assert unfit(settings, states.limits_of(PARTITIONS, NODES, CONFIG, settings.partition)) == words


def test_a_cluster_without_a_default_partition_wants_one_named() -> None:
    found = states.limits_of(PARTITIONS.replace("*", ""), NODES, CONFIG, "")
    assert unfit(SlurmSettings(), found) == "partition: the cluster has no default; name one of: big, main"


@pytest.mark.parametrize(
    ("argument", "name"), [("--array=1", "array"), ("-a1", "a"), ("--nice=100", "nice"), ("big", ""), ("-n", "n")]
)
def test_options_are_known_by_their_names(argument: str, name: str) -> None:
    assert option_of(argument) == name


@pytest.mark.parametrize(
    "argument",
    ["--array=1-3", "--wrap=true", "-a0", "--time=5", "-o/dev/null", "--export=NONE", "--arr=1-3", "--out=x"],
)
def test_what_daggy_says_itself_is_refused(argument: str) -> None:
    with pytest.raises(ValueError, match="Daggy's own; remove it"):
        SlurmSettings(sbatch=(argument,))


@pytest.mark.parametrize(
    "argument", ["--nice=100", "--nodelist=n1", "--time-min=5", "--ntasks-per-node=8", "--exclusive"]
)
def test_other_options_are_taken(argument: str) -> None:
    assert SlurmSettings(sbatch=(argument,)).sbatch == (argument,)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("lic", "--licenses=lic:{m}", "resources.lic: '--licenses=lic:{m}' must have {n} for the amount"),
        ("lic", "--licenses=lic:{", "resources.lic: .* no other braces"),
        ("lic", "--licenses=lic:{}", "must have {n}"),
        ("lic", "--licenses=lic:{n.x}", "must have {n}"),
        ("lic", "--licenses=lic:{n:d}", "must have {n}"),
        ("lic", "licenses=lic:{n}", "is no option of sbatch; write one such as '--licenses=lic:{n}'"),
        ("lic", "--array={n}", "resources.lic: --array is Daggy's own; remove it"),
        ("lic", "--outp={n}", "resources.lic: --outp is short for --output, which is Daggy's own; remove it"),
        ("gpus", "--gpus={n}", "resources.gpus: Daggy asks for gpus itself; remove it"),
    ],
)
def test_a_need_of_which_sbatch_cannot_be_told_is_refused(name: str, text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SlurmSettings(mode="arrays", resources={name: text})


@pytest.mark.parametrize("text", ["--licenses=lic:{n}", "--exclusive", "-Llic:{n}", "--comment={{{n}}}"])
def test_a_need_may_be_any_other_option(text: str) -> None:
    assert SlurmSettings(mode="arrays", resources={"lic": text}).resources == {"lic": text}


@pytest.mark.parametrize("settings", [{"time": "60s"}, {"time": "2m", "task_time": "61s"}])
def test_an_allocation_leaves_time_for_tasks(settings: Any) -> None:
    with pytest.raises(ValueError, match="time"):
        SlurmSettings(**settings)


def test_a_script_is_valid_shell_whatever_names_it_has(tmp_path: Path) -> None:
    entrance = Entrance("https://10.0.0.1:2504", tmp_path / "it's a certificate", lambda pool, before: pool + before)
    text = script.pilot(SlurmSettings(setup=("module load gcc",)), entrance, "a b'c", "instance", tmp_path / "to ken")
    done = subprocess.run(["sh", "-n"], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "module load gcc" in text

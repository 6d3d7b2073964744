"""`daggy run` as users call it: first runs, resumes, edits, failures, and what is read back from the directory."""

import fcntl
import json
import os
import pty
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Daggy = Callable[..., subprocess.CompletedProcess[str]]

FLAKY = {
    "name": "flaky",
    "tags": {"env": "test"},
    "parameters": {"N": [1, 2, 3]},
    "tasks": {
        "try": {
            "details": {
                "shell": "echo out {{ N }}; echo {{ N }} >> ran; "
                "test {{ N }} -ne 2 || test -e mended || { echo 'not two' >&2; exit 7; }"
            }
        },
        "after": {"details": {"command": ["echo", "after"]}, "parents": ["try"]},
    },
}


@pytest.fixture
def flaky(tmp_path: Path) -> str:
    (tmp_path / "flaky.json").write_text(json.dumps(FLAKY))
    return "flaky.json"


def counts(ended: subprocess.CompletedProcess[str]) -> dict[str, int]:
    run: dict[str, Any] = json.loads(ended.stdout)
    return {state: count for state, count in run["counts"].items() if count}


def ran(tmp_path: Path) -> list[str]:
    return sorted((tmp_path / "ran").read_text().split())


def write(tmp_path: Path, tasks: dict[str, Any], **more: Any) -> str:
    (tmp_path / "spec.json").write_text(json.dumps({"tasks": tasks, **more}))
    return "spec.json"


# What comes of a run, and what is said of it.


def test_a_good_run_says_what_it_did_and_leaves_nothing_behind(daggy: Daggy, tmp_path: Path, flaky: str) -> None:
    (tmp_path / "mended").touch()
    ended = daggy("run", flaky)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == ""
    first, last = ended.stderr.splitlines()
    assert first == "flaky: 4 tasks; the run is not kept, --dir DIR would keep it"
    assert last.startswith("flaky: completed after ")
    assert last.endswith(": 4 completed")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["flaky.json", "mended", "ran"]


def test_quiet_and_good_is_silent(daggy: Daggy, tmp_path: Path, flaky: str) -> None:
    (tmp_path / "mended").touch()
    ended = daggy("run", "-q", flaky)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_a_failure_is_told_with_its_reason_last_lines_and_where_the_rest_is(
    daggy: Daggy, tmp_path: Path, flaky: str
) -> None:
    ended = daggy("run", "--dir", "state", flaky)
    assert ended.returncode == 1
    summary = ended.stderr.partition("flaky: errored after ")[2].splitlines()
    assert summary[0].endswith(": 2 completed, 1 errored, 1 upstream_failed")
    assert summary[1:] == [
        "try.N:2 errored: exit 7",
        "    out 2",
        "    not two",
        "all their output: daggy logs last --state errored --dir state",
        "the same command continues the run",
    ]
    shown = daggy("logs", "last", "--state", "errored", "--dir", "state")
    assert shown.stdout == "out 2\nnot two\n"


def test_failures_beyond_the_first_five_are_counted_and_outputs_cut(daggy: Daggy, tmp_path: Path) -> None:
    talk = {"details": {"shell": "seq 1 30; exit {{ N }}"}}
    spec = write(tmp_path, {"talk": talk}, parameters={"N": {"range": [1, 9]}})
    ended = daggy("run", spec)
    assert ended.returncode == 1
    assert ended.stderr.partition("spec: errored after ")[2].count(" errored: exit ") == 5
    assert ended.stderr.count("\n    ") == 50
    assert "\n    21\n" in ended.stderr
    assert "\n    20\n" not in ended.stderr
    assert "and 3 more errored tasks" in ended.stderr
    assert "the run was not kept" in ended.stderr


def test_nothing_is_printed_as_it_happens_once_the_summary_has_begun(daggy: Daggy, tmp_path: Path) -> None:
    """All fail at once; then the summary reads outputs for longer than from one look at the run to the next."""
    script = (
        f"head -c 60000 /dev/zero | tr '\\0' x; until [ -e {tmp_path}/ready.59 ]; do sleep 0.01; done; exit {{{{ N }}}}"
    )
    talk = {"details": {"shell": f"touch {tmp_path}/ready.{{{{ N }}}}; {script}"}}
    ended = daggy("run", write(tmp_path, {"talk": talk}, parameters={"N": {"range": [1, 60]}}), "-j", "60")
    summary = ended.stderr.partition("spec: errored after ")[2]
    assert summary.count(" errored: exit ") == 5, summary[:2000]


def test_equal_failures_are_one_and_a_run_is_explained_whole(daggy: Daggy, tmp_path: Path) -> None:
    fit = {"expand": ["N"], "details": {"shell": "echo {{ N }}; echo 'FileNotFoundError: out/' >&2; exit 1"}}
    tasks = {"fit": fit, "report": {"details": {"command": ["true"]}, "parents": ["fit"]}}
    spec = write(tmp_path, tasks, parameters={"N": {"range": [0, 36]}})
    ended = daggy("run", "--dir", "state", spec)
    assert ended.returncode == 1
    assert "36 tasks errored: exit 1: FileNotFoundError: out/ (fit.N:" in ended.stderr
    assert ended.stderr.count("FileNotFoundError") == 2
    assert "more errored tasks" not in ended.stderr
    shown = daggy("explain", "last", "--dir", "state").stdout.splitlines()
    assert shown[:2] == ["run 1: errored", "36 tasks of 'fit': errored (fit.N:0, fit.N:1, fit.N:2, …)"]
    assert [line.strip() for line in shown[2:4]] == ["attempt 1 ended: exit 1", "FileNotFoundError: out/"]
    assert shown[4] == "report: upstream_failed"
    groups = json.loads(daggy("explain", "last", "--dir", "state", "--json").stdout)["groups"]
    assert [(group["state"], group["tasks"]) for group in groups] == [("errored", 36), ("upstream_failed", 1)]


def test_earlier_attempts_are_explained(daggy: Daggy, tmp_path: Path, flaky: str) -> None:
    assert daggy("run", "-q", "--dir", "state", flaky).returncode == 1
    (tmp_path / "mended").touch()
    assert daggy("run", "-q", "--dir", "state", flaky).returncode == 0
    told = daggy("explain", "last", "try.N:2", "--dir", "state").stdout
    assert "attempt 1 ended: exit 7" in told
    assert "resumed" in told
    assert "attempt 2 ended: exit 0" in told
    assert "it ran once and completed" in daggy("explain", "last", "try.N:1", "--dir", "state").stdout


def test_output_none_keeps_the_reasons_only(daggy: Daggy, flaky: str) -> None:
    ended = daggy("run", "--output", "none", flaky)
    assert "try.N:2 errored: exit 7" in ended.stderr
    assert "not two" not in ended.stderr


def test_output_all_is_each_output_whole_on_standard_output(daggy: Daggy, tmp_path: Path) -> None:
    tasks = {
        "first": {"details": {"shell": "seq 1 20000"}},
        "second": {"details": {"shell": "echo said; echo complained >&2; exit 1"}, "parents": ["first"]},
    }
    ended = daggy("run", "-q", "--output", "all", write(tmp_path, tasks))
    assert ended.returncode == 1
    assert ended.stdout == "".join(f"{n}\n" for n in range(1, 20001)) + "said\ncomplained\n"


def test_json_is_the_final_run_and_nothing_else_on_standard_output(daggy: Daggy, flaky: str) -> None:
    ended = daggy("run", "--json", flaky)
    assert ended.returncode == 1
    assert counts(ended) == {"completed": 2, "errored": 1, "upstream_failed": 1}
    run = json.loads(ended.stdout)
    assert (run["name"], run["state"], run["tags"], run["version"]) == ("flaky", "errored", {"env": "test"}, 1)
    assert ended.stdout.count("\n") == 1
    assert "not two" in ended.stderr


def test_a_task_that_cannot_start_says_why(daggy: Daggy, tmp_path: Path) -> None:
    ended = daggy("run", write(tmp_path, {"t": {"details": {"command": ["no-such-program"]}}}))
    assert ended.returncode == 1
    assert "t errored: spawn: " in ended.stderr
    assert "no-such-program" in ended.stderr


def test_max_failures_stops_what_has_not_begun(daggy: Daggy, tmp_path: Path) -> None:
    spec = write(tmp_path, {"t": {"details": {"shell": "exit {{ N }}"}}}, parameters={"N": {"range": [1, 101]}})
    ended = daggy("run", "--json", "-j", "1", "-k", "3", spec)
    assert ended.returncode == 1
    found = counts(ended)
    assert 3 <= found["errored"] < 100
    assert found["killed"] == 100 - found["errored"]


def test_tasks_at_once_never_exceed_the_workers(daggy: Daggy, tmp_path: Path) -> None:
    alone = {"details": {"shell": "mkdir lock || exit 1; echo {{ N }}; rmdir lock"}}
    spec = write(tmp_path, {"t": alone}, parameters={"N": {"range": [0, 30]}})
    assert daggy("run", "-j", "1", spec).returncode == 0


def test_a_need_that_no_machine_can_meet_is_refused_before_the_run(daggy: Daggy, tmp_path: Path) -> None:
    spec = write(tmp_path, {"t": {"details": {"command": ["true"]}, "resources": {"gpus": 1}}})
    ended = daggy("run", spec)
    assert ended.returncode == 2
    assert "gpus" in ended.stderr


@pytest.mark.parametrize("options", [{"fork": {}}, {"ssh": {"nice": 5}}, {"fork": {}, "slurm": {"partition": "main"}}])
def test_options_of_other_executors_are_ignored(daggy: Daggy, tmp_path: Path, options: dict[str, Any]) -> None:
    ended = daggy("run", write(tmp_path, {"t": {"details": {"command": ["true"], "options": options}}}))
    assert ended.returncode == 0, ended.stderr


def test_options_that_its_own_executor_does_not_know_are_refused(daggy: Daggy, tmp_path: Path) -> None:
    ended = daggy("run", write(tmp_path, {"t": {"details": {"command": ["true"], "options": {"fork": {"nice": 5}}}}}))
    assert ended.returncode == 2
    assert "tasks.t.details.options.fork: the executor 'fork' has no options" in ended.stderr


def test_a_resource_that_the_machine_is_said_to_have_is_there(daggy: Daggy, tmp_path: Path) -> None:
    spec = write(tmp_path, {"t": {"details": {"command": ["true"]}, "resources": {"gpus": 1}}})
    ended = daggy("run", "--resource", "gpus=1", spec)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("amount", ["gpus=many", "gpus=-1", "gpus=inf", "gpus"])
def test_a_resource_that_is_no_amount_is_bad_usage(daggy: Daggy, flaky: str, amount: str) -> None:
    ended = daggy("run", "--resource", amount, flaky)
    assert ended.returncode == 2
    assert amount in ended.stderr


def test_a_spec_from_standard_input_runs(daggy: Daggy, tmp_path: Path) -> None:
    spec = {"tasks": {"t": {"details": {"shell": "pwd > where"}}}}
    assert daggy("run", "-", stdin=json.dumps(spec)).returncode == 0
    assert (tmp_path / "where").read_text().strip() == str(tmp_path)


# The same command again.


def test_the_same_command_resumes_and_then_has_nothing_to_do(daggy: Daggy, tmp_path: Path, flaky: str) -> None:
    command = ["run", "--json", "--dir", "state", flaky]
    assert daggy(*command).returncode == 1
    assert ran(tmp_path) == ["1", "2", "3"]
    again = daggy(*command)
    assert again.returncode == 1
    assert "flaky: resumed, 2 of 4 tasks to do" in again.stderr
    assert "try.N:2 errored: exit 7 (attempt 2)" in again.stderr
    (tmp_path / "mended").touch()
    mended = daggy(*command)
    assert mended.returncode == 0
    assert counts(mended) == {"completed": 4}
    idle = daggy(*command)
    assert idle.returncode == 0
    assert counts(idle) == {"completed": 4}
    assert "flaky: nothing to do, all 4 tasks are completed" in idle.stderr
    assert ran(tmp_path) == ["1", "2", "2", "2", "3"], "what is completed is not repeated"
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


def test_a_changed_spec_is_an_edit_told_by_template(daggy: Daggy, tmp_path: Path, flaky: str) -> None:
    (tmp_path / "mended").touch()
    assert daggy("run", "-q", "--dir", "state", flaky).returncode == 0
    command = ["run", "--dir", "state", "-p", "N=1,2,3,4", flaky]
    dry = daggy("run", "-n", *command[1:])
    assert dry.returncode == 0
    assert dry.stdout.startswith("flaky.json: an edit, to version 2 of run 1, which is completed\n")
    rows = {line.split()[0]: line.split()[1:7] for line in dry.stdout.splitlines()[2:-1]}
    assert dry.stdout.splitlines()[-1] == "2 tasks to run"
    assert rows["try"] == ["3", "1", "0", "0", "0", "0"]
    assert rows["after"] == ["0", "0", "0", "1", "0", "0"]
    assert ran(tmp_path) == ["1", "2", "3"], "-n runs nothing"
    edited = daggy(*command)
    assert edited.returncode == 0, edited.stderr
    assert "flaky: edited, 2 of 5 tasks to do" in edited.stderr
    assert "TEMPLATE" in edited.stderr
    assert ran(tmp_path) == ["1", "2", "3", "4"]
    shown = json.loads(daggy("show", "last", "--json", "--dir", "state").stdout)
    assert (shown["run_id"], shown["version"], shown["state"]) == (1, 2, "completed")


def test_dry_run_answers_in_json_with_the_difference(daggy: Daggy, tmp_path: Path, flaky: str) -> None:
    plan = json.loads(daggy("run", "-n", "--json", "--dir", "state", flaky).stdout)
    assert (plan["tasks"], plan["edges"]) == (4, 3)
    assert not (tmp_path / "state").exists()
    assert daggy("run", "-q", "--dir", "state", flaky).returncode == 1
    shown = json.loads(daggy("run", "-n", "--json", "--dir", "state", "-p", "N=1,2", flaky).stdout)
    assert shown["version"] == 2
    (row,) = [row for row in shown["templates"] if row["name"] == "try"]
    assert (row["kept"], row["again"], row["added"], row["removed"]) == (1, 1, 0, 1)
    assert shown["to_run"] == 2
    assert row["why"] == [{"cause": "resumed", "tasks": 1, "examples": [1]}]


def test_rerun_runs_again_with_what_is_downstream(daggy: Daggy, tmp_path: Path, flaky: str) -> None:
    (tmp_path / "mended").touch()
    assert daggy("run", "-q", "--dir", "state", flaky).returncode == 0
    again = daggy("run", "--dir", "state", "--rerun", "try.N:3", flaky)
    assert again.returncode == 0
    assert "2 of 4 tasks to do" in again.stderr
    assert ran(tmp_path) == ["1", "2", "3", "3"]
    told = daggy("explain", "last", "after", "--dir", "state").stdout
    assert "invalidated: try.N:3 runs again" in told
    wrong = daggy("run", "--dir", "state", "--rerun", "tyr", flaky)
    assert wrong.returncode == 2
    assert "no task named 'tyr'; did you mean 'try'?" in wrong.stderr
    loose = daggy("run", "--rerun", "try", flaky)
    assert loose.returncode == 2
    assert "name its directory with --dir" in loose.stderr


def test_another_spec_is_refused_in_a_directory_that_holds_a_run(daggy: Daggy, tmp_path: Path, flaky: str) -> None:
    (tmp_path / "mended").touch()
    assert daggy("run", "-q", "--dir", "state", flaky).returncode == 0
    other = write(tmp_path, {"t": {"details": {"command": ["true"]}}})
    for command in (["run"], ["run", "-n"]):
        ended = daggy(*command, "--dir", "state", other)
        assert ended.returncode == 2
        assert "holds the run 'flaky', and this spec is 'spec'; keep it in another one with --dir" in ended.stderr


def test_a_directory_in_use_is_refused_and_still_readable(daggy: Daggy, tmp_path: Path, flaky: str) -> None:
    assert daggy("run", "-q", "--dir", "state", flaky).returncode == 1
    with (tmp_path / "state" / "lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ended = daggy("run", "--dir", "state", flaky)
        assert ended.returncode == 3
        assert "is in use by process " in ended.stderr
        assert daggy("ls", "--dir", "state").returncode == 0


# Looking at what was kept.


def test_looking_commands_answer_in_json_with_the_shapes_of_the_api(daggy: Daggy, flaky: str) -> None:
    assert daggy("run", "-q", "--dir", "state", flaky).returncode == 1

    def asked(*command: str) -> Any:
        ended = daggy(*command, "--json", "--dir", "state")
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    listed = asked("ls")
    assert [run["run_id"] for run in listed["items"]] == [1]
    assert asked("ls", "--tag", "env=prod")["items"] == []
    assert asked("ls", "--state", "errored", "--since", "1h")["next"] is None
    page = asked("tasks", "last", "--limit", "3")
    assert [task["name"] for task in page["items"]] == ["try.N:1", "try.N:2", "try.N:3"]
    rest = asked("tasks", "last", "--cursor", str(page["next"]))
    assert [task["name"] for task in rest["items"]] == ["after"]
    assert [task["index"] for task in asked("tasks", "1", "--param", "N=2")["items"]] == [1]
    (said,) = asked("explain", "last", "after")
    assert said["state"] == "upstream_failed"
    assert said["because"][0]["examples"][0]["name"] == "try.N:2"
    (wrote,) = asked("logs", "last", "1")
    assert (wrote["stdout"], wrote["stderr"]) == ("out 2\n", "not two\n")


def test_logs_of_several_tasks_have_headers_errored_ones_first(daggy: Daggy, flaky: str) -> None:
    assert daggy("run", "-q", "--dir", "state", flaky).returncode == 1
    assert daggy("run", "-q", "--dir", "state", flaky).returncode == 1
    shown = daggy("logs", "last", "try", "--stream", "stdout", "--dir", "state")
    assert shown.stdout == (
        "==> try.N:2 attempt 2 exit 7 <==\nout 2\n"
        "==> try.N:1 attempt 1 exit 0 <==\nout 1\n"
        "==> try.N:3 attempt 1 exit 0 <==\nout 3\n"
    )
    first = daggy("logs", "last", "try.N:2", "--attempt", "1", "--stream", "stderr", "--dir", "state")
    assert first.stdout == "not two\n"
    none = daggy("logs", "last", "try.N:2", "--attempt", "9", "--dir", "state")
    assert none.returncode == 2
    assert "has no attempt 9 to show" in none.stderr


def test_logs_show_twenty_tasks_unless_all_are_asked_for(daggy: Daggy, tmp_path: Path) -> None:
    spec = write(tmp_path, {"t": {"details": {"command": ["seq", "{{ N }}"]}}}, parameters={"N": {"range": [1, 26]}})
    assert daggy("run", "-q", "--dir", "state", spec).returncode == 0
    some = daggy("logs", "last", "t", "--dir", "state")
    assert some.stdout.count("==>") == 20
    assert "there are more tasks: --all" in some.stderr
    assert daggy("logs", "last", "t", "--all", "--dir", "state").stdout.count("==>") == 25
    assert daggy("logs", "last", "t.N:25", "--tail", "2", "--dir", "state").stdout == "24\n25\n"


def test_an_unknown_run_or_task_is_bad_usage(daggy: Daggy, flaky: str) -> None:
    assert daggy("run", "-q", "--dir", "state", flaky).returncode == 1
    for command, said in (
        (["show", "9"], "no run '9' in "),
        (["show", "nightly"], "no run 'nightly' in "),
        (["explain", "last", "atfer"], "no task named 'atfer'; did you mean 'after'?"),
        (["logs", "last", "try.N:9"], "has N '9'; it has '1', '2', '3'"),
        (["tasks", "last", "--state", "done"], "no state named 'done'; there are: waiting, queued"),
        (["logs", "last", "99"], "no task 99; the run has 4"),
    ):
        ended = daggy(*command, "--dir", "state")
        assert ended.returncode == 2, ended.stderr
        assert said in ended.stderr


def test_commands_that_look_have_a_directory_by_default(daggy: Daggy, tmp_path: Path, flaky: str) -> None:
    home = tmp_path / "state-home" / "daggy"  # where the fixture's XDG_STATE_HOME is
    assert daggy("run", "-q", "--dir", str(home), flaky).returncode == 1
    assert daggy("ls").stdout.count("flaky") == 1


def test_generated_tasks_are_shown_by_their_names(daggy: Daggy, tmp_path: Path) -> None:
    answer = {"parameters": {"C": ["x", "y"]}, "tasks": {"count": {"details": {"command": ["echo", "{{ C }}"]}}}}
    look = {"is_generator": True, "details": {"command": ["echo", json.dumps(answer)]}, "templating": "none"}
    spec = write(tmp_path, {"look": look, "end": {"details": {"command": ["true"]}, "parents": ["look"]}})
    ended = daggy("run", "--json", "--dir", "state", spec)
    assert ended.returncode == 0, ended.stderr
    assert counts(ended) == {"completed": 4}
    assert daggy("logs", "last", "look/count.C:y", "--dir", "state").stdout == "y\n"
    assert daggy("tasks", "last", "--template", "look/count", "--dir", "state").stdout.count("look/count.C:") == 2
    assert "nothing to do" in daggy("run", "--dir", "state", spec).stderr


def test_a_dry_run_shows_what_a_rerun_does_and_runs_nothing(daggy: Daggy, tmp_path: Path, flaky: str) -> None:
    (tmp_path / "mended").touch()
    assert daggy("run", "-q", "--dir", "state", flaky).returncode == 0
    shown = json.loads(daggy("run", "-n", "--json", "--dir", "state", "--rerun", "try.N:3", flaky).stdout)
    why = {row["name"]: row["why"] for row in shown["templates"]}
    assert why["try"] == [{"cause": "requeued", "tasks": 1, "examples": [2]}]
    assert why["after"][0]["cause"] == "invalidated: try.N:3 runs again"
    rows = {row["name"]: (row["kept"], row["again"], row["invalidated"]) for row in shown["templates"]}
    assert rows == {"try": (2, 1, 0), "after": (0, 0, 1)}, "what is requeued is not kept"
    assert shown["to_run"] == 2
    assert ran(tmp_path) == ["1", "2", "3"]
    wrong = daggy("run", "-n", "--dir", "state", "--rerun", "tyr", flaky)
    assert wrong.returncode == 2
    assert "did you mean 'try'?" in wrong.stderr


def test_max_failures_lets_no_more_begin_than_there_are_slots(daggy: Daggy, tmp_path: Path) -> None:
    failing = {"expand": ["N"], "details": {"shell": "exit 1"}}
    (tmp_path / "fail.json").write_text(
        json.dumps({"max_failures": 3, "parameters": {"N": {"range": [0, 200]}}, "tasks": {"a": failing}})
    )
    ended = daggy("run", "--json", "-j", "2", "fail.json")
    assert ended.returncode == 1
    assert 3 <= counts(ended)["errored"] <= 3 + 2
    assert counts(ended)["errored"] + counts(ended)["killed"] == 200


def test_a_file_in_the_way_is_refused_at_once(daggy: Daggy, tmp_path: Path, flaky: str) -> None:
    for name in ("runs", "launchers"):
        directory = tmp_path / f"with-{name}"
        directory.mkdir(mode=0o700)
        (directory / name).touch()
        refused = daggy("run", "--dir", str(directory), flaky)
        assert refused.returncode == 3
        assert f"/{name}'; choose another with --dir" in refused.stderr


def test_a_pools_problem_names_the_file(daggy: Daggy, tmp_path: Path) -> None:
    (tmp_path / "big.json").write_text(
        '{"tasks": {"a": {"resources": {"cores": 999}, "details": {"command": ["true"]}}}}'
    )
    refused = daggy("run", "big.json")
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1].startswith("big.json: tasks.a.resources.cores: needs 999")


def test_a_spec_from_standard_input_is_kept_only_with_a_name(daggy: Daggy, tmp_path: Path) -> None:
    refused = daggy("run", "--dir", "state", "-", stdin='{"tasks": {"a": {"details": {"command": ["true"]}}}}')
    assert refused.returncode == 2
    assert "give it a 'name' to keep it" in refused.stderr


def test_failures_are_printed_as_they_happen_where_nothing_is_redrawn(daggy: Daggy, tmp_path: Path) -> None:
    tasks = {
        "bad": {"details": {"shell": "exit 7"}},
        # ends once the failure of the other is on standard error
        "wait": {"details": {"shell": "until grep -q 'bad errored: exit 7' said; do sleep 0.05; done"}},
    }
    write(tmp_path, tasks)
    program = [sys.executable, "-c", "import sys; from daggy.cli import main; sys.exit(main())"]
    with (tmp_path / "said").open("w") as said:
        ended = subprocess.run(
            [*program, "run", "-j", "2", "spec.json"], cwd=tmp_path, stderr=said, timeout=60, check=False
        )
    assert ended.returncode == 1
    assert (tmp_path / "said").read_text().count("bad errored: exit 7") == 2, "when it happens, and at the end"


def test_an_edit_that_removes_tasks_is_said_and_asked_about_on_a_terminal(daggy: Daggy, tmp_path: Path) -> None:
    spec = write(tmp_path, {"t": {"details": {"command": ["echo", "{{ N }}"]}}}, parameters={"N": [1, 2]})
    assert daggy("run", "-q", "--dir", "state", "-p", "N=1,2,3,4", spec).returncode == 0
    program = [sys.executable, "-c", "import sys; from daggy.cli import main; sys.exit(main())"]
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*program, "run", "--dir", "state", spec], cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=theirs
    ) as asking:
        os.close(theirs)
        seen = b""
        while b"[y/N]" not in seen:
            seen += os.read(ours, 4096)
        os.write(ours, b"n\n")
        assert asking.wait(60) == 2
    os.close(ours)
    assert b"this edit removes 2 tasks of 't'; continue?" in seen
    assert json.loads(daggy("show", "last", "--json", "--dir", "state").stdout)["version"] == 1
    said = daggy("run", "--dir", "state", spec)
    assert said.returncode == 0
    assert "this edit removes 2 tasks of 't'; was a parameter (-p) forgotten?" in said.stderr
    assert json.loads(daggy("show", "last", "--json", "--dir", "state").stdout)["counts"]["completed"] == 2

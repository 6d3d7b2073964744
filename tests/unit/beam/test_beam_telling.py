"""What people are told of a job: names, errors, metrics, options."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from daggy_beam.choices import Complaint, chosen, find, unknown
from daggy_beam.note import Note, noted_before
from daggy_beam.telling import ROOM, fitting, own_traceback, session_of, totals

FAILED = """\
Traceback (most recent call last):
  File "apache_beam/runners/common.py", line 1512, in apache_beam.runners.common.DoFnRunner.process
  File "/jobs/count.py", line 4, in halve
    return 1 / n
           ~~^~~
ZeroDivisionError: division by zero

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/jobs/count.py", line 9, in <module>
    pipeline | beam.Map(halve)
  File "/lib/apache_beam/pipeline.py", line 652, in __exit__
    self.result = self.run()
  [Previous line repeated 3 more times]
  File "apache_beam/runners/common.py", line 1512, in apache_beam.runners.common.DoFnRunner.process
  File "/jobs/count.py", line 4, in halve
    return 1 / n
           ~~^~~
ZeroDivisionError: division by zero [while running 'Map(halve)']
"""

OWN = """\
Traceback (most recent call last; 3 other frames left out):
  File "/jobs/count.py", line 4, in halve
    return 1 / n
           ~~^~~
ZeroDivisionError: division by zero [while running 'Map(halve)']"""


@pytest.mark.parametrize(
    ("ticket", "name"),
    [("0a1b:7.2.31.4.1", "0a1b-7-31-1"), ("a:b:7.2.31.4.1", "a:b-7-31-1"), ("", ""), ("x", ""), ("x:1.2", "")],
)
def test_a_session_is_instance_run_index_and_attempt(ticket: str, name: str) -> None:
    assert session_of(ticket) == name


def test_a_traceback_is_what_the_user_wrote() -> None:
    assert own_traceback(FAILED) == OWN
    nested = f"RuntimeError: Error processing instruction 3. Original traceback is\n{FAILED}"
    assert own_traceback(nested) == OWN


def test_what_a_runner_in_java_adds_is_left_out() -> None:
    java = f"java.lang.RuntimeException: Error received from SDK harness for instruction 3: {FAILED}"
    assert own_traceback(f"{java}\n\tat org.apache.beam.X.run(X.java:7)\n\t... 3 more\nCaused by: it\n") == OWN


def test_what_is_no_traceback_stays() -> None:
    assert own_traceback("the disk is full\n") == "the disk is full"


def test_an_error_of_beams_alone_keeps_its_words_and_the_line_that_led_to_it() -> None:
    inside = (
        'Traceback (most recent call last):\n  File "/jobs/a.py", line 3, in <module>\n    run()\n'
        '  File "/lib/apache_beam/pipeline.py", line 5, in run\n    x()\nValueError: no such coder\nsecond line\n'
    )
    assert own_traceback(inside).splitlines()[1:] == [
        '  File "/jobs/a.py", line 3, in <module>',
        "    run()",
        "ValueError: no such coder",
        "second line",
    ]
    last = (
        f'{inside}\nTraceback (most recent call last):\n  File "/lib/apache_beam/x.py", line 1, in f\nOSError: gone\n'
    )
    assert own_traceback(last).splitlines()[-1] == "OSError: gone"


def metric(name: str, attempted: Any, committed: Any = None) -> Any:
    key = SimpleNamespace(metric=SimpleNamespace(namespace="n", name=name))
    return SimpleNamespace(key=key, attempted=attempted, committed=committed)


def spread(count: int, sum: int, least: int, most: int) -> Any:
    return SimpleNamespace(count=count, sum=sum, min=least, max=most)


def test_metrics_are_summed_over_steps() -> None:
    found = {
        "counters": [metric("a", 1), metric("a", 5, 2), metric("b", None, None)],
        "distributions": [metric("d", spread(1, 5, 5, 5)), metric("d", spread(2, 3, 1, 2)), metric("e", None)],
        "gauges": [metric("g", SimpleNamespace(value=7))],
    }
    assert totals(found) == {"n/a": 3, "n/d": {"count": 3, "sum": 8, "min": 1, "max": 5}, "n/g": 7}


@pytest.mark.parametrize("count", [0, 1, 500, 20_000])
def test_metrics_fit_and_say_what_does_not(count: int) -> None:
    metrics = {f"näme/{number:05d}": number for number in range(count)}
    kept = fitting(metrics)
    assert len(json.dumps(kept)) < ROOM + 100
    assert len(kept["metrics"]) + kept.get("metrics_left_out", 0) == count
    assert list(kept["metrics"]) == sorted(metrics)[: len(kept["metrics"])]
    assert ("metrics_left_out" in kept) == (count == 20_000)


@pytest.fixture
def actions() -> Sequence[argparse.Action]:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--streaming", action="store_true")
    parser.add_argument("--no_public_ips", dest="public_ips", action="store_false")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--mode", choices=["a", "b"])
    parser.add_argument("--experiment", "--experiments", dest="experiments", action="append")
    parser.add_argument("--labels", type=json.loads)
    return parser._actions


@pytest.mark.parametrize(
    ("name", "value", "set_"),
    [
        ("streaming", True, ("streaming", True)),
        ("streaming", False, ("streaming", False)),
        ("no_public_ips", True, ("public_ips", False)),
        ("no_public_ips", False, ("public_ips", True)),
        ("public_ips", False, ("public_ips", False)),
        ("workers", 3, ("workers", 3)),
        ("workers", "3", ("workers", 3)),
        ("mode", "a", ("mode", "a")),
        ("experiments", ["x", "y"], ("experiments", ["x", "y"])),
        ("experiment", "x", ("experiments", ["x"])),
        ("labels", {"a": 1}, ("labels", {"a": 1})),
    ],
)
def test_an_option_is_set_as_a_flag_would_set_it(
    actions: Sequence[argparse.Action], name: str, value: Any, set_: tuple[str, Any]
) -> None:
    action = find(name, actions)
    assert action is not None
    assert chosen(name, value, action) == set_


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("streaming", "yes", "options.streaming: 'yes' is neither true nor false; it is a switch"),
        ("workers", "many", "options.workers: 'many' cannot be its value: invalid literal"),
        ("workers", [1, 2], "options.workers: a list where one value is expected"),
        ("mode", "c", "options.mode: 'c' cannot be its value; there are: a, b"),
    ],
)
def test_a_wrong_value_is_told(actions: Sequence[argparse.Action], name: str, value: Any, said: str) -> None:
    action = find(name, actions)
    assert action is not None
    with pytest.raises(Complaint) as error:
        chosen(name, value, action)
    assert str(error.value).startswith(said)


def test_an_unknown_option_is_told_with_the_one_that_was_meant(actions: Sequence[argparse.Action]) -> None:
    assert find("worker", actions) is None
    assert str(unknown("worker", actions)).endswith("no option of this name; did you mean 'workers'?")
    assert str(unknown("zzz", actions)).endswith("see the options of the runner and of the program")


def test_a_note_is_replaced_when_something_changes_and_read_by_the_next_attempt(tmp_path: Path) -> None:
    path = tmp_path / "note"
    note = Note(str(path), {"job_id": "j"})
    note.tell(state="RUNNING")
    first = noted_before(str(path))
    assert (first["job_id"], first["state"]) == ("j", "RUNNING")
    before = path.stat().st_ino
    note.tell(state="RUNNING")
    assert path.stat().st_ino == before
    note.tell(metrics={"a": 1})
    assert noted_before(str(path)) == {**first, "metrics": {"a": 1}}
    assert [item.name for item in tmp_path.iterdir()] == ["note"]
    note.tell(runner="FnApiRunner")
    assert json.loads(path.read_text())["message"] == "RUNNING, FnApiRunner, job j"


def test_what_is_no_note_says_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert noted_before("") == noted_before(str(tmp_path)) == {}
    (tmp_path / "bad").write_text('{"beam": 3}')
    assert noted_before(str(tmp_path / "bad")) == {}
    Note("", {}).tell(state="RUNNING")
    Note(str(tmp_path / "no" / "note"), {}).tell(state="RUNNING")
    assert "the note cannot be written" in capsys.readouterr().err


def test_why_a_task_is_ended_is_said_beside_the_note(tmp_path: Path) -> None:
    note = Note(str(tmp_path / "note"), {})
    assert note.why_ended() == "killed"
    (tmp_path / "note.end").write_text("stopped\n")
    assert note.why_ended() == "stopped"

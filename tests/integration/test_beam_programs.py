"""Beam programs as tasks, on FnApiRunner: how they run, and what people are told if they fail."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from daggy.testing import check_kind
from daggy_beam import BeamKind
from tests.integration.beam_rig import GATED, Attempt, beam_python

pytestmark = pytest.mark.slow

HERE = {"runner": "FnApiRunner"}
WORDS = Path(__file__).parents[2] / "examples" / "wordcount"

Run = Callable[..., Attempt]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Run]:
    """Return a function that starts a program's text, in a folder of its own; what still runs is killed at the end."""
    attempts: list[Attempt] = []

    def run(text: str, settings: Mapping[str, Any] = HERE, *arguments: str, **more: Any) -> Attempt:
        (tmp_path / "program.py").write_text(text)
        given = {"file": "program.py", "arguments": arguments, **settings}
        attempts.append(Attempt(tmp_path, given, len(attempts) + 1, **more))
        return attempts[-1]

    yield run
    for attempt in attempts:
        attempt.kill()


def pipeline(steps: str, before: str = "", after: str = "") -> str:
    return f"""\
import apache_beam as beam
{before}
if __name__ == "__main__":
    with beam.Pipeline() as pipeline:
        pipeline | beam.Create(range(5)) | {steps}
{after}
"""


COUNTER = """
class Counted(beam.DoFn):
    def process(self, element):
        beam.metrics.Metrics.counter("test", "elements").inc()
        beam.metrics.Metrics.distribution("test", "values").update(element)
        yield element
"""


def test_a_program_that_ends_well_has_a_note_and_a_result(start: Run) -> None:
    attempt = start(pipeline("beam.ParDo(Counted())", COUNTER, "    print('after')"))
    assert attempt.ended() == 0, attempt.err
    metrics = {"test/elements": 5, "test/values": {"count": 5, "sum": 10, "min": 0, "max": 4}}
    assert attempt.result == {"state": "DONE", "runner": "FnApiRunner", "metrics": metrics}
    told = {key: attempt.note[key] for key in ("state", "runner", "metrics", "endpoint")}
    assert told == {"state": "DONE", "runner": "FnApiRunner", "metrics": metrics, "endpoint": ""}
    assert (attempt.out, attempt.err) == ("after\n", "")


def test_it_runs_without_anything_of_daggys_and_knows_its_arguments_and_session(start: Run) -> None:
    text = "import os, sys; print(__name__, sys.argv, os.environ['DAGGY_SESSION'][:6])"
    attempt = start(text, HERE, "--a", "b c", named=False)
    assert attempt.ended() == 0, attempt.err
    assert attempt.out == "__main__ ['program.py', '--a', 'b c'] local-\n"
    assert attempt.err == "daggy: the program has run no pipeline\n"


def test_a_module_is_found_from_the_directory_as_python_finds_it(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "__init__.py").touch()
    (tmp_path / "jobs" / "other.py").write_text("VALUE = 3\n")
    (tmp_path / "jobs" / "__main__.py").write_text("from jobs.other import VALUE\nfrom . import other\nprint(VALUE)\n")
    attempt = Attempt(tmp_path, {"module": "jobs"})
    assert (attempt.ended(), attempt.out) == (0, "3\n"), attempt.err
    missing = Attempt(tmp_path, {"module": "jobs.nowhere"}, 2)
    assert missing.ended() == 1
    assert missing.err.startswith("daggy: module: there is no module 'jobs.nowhere' in ")


def test_a_failing_function_is_shown_without_beams_frames(start: Run) -> None:
    broken = "def halved(n):\n    return 1 / (n - 3)\n"
    attempt = start(pipeline("beam.Map(halved)", broken))
    assert attempt.ended() == 1
    assert "ZeroDivisionError: division by zero [while running 'Map(halved)']" in attempt.err
    assert 'program.py", line 3, in halved' in attempt.err
    assert "apache_beam" not in attempt.err
    assert len(attempt.err.splitlines()) < 8, attempt.err
    assert attempt.note["state"] == "FAILED"
    assert attempt.result == {"state": "FAILED", "runner": "FnApiRunner", "metrics": {}}


def test_a_failed_pipeline_is_a_failure_even_if_the_program_goes_on(start: Run) -> None:
    careless = """
import apache_beam as beam
try:
    with beam.Pipeline() as pipeline:
        pipeline | beam.Create([0]) | beam.Map(lambda n: 1 / n)
except ZeroDivisionError:
    print("never mind")
with beam.Pipeline() as pipeline:
    pipeline | beam.Create([1])
"""
    attempt = start(careless)
    assert attempt.ended() == 1
    assert attempt.out == "never mind\n"
    assert attempt.err == "a pipeline ended as FAILED, and the program went on\n"


def test_a_program_need_not_wait_for_its_pipeline(start: Run) -> None:
    hasty = "import apache_beam as beam\npipeline = beam.Pipeline()\npipeline | beam.Create([1])\npipeline.run()\n"
    attempt = start(hasty)
    assert attempt.ended() == 0, attempt.err
    assert attempt.result["state"] == "DONE"


def test_a_function_that_cannot_be_pickled_is_said_to_be_so(start: Run) -> None:
    closure = """
def made():
    numbers = (n for n in range(3))
    return lambda n: next(numbers)
"""
    attempt = start(pipeline("beam.Map(made())", closure))
    assert attempt.ended() == 1
    assert "cannot pickle 'generator' object" in attempt.err
    assert "program.py" in attempt.err
    assert len(attempt.err.splitlines()) < 12, attempt.err


def test_a_program_that_fails_by_itself_shows_its_own_traceback_and_exit_code(start: Run) -> None:
    failing = start("def f():\n    raise KeyError('mine')\nf()\n")
    assert failing.ended() == 1
    assert failing.err.endswith("line 2, in f\n    raise KeyError('mine')\nKeyError: 'mine'\n"), failing.err
    assert start("import sys; sys.exit(7)").ended() == 7
    said = start("import sys; sys.exit('no such day')")
    assert (said.ended(), said.err) == (1, "no such day\n")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"runner": "FnApi"}, ""),
        ({"runner": "Fnapirunner2"}, "runner: Beam has no runner 'Fnapirunner2'; there are: DataflowRunner, "),
        ({"runner": "mine.Runner"}, "runner: 'mine.Runner' cannot be loaded: No module named 'mine'"),
        (
            {**HERE, "options": {"direct_num_worker": 2}},
            "options.direct_num_worker: Beam has no option of this name; did you mean 'direct_num_workers'?",
        ),
        ({**HERE, "options": {"direct_num_workers": "x"}}, "options.direct_num_workers: 'x' cannot be its value"),
        ({**HERE, "options": {"streaming": "x"}}, "options.streaming: 'x' is neither true nor false"),
        ({**HERE, "options": {"mine": 3}}, ""),
        ({**HERE, "file": "nowhere.py"}, "file: nowhere.py cannot be read: No such file or directory"),
    ],
)
def test_a_wrong_setting_is_one_line(start: Run, settings: Mapping[str, Any], said: str) -> None:
    own = """
class Own(beam.options.pipeline_options.PipelineOptions):
    @classmethod
    def _add_argparse_args(cls, parser):
        parser.add_argument("--mine", type=int)
"""
    after = "    assert pipeline.options.view_as(Own).mine in (None, 3)"
    attempt = start(pipeline("beam.Map(print)", own, after), settings)
    assert attempt.ended() == (1 if said else 0), attempt.err
    assert attempt.err.startswith(f"daggy: {said}" if said else ""), attempt.err
    assert len(attempt.err.splitlines()) == bool(said)


def test_no_beam_says_what_to_install(start: Run, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    attempt = start("raise SystemExit(9)", {"python": str(bare)})
    assert attempt.ended() == 1
    assert "has no Apache Beam: pip install 'daggy[beam]'" in attempt.err
    assert len(attempt.err.splitlines()) == 1


def test_ten_thousand_counters_are_cut_to_what_fits(start: Run) -> None:
    many = """
class Many(beam.DoFn):
    def process(self, element):
        for number in range(10_000):
            beam.metrics.Metrics.counter("many", "counter-%05d" % number).inc()
        yield element
"""
    attempt = start(pipeline("beam.ParDo(Many())", many))
    assert attempt.ended() == 0, attempt.err
    left_out = 10_000 - len(attempt.result["metrics"])
    assert attempt.result["metrics_left_out"] == attempt.note["metrics_left_out"] == left_out > 0
    assert attempt.result["metrics"]["many/counter-00000"] == 5
    assert all((attempt.place / name).stat().st_size < 65_536 for name in ("note", "result"))
    assert attempt.err == f"daggy: {left_out} metrics have no room in the result\n"


def test_a_pipeline_that_never_ends_dies_with_its_worker(start: Run, tmp_path: Path) -> None:
    attempt = start(GATED, HERE, str(tmp_path), "3")
    attempt.until((tmp_path / "lines").exists)
    assert attempt.end("killed") == 143
    assert attempt.note["state"] == "CANCELLED"


def test_the_kind_keeps_the_rules_of_kinds(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(pipeline("beam.ParDo(Counted())", COUNTER))
    program = {"file": "program.py", "runner": "FnApiRunner", "python": beam_python(), "on_kill": "cancel"}
    check_kind(BeamKind, tmp_path, {**program, "arguments": ["--day", "1"], "options": {"direct_num_workers": 1}})


def test_a_run_of_daggys_has_a_pipeline_between_two_commands(daggy: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(pipeline("beam.ParDo(Counted()) | beam.io.WriteToText('counted')", COUNTER))
    beam = {"file": "program.py", "python": beam_python(), "runner": "FnApiRunner"}
    spec = {
        "directory": str(tmp_path),
        "tasks": {
            "before": {"details": {"command": ["touch", "before"]}},
            "count": {"parents": ["before"], "details": {"beam": beam}},
            "broken": {"parents": ["before"], "details": {"beam": {**beam, "file": "broken.py"}}},
            "after": {"parents": ["count"], "details": {"shell": "cat counted* | wc -l"}},
        },
    }
    (tmp_path / "broken.py").write_text(pipeline("beam.Map(lambda n: n / 0)"))
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    place = ("--dir", str(tmp_path / "state"))
    ended = daggy("run", "--json", "spec.json", *place, timeout=120)
    assert json.loads(ended.stdout)["counts"]["completed"] == 3, ended.stderr
    assert daggy("logs", "last", "after", *place).stdout.split()[-1] == "5"
    told = {"state": "DONE", "runner": "FnApiRunner", "metrics": {"test/elements": 5}}
    found = json.loads(daggy("result", "last", "count", *place).stdout)
    assert {**found, "metrics": {"test/elements": found["metrics"]["test/elements"]}} == told
    assert json.loads(daggy("result", "last", "broken", *place).stdout)["state"] == "FAILED"
    assert "ZeroDivisionError: division by zero [while running" in daggy("logs", "last", "broken", *place).stdout


def test_a_process_that_the_program_forks_is_ended_alone(start: Run) -> None:
    before = """
import multiprocessing, os, time
def nap(end):
    os.write(end, b"x")
    time.sleep(1000)
"""
    after = """
    reading, writing = os.pipe()
    child = multiprocessing.get_context("fork").Process(target=nap, args=(writing,))
    child.start()
    os.read(reading, 1)
    child.terminate()
    child.join()
    print(child.exitcode)
"""
    attempt = start(pipeline("beam.Map(print)", before, after))
    assert attempt.ended() == 0, attempt.err
    assert attempt.out.splitlines()[-1] == "-15"

"""The command line of the fuzzers: one target, guided by coverage, for so many seconds."""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CORPUS = Path(__file__).with_name("corpus")

WORDS = (
    '"tasks"', '"details"', '"command"', '"shell"', '"parents"', '"children"', '"match"', '"task"', '"on"', '"ended"',
    '"parameters"', '"range"', '"zip"', '"environment"', '"directory"', '"defaults"', '"templating"', '"literal"',
    '"none"', '"jinja"', '"expand"', '"timeout"', '"resources"', '"limits"', '"is_generator"', '"retry_on"', '"tags"',
    '"version"', '"name"', '"lines"', '"options"', '"stdin"', '"pool"', '"description"', '"max_retries"', '"x-"', '":',
    '"select"', '"param"', '"state"', '"errored"', "{{", "}}", "{{ A }}", "{{ B }}", "| raw", "run.tags.env", "attempt",
    "1e400", "-0", "\\ud800", "\\u0000", "NaN", "&a", "*a", "<<: *a", "!!", "|-", "|", "join", "replace", "format",
    "<<E", "$((", "${", "case ", "esac", "# ", "in",
)  # fmt: skip
"""What a fuzzer puts into its inputs beside what it finds out itself."""


def main(arguments: Sequence[str]) -> int:
    """Fuzz a target; return the exit code: 0 if nothing was found. What was found is kept under --keep."""
    parser = argparse.ArgumentParser(prog="python tests/hostile", description=__doc__)
    parser.add_argument("target")
    parser.add_argument("--seconds", type=int, default=60, help="how long (60)")
    parser.add_argument("--keep", type=Path, help="where inputs that reach something new are kept, and what was found")
    parser.add_argument("--memory", type=int, default=2048, help="megabytes that may be used (2048)")
    parser.add_argument("--patience", type=int, default=10, help="seconds that one input may take (10)")
    parser.add_argument("--input", type=Path, nargs="*", help="only try these files")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        return _fuzz(asked, Path(scratch))


def _fuzz(asked: argparse.Namespace, scratch: Path) -> int:
    try:
        atheris: Any = importlib.import_module("atheris")
    except ImportError:
        sys.stderr.write("there is no `atheris` here: pip install -e '.[fuzz]'\n")
        return 2
    with atheris.instrument_imports(include=["daggy", "daggy_sqlite", "yaml", "tomllib"]):
        targets = importlib.import_module("tests.hostile.targets")
    run = targets.TARGETS.get(asked.target)
    if run is None:
        sys.stderr.write(f"no target '{asked.target}'; there are: {', '.join(targets.TARGETS)}\n")
        return 2
    kept = asked.keep or scratch / "kept"
    options = [f"-max_total_time={asked.seconds}", f"-rss_limit_mb={asked.memory}", f"-timeout={asked.patience}"]
    options += [f"-dict={_dictionary(scratch)}", f"-artifact_prefix={kept}/found-", "-print_final_stats=1"]
    options += ["-max_len=4096", "-use_value_profile=1"]
    kept.mkdir(parents=True, exist_ok=True)
    places = asked.input or [kept, _seeds(asked.target, scratch), CORPUS / asked.target]
    atheris.Setup([sys.argv[0], *options, *(str(place) for place in places if place.exists())], run)
    atheris.Fuzz()  # ends the process: with 0, or with what libFuzzer says of a finding
    return 0


def _dictionary(scratch: Path) -> Path:
    path = scratch / "words"
    lines = ("".join(f"\\x{byte:02x}" for byte in word.encode()) for word in WORDS)
    path.write_text("".join(f'"{line}"\n' for line in lines))
    return path


def _seeds(target: str, scratch: Path) -> Path:
    seeds = importlib.import_module("tests.hostile.seeds")
    folder = scratch / "seeds"
    folder.mkdir()
    for number, data in enumerate(seeds.SEEDS[target]):
        (folder / str(number)).write_bytes(data)
    return folder

"""Runs a spec from Python: `daggy.run(spec)` in a script or a notebook.

    ended = daggy.run({"tasks": {"hello": {"details": {"command": ["echo", "hello"]}}}}, dir="state")
    print(ended.state, ended.counts)

The run has a process of its own, which is `daggy run`: the caller's signals, threads, event loop and garbage collector
stay as they are, and nothing is printed unless it is asked for.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from attrs import field, frozen

from daggy.errors import SpecError, UnavailableError, UsageError

_INTERRUPTED = 130
_DAGGY = (sys.executable, "-m", "daggy")


@frozen(slots=False)
class Ended:
    """A run that has ended.

    Args:
        state: "completed", or "errored" or "killed" if some task is not completed.
        counts: Number of tasks by state.
        run: The run, in the API's shape.
        directory: Where it is kept; without `dir` a temporary one, which goes with this value.
    """

    state: str
    counts: Mapping[str, int]
    run: Mapping[str, Any] = field(repr=False)
    directory: Path

    @cached_property
    def results(self) -> dict[str, Any]:
        """The JSON values that tasks left, by name; read at the first use.

        Raises:
            UnavailableError: the directory cannot be read any more.
        """
        command = [*_DAGGY, "result", "last", "--dir", str(self.directory), "--json"]
        read = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False)
        if read.returncode == UsageError.exit_code:  # the only task left none
            return {}
        if read.returncode:
            raise UnavailableError(read.stderr.decode(errors="replace").strip())
        return {one["name"]: one["result"] for one in json.loads(read.stdout)}


def run(
    spec: Mapping[str, Any] | str | os.PathLike[str],
    dir: str | os.PathLike[str] | None = None,
    *,
    workers: int | None = None,
    show: bool = False,
) -> Ended:
    """Run a spec until it has ended, as `daggy run` does; Ctrl-C stops it gracefully.

    Args:
        spec: The spec as plain data, or the path of a file.
        dir: Where the run is kept; the same call continues it. None: nowhere. Data without a name is called "run".
        workers: Cores to use. None: all.
        show: Whether progress and failures are printed to standard error.

    Raises:
        SpecError: everything that is wrong with the spec; nothing was run.
        UsageError: the directory holds another run, or some value is not possible.
        UnavailableError: the directory is in use, or cannot be used.
        KeyboardInterrupt: it was interrupted, and has stopped.
    """
    if dir is not None:
        return _ended(spec, Path(dir), workers, show=show)
    directory = Path(tempfile.mkdtemp(prefix="daggy-"))
    try:
        ended = _ended(spec, directory, workers, show=show)
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    weakref.finalize(ended, shutil.rmtree, directory, ignore_errors=True)
    return ended


def _ended(
    spec: Mapping[str, Any] | str | os.PathLike[str], directory: Path, workers: int | None, *, show: bool
) -> Ended:
    command = [*_DAGGY, "run", "--dir", str(directory), "--json", "--yes"]
    command += ["--workers", str(workers)] if workers else []
    command += [] if show else ["--quiet", "--output", "none"]
    source, document = _document(spec)
    process = subprocess.Popen(
        [*command, source],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=None if show else subprocess.PIPE,
        start_new_session=True,  # Ctrl-C comes from here, once
    )
    code, printed, said = _wait(process, document)
    if code == _INTERRUPTED:
        raise KeyboardInterrupt
    if code not in (0, 1) or not printed:
        raise _error(code, said, source, document)
    shape = json.loads(printed)
    return Ended(shape["state"], shape["counts"], shape, directory)


def _document(spec: Mapping[str, Any] | str | os.PathLike[str]) -> tuple[str, bytes]:
    """Return what the command line is given, and what it reads from standard input."""
    from daggy.spec.document import encode  # `import daggy` must not wait for it

    if not isinstance(spec, Mapping):
        return os.fspath(spec), b""
    try:
        return "-", encode({"name": "run", **spec})
    except TypeError as error:
        raise UsageError(f"the spec is no plain data: {error}; use strings, numbers, lists and dicts") from None


def _wait(process: subprocess.Popen[bytes], document: bytes) -> tuple[int, bytes, str]:
    """Return exit code and outputs of a process; it is given Ctrl-C, and is always waited for."""
    given: bytes | None = document
    interrupted = False
    while True:
        try:
            printed, said = process.communicate(given)
        except KeyboardInterrupt:
            interrupted, given = True, None
            process.send_signal(signal.SIGINT)
            continue
        except BaseException:
            process.terminate()
            process.wait()
            raise
        code = _INTERRUPTED if interrupted else process.returncode
        return code, printed, (said or b"").decode(errors="replace").strip()


def _error(code: int, said: str, source: str, document: bytes) -> Exception:
    """Return what is raised for an exit code; a spec that is wrong is read again for its problems."""
    from daggy.plan import plan  # nothing was wrong yet, so that nothing had to wait for these
    from daggy.spec import load_file, parse

    if code == UsageError.exit_code:
        try:
            read = load_file(source, stdin=document)
            plan(parse(read.raw, source=read.source, directory="/"))
        except SpecError as error:
            return SpecError(error.problems, "" if document else error.source)
        return UsageError(said or "see standard error")
    return UnavailableError(said or f"'daggy run' ended with exit code {code}")

"""The worker: runs a Beam program as `python` does, and ends as its job ends. It needs Python 3.8 and Beam."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import signal
import sys
import threading
import traceback
import types
from typing import Any, Dict, NoReturn, Optional

from daggy_beam.choices import Complaint
from daggy_beam.hooks import Work
from daggy_beam.jobs import Job, JobError
from daggy_beam.note import Note, mark_of, noted_before, say
from daggy_beam.telling import own_traceback, session_of

LOUD = (
    "apache_beam.runners.common",
    "apache_beam.runners.portability.local_job_service",
    "apache_beam.runners.worker.sdk_worker",
)
"""Loggers that print the traceback of a pipeline that fails, which is told once, at the end."""


def main(order: Dict[str, Any]) -> NoReturn:
    """Run the program of a task, and exit."""
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    name = session_of(os.environ.get("DAGGY_TICKET", "")) or os.environ.get("DAGGY_SESSION") or "local-%d" % os.getpid()
    os.environ["DAGGY_SESSION"] = name
    before, mark = noted_before(os.environ.get("DAGGY_NOTE_BEFORE", "")), mark_of(order)
    others = before.get("jobs", []) if before.get("order") != mark else []  # the task was edited meanwhile
    if before.get("order") != mark:
        before = {}
    note = Note(os.environ.get("DAGGY_NOTE", ""), before)  # if this attempt is lost too, the next finds the same job
    work = Work(order, note, note.jobs(), name)
    mind_signals(work)  # first: who sees the note may end us
    note.tell(state="STARTING", order=mark)
    need_beam()
    work.install()
    for said in work.drop(others):
        say(said)
    code = run(order, work)
    work.park_if_ending()
    if code:
        for said in work.give_up():
            say(said)
    if not work.jobs:
        note.tell(state="FAILED" if code else "DONE")
    note.tell(jobs=None)  # this attempt has ended by itself: the next one begins anew
    if work.last is not None and work.last.ended.is_set():
        write_result(work.last, work)
    sys.stdout.flush()
    sys.exit(code)


def need_beam() -> None:
    """Import Beam.

    Raises:
        SystemExit: it is not there.
    """
    logging.disable(logging.WARNING)  # it warns of clouds that nobody asked for
    try:
        import apache_beam  # noqa: F401
    except ImportError as error:
        if error.name != "apache_beam":
            say("%s cannot import Apache Beam: %s" % (sys.executable, error))
        else:
            say("%s has no Apache Beam: pip install 'daggy[beam]', or name another `python`" % sys.executable)
        sys.exit(1)
    finally:
        logging.disable(logging.NOTSET)
    for name in LOUD:
        logging.getLogger(name).addFilter(lambda record: record.levelno < logging.ERROR)
    from apache_beam.runners.worker import sdk_worker

    sdk_worker.print = lambda *_, **__: None  # all that it prints is that traceback


def run(order: Dict[str, Any], work: Work) -> int:
    """Run the program and wait for its job; return the exit code."""
    try:
        code = executed(order)
        if code:
            return code
        work.settle()
        if not work.jobs:
            say("the program has run no pipeline")
    except JobError as error:
        sys.stderr.write(own_traceback(str(error)) + "\n")
        return 1
    except BaseException:  # noqa: BLE001 - as the interpreter prints it, without Beam's frames
        work.park_if_ending()
        sys.stderr.write(own_traceback(traceback.format_exc()) + "\n")
        return 1
    return 0


def executed(order: Dict[str, Any]) -> int:
    """Execute the program; return its exit code."""
    try:
        execute(order)
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            return error.code or 0
        say(str(error.code)) if isinstance(error, Complaint) else sys.stderr.write("%s\n" % error.code)
        return 1
    return 0


def execute(order: Dict[str, Any]) -> None:
    """Execute the program as `__main__`, as the interpreter does with `-m` or a file."""
    module = types.ModuleType("__main__")
    if order["file"]:
        path = order["file"]
        sys.path[0] = os.path.dirname(os.path.abspath(path))
        try:
            with open(path, "rb") as file:
                code = compile(file.read(), path, "exec")
        except OSError as error:
            raise Complaint("file: %s cannot be read: %s" % (path, error.strerror)) from None
        module.__file__ = path
    else:
        sys.path[0] = os.getcwd()
        spec = found(order["module"])
        code, module.__spec__, module.__package__ = spec.loader.get_code(spec.name), spec, spec.parent
        module.__file__ = spec.origin
    sys.argv = [module.__file__ or "", *order["arguments"]]
    sys.modules["__main__"] = module
    exec(code, vars(module))  # noqa: S102 - the task's program


def found(name: str) -> Any:
    """Return the spec of a module, or of `__main__` in a package.

    Raises:
        Complaint: there is none that can be run.
    """
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError as error:
        raise Complaint("module: %s" % error) from None
    if spec is not None and spec.submodule_search_locations is not None:
        return found(name + ".__main__")
    if spec is None or spec.loader is None or not hasattr(spec.loader, "get_code"):
        raise Complaint("module: there is no module '%s' in %s" % (name, os.getcwd()))
    return spec


def write_result(job: Job, work: Work) -> None:
    """Write the task's result, unless the program has written one."""
    path: Optional[str] = os.environ.get("DAGGY_RESULT")
    if job.metrics.get("metrics_left_out"):
        say("%d metrics have no room in the result" % job.metrics["metrics_left_out"])
    if not path or (os.path.exists(path) and os.path.getsize(path)):
        return
    result = {"state": job.state, "runner": work.note.told.get("runner", ""), "metrics": {}, **job.metrics}
    with open(path, "w", encoding="utf-8") as file:
        json.dump(result, file)


def mind_signals(work: Work) -> None:
    """Have a thread end the work on TERM, whatever the main thread does at that moment."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)

    def in_child() -> None:
        """Let a process that the program forks end as it would without us: its signals are not ours."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def wait() -> None:
        while os.read(reading, 1) != bytes([signal.SIGTERM]):
            pass
        try:
            for said in work.end(work.note.why_ended()):
                say(said)
            sys.stdout.flush()
        finally:
            os._exit(128 + signal.SIGTERM)

    os.register_at_fork(after_in_child=in_child)
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=wait, daemon=True).start()

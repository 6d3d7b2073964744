"""The note: what is known of a job while it runs, for Daggy and for the next attempt."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
import time
from typing import Any, Dict, List, Mapping

MOST = 10
"""Jobs that are kept in a note."""


class Note:
    """The file `$DAGGY_NOTE`, replaced when something in it changes.

    Args:
        path: Where; empty: nobody wants to know.
        told: What is known already.
    """

    def __init__(self, path: str, told: Mapping[str, Any]) -> None:
        self.path, self.told, self.lock = path, dict(told), threading.Lock()

    def tell(self, **changes: Any) -> None:
        """Change what is known, or forget what is None; `since` says when the state last changed."""
        with self.lock:
            told = {key: value for key, value in {**self.told, **changes}.items() if value is not None}
            if told == self.told:
                return
            if told.get("state") != self.told.get("state"):
                told["since"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            self.told = told
            if self.path:
                self._write()

    def keep(self, number: int, record: Mapping[str, Any]) -> None:
        """Keep how the job of a pipeline, counted from 0, is found again."""
        jobs = self.jobs() + [{} for _ in range(number + 1 - len(self.jobs()))]
        jobs[number] = dict(record)
        self.tell(jobs=jobs[:MOST])

    def jobs(self) -> List[Dict[str, Any]]:
        """Return how jobs are found again: `endpoint`, `name`, `preparation_id`, `loopback`, `job_id` for each."""
        return list(self.told.get("jobs", ()))

    def message(self) -> str:
        """Return the state in a line, for people."""
        job = self.told.get("job_id") and "job %s" % self.told["job_id"]
        return ", ".join(filter(None, [self.told.get("state"), self.told.get("runner"), job]))

    def _write(self) -> None:
        try:
            with open(self.path + ".new", "w", encoding="utf-8") as file:
                json.dump({"message": self.message(), "beam": self.told}, file)
            os.rename(self.path + ".new", self.path)
        except OSError as error:
            say("the note cannot be written: %s" % error)

    def why_ended(self) -> str:
        """Return why this task is being ended: "killed", "timeout" or "stopped"."""
        try:
            with open(self.path + ".end", encoding="utf-8") as file:
                return file.read().strip() or "killed"
        except OSError:
            return "killed"  # so that no job goes on that nobody will look for


def mark_of(order: Mapping[str, Any]) -> str:
    """Return what tells the settings of a task from others."""
    return hashlib.sha256(json.dumps(order, sort_keys=True).encode()).hexdigest()[:16]


def noted_before(path: str) -> Dict[str, Any]:
    """Return what the attempt before noted of its job; empty: nothing."""
    try:
        with open(path, encoding="utf-8") as file:
            told = json.load(file)["beam"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return told if isinstance(told, dict) else {}


def say(text: str) -> None:
    """Print a line for the task's author."""
    sys.stderr.write("daggy: %s\n" % text)
    sys.stderr.flush()

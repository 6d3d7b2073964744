"""Stories played and checked one after the other, and what they survived."""

from __future__ import annotations

import json
import os
import random
import shutil
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from attrs import define, field

from daggy.client import Client
from tests.chaos.answers import check_answers, check_silence, check_submissions, is_told
from tests.chaos.evidence import LOST, Evidence, all_lines, gather
from tests.chaos.invariants import INVARIANTS, History
from tests.chaos.lives import Life
from tests.chaos.play import Play
from tests.chaos.play_command import CommandPlay
from tests.chaos.report import report
from tests.chaos.stage import BrokenError, Stage
from tests.chaos.story import story

BROKEN = "broken"
"""File in the directory of all stories: something is broken, no further story begins."""


@define(eq=False)
class Show:
    """Stories in one process.

    Args:
        home: The directory of all.
        library: What `faults.build` made; it is preloaded.
        counts: What was survived.
    """

    home: Path
    library: Path
    counts: Counter[str] = field(factory=Counter)

    def tell_all(self, seeds: Iterable[int], until: float) -> None:
        """Play stories until the time is up, or something is broken, here or elsewhere."""
        for seed in seeds:
            if time.monotonic() >= until or (self.home / BROKEN).exists() or not self.tell(seed):
                break

    def tell(self, seed: int) -> bool:
        """Play one story and check it; return whether all held. One that did leaves nothing behind."""
        made = story(seed)
        place = self.home / f"story-{seed}"
        place.mkdir()
        stage = Stage(place, self.library, made.workers, leaves=made.leaves)
        play = (CommandPlay if made.is_command else Play)(made, stage)
        told = ""
        try:
            play.play()
            self._count(play, check(play))
        except BrokenError as error:
            told = report(play, error)
        except Exception:  # noqa: BLE001 - the test's own fault, or an answer that nobody could expect
            told = f"seed {seed}, kept in {place}\n{traceback.format_exc()}" + "\n".join(play.told)
        finally:
            stage.close()
        if told:
            print(told, flush=True)
            (place / "report").write_text(told)
            (self.home / BROKEN).touch()
            return False
        shutil.rmtree(place)
        return True

    def _count(self, play: Play, evidences: Sequence[Evidence]) -> None:
        self.counts.update(play.counts)
        self.counts["stories"] += 1
        self.counts["stories of daggy run"] += play.story.is_command
        self.counts["runs"] += len(evidences)
        self.counts["tasks"] += sum(len(evidence.listed) for evidence in evidences)
        self.counts["attempts"] += sum(len(evidence.rows) for evidence in evidences)
        self.counts["attempts lost"] += sum(row.reason == LOST for evidence in evidences for row in evidence.rows)
        self.counts.update({f"calls of {place}": count for place, count in play.stage.board.calls()})


def in_processes(show: Show, first: int, jobs: int, until: float) -> Counter[str]:
    """Play stories in several processes, each its own; return what all of them survived."""
    workers = {}
    for job in range(jobs):
        pid = os.fork()
        if not pid:
            code = 1
            try:
                show.tell_all(range(first + job, 1 << 62, jobs), until)
                (show.home / f"counts-{job}").write_text(json.dumps(show.counts))
                code = 0
            finally:
                os._exit(code)
        workers[pid] = job
    whole: Counter[str] = Counter()
    for pid, job in workers.items():
        _, status = os.waitpid(pid, 0)
        if status:
            (show.home / BROKEN).touch()
        else:
            whole.update(json.loads((show.home / f"counts-{job}").read_text()))
    return whole


def _is_told(life: Life, stage: Stage, client: Client) -> bool:
    return is_told(gather(life, [], stage.state, client))


def check(play: Play) -> list[Evidence]:
    """Check everything after a story; return what there was to know.

    Raises:
        BrokenError: the first thing that does not hold.
    """
    stage = play.stage
    lines = all_lines(stage.oracle)
    client = stage.client
    assert client is not None
    history = History(play.cuts, play.engine_deaths)
    evidences = []
    for life in play.lives:
        stage.until(partial(_is_told, life, stage, client), "the last event agrees", 15.0)
        evidences.append(gather(life, lines.get(life.run, []), stage.state, client))
    for evidence in evidences:
        for invariant in INVARIANTS:
            invariant(evidence, history)
        check_answers(evidence, history, client, stage.home, random.Random(play.story.seed))
    check_submissions(evidences, client)
    code = stage.leave()
    if code != 0:
        raise BrokenError("an engine leaves in order", f"exit code {code}: {stage.said()[-1500:]}")
    stage.until(lambda: not stage.launchers() and not stage.tasks(), "launchers leave with their server", 20.0)
    check_silence(stage)
    return evidences

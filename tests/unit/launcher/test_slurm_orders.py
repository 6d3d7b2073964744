"""What Slurm's programs are told, and what is made of their answers, by a client that only keeps the words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import trio

from daggy.errors import PluginError
from daggy.executor import Entrance, Site, Work
from daggy.launcher.parcels.folder import Item, Parcel
from daggy.launcher.parcels.place import Order, Seen
from daggy.launcher.queues import QueueError, RefusedError
from daggy_slurm import states
from daggy_slurm.arrays import SlurmArrayExecutor, SlurmArrays
from daggy_slurm.client import FailedError
from daggy_slurm.pilots import SlurmQueue
from daggy_slurm.settings import SlurmSettings

POOL = "50% größe"
PARTITIONS = ("main*|4:00:00\nother|infinite\n", "main*|8|4000\n" * 4, "")


class Words:
    """A client that keeps what programs are told; all print the same."""

    def __init__(self, printed: str = "51\n") -> None:
        self.printed = printed
        self.told: list[Sequence[str]] = []

    async def call(self, *argv: str, stdin: str = "") -> str:
        await trio.lowlevel.checkpoint()
        assert not stdin or stdin.startswith("#!")
        self.told.append(argv)
        return self.printed


def said(words: Words, name: str) -> list[str]:
    """The values of an option of the last program."""
    return [one.partition("=")[2] for one in words.told[-1] if one.partition("=")[0] == f"--{name}"]


def arrays(place: Path, words: Words, **settings: Any) -> SlurmArrays:
    chosen = SlurmSettings(mode="arrays", shared=str(place), **settings)
    made = SlurmArrays(chosen, Site(POOL, place, "x", durable=False))
    made.program = place
    made.client = words  # type: ignore[assignment]
    made._said = PARTITIONS
    made.limits = states.limits_of(*PARTITIONS, "")
    return made


def submitted(place: Path, needs: Any = None, options: Any = None, seconds: float = 0.0, **settings: Any) -> Words:
    """Submit a parcel of a thousand tasks."""
    words = Words()
    made = arrays(place, words, **settings)
    order = Order(needs or {}, seconds, options or {})
    items = [Item((1, 1, number, 1, 1)) for number in range(1000)]
    parcel = Parcel(made.folder / "7", place, 7, items, made.each(order), made=0.0)
    assert trio.run(made.submit, parcel, order) == "51"
    return words


def test_an_array_writes_its_log_to_a_folder_whatever_its_name(tmp_path: Path) -> None:
    place = tmp_path / "100%"
    words = submitted(place)
    (output,) = said(words, "output")
    assert output.count("%") == 2 * output.count("%%") > 4
    assert output.replace("%%", "%") == str(arrays(place, words).folder / "7" / "log")


def test_pilots_write_their_logs_to_a_folder_whatever_its_name(tmp_path: Path) -> None:
    place, words = tmp_path / "100%", Words()
    entrance = Entrance("https://10.0.0.1:2504", None, lambda pool, before: pool + before)
    queue = SlurmQueue(SlurmSettings(shared=str(place)), Site(POOL, place, "x", durable=False, entrance=entrance))
    queue.client = words  # type: ignore[assignment]
    trio.run(queue.submit, [0, 2])
    (output,) = said(words, "output")
    folder, _, name = output.rpartition("/")
    assert name == "%A_%a.log"
    assert folder.count("%") == 2 * folder.count("%%")
    assert folder.replace("%%", "%") == str(queue.folder)


@pytest.mark.parametrize(("nodes", "tasks"), [(1, ["1"]), (4, [])])
def test_a_task_has_the_nodes_that_it_asks_for(tmp_path: Path, nodes: int, tasks: list[str]) -> None:
    words = submitted(tmp_path, options={"nodes": nodes})
    assert said(words, "nodes") == [str(nodes)]
    assert said(words, "ntasks") == tasks


def test_what_is_on_its_way_out_is_still_there(tmp_path: Path) -> None:
    words = Words()
    made = arrays(tmp_path, words)
    words.printed = f"51_2|COMPLETING|None|{made.named(7)}|N/A|n1|54\n"
    assert trio.run(made.look) == [Seen(7, "51_2", 2, "COMPLETING")]
    fate = trio.run(made.fate, 7, "51_2")
    assert (fate.is_over, fate.is_ending) == (False, True)


@pytest.mark.parametrize(
    ("most", "seconds", "options", "jobs", "minutes"),
    [
        (1, 0.0, {}, 1000, 1),
        (10, 0.0, {}, 100, 10),
        (1000, 0.0, {}, 5, 240),  # the partition allows four hours
        (10, 600.0, {}, 100, 101),
        (100, 600.0, {}, 44, 231),
        (100, 0.0, {"time": "3h"}, 1000, 180),
        (2, 0.0, {"time": "2h"}, 500, 240),
        (100, 0.0, {"time": "3h", "partition": "other"}, 10, 18000),
    ],
)
def test_the_limit_of_a_job_is_that_of_all_its_tasks(
    tmp_path: Path, most: int, seconds: float, options: Any, jobs: int, minutes: int
) -> None:
    words = submitted(tmp_path, options=options, seconds=seconds, time="1m", tasks_per_job=most)
    assert said(words, "array") == [f"0-{jobs - 1}"]
    assert said(words, "time") == [str(minutes)]


class Site4(Words):
    """Slurm's programs of a cluster of nodes that differ."""

    async def call(self, *argv: str, stdin: str = "") -> str:
        await super().call(*argv, stdin=stdin)
        match argv:
            case ("sinfo", "-h", "-N", *_):
                return "main*|8|4000\nmain*|16|4000\nbig|64|512000\n"
            case ("sinfo", *_):
                return "main*|4:00:00\nbig|1:00:00\n"
        return "MaxArraySize = 1001\n"


@pytest.mark.parametrize(
    ("resources", "timeout", "options", "places", "words"),
    [
        ({"cores": 17.0}, 0.0, {}, "resources.cores", "needs 17, no node of 'main' has more than 16"),
        ({"cores": 65.0}, 0.0, {"partition": "big"}, "resources.cores", "no node of 'big' has more than 64"),
        ({"cores": 64.0}, 7200.0, {"partition": "big"}, "details.timeout", "partition 'big' allows (1:00:00)"),
        ({}, 0.0, {"time": "5h"}, "details.options.slurm.time", "partition 'main' allows (4:00:00)"),
        ({}, 0.0, {"partition": "no"}, "details.options.slurm.partition", "there is no 'no'"),
        ({}, 0.0, {"nodes": 3}, "details.options.slurm.nodes", "needs 3, 'main' has 2"),
        ({"cores": 17.0}, 0.0, {"nodes": 2}, "resources.cores", "needs 17, no node of 'main' has more than 16"),
        ({"cores": 64.0}, 3600.0, {"partition": "big"}, "", ""),
    ],
)
def test_what_no_job_can_do_is_told_at_its_place(
    tmp_path: Path, resources: Any, timeout: float, options: Any, places: str, words: str
) -> None:
    executor = SlurmArrayExecutor(
        SlurmSettings(mode="arrays", shared=str(tmp_path), shared_is_local=True, tasks_per_job=100),
        Site(POOL, tmp_path, "x", durable=False),
    )
    executor._cluster.client = Site4()  # type: ignore[assignment]
    trio.run(executor._cluster.open)
    found = list(executor.check(Work("command", resources, options, is_generator=False, timeout=timeout)))
    assert [one.path for one in found] == ([places] if places else [])
    assert words in "".join(str(one) for one in found)


@pytest.mark.parametrize(("host", "is_refused"), [("127.0.0.1", True), ("[::1]", True), ("10.1.0.7", False)])
def test_pilots_are_not_sent_to_an_address_of_their_own(tmp_path: Path, host: str, *, is_refused: bool) -> None:
    entrance = Entrance(f"https://{host}:2504", None, lambda pool, before: pool + before)
    site = Site("hpc", tmp_path, "x", durable=False, entrance=entrance)
    queue = SlurmQueue(SlurmSettings(shared=str(tmp_path)), site)
    queue.client = Site4()  # type: ignore[assignment]
    local = SlurmQueue(SlurmSettings(shared=str(tmp_path), shared_is_local=True), site)
    local.client = Site4()  # type: ignore[assignment]
    trio.run(local.open)
    if is_refused:
        with pytest.raises(PluginError, match=r"^pool 'hpc': pilots cannot reach .*; set agents.ip"):
            trio.run(queue.open)
    else:
        trio.run(queue.open)


class Failing(Words):
    """A client whose programs fail."""

    async def call(self, *argv: str, stdin: str = "") -> str:
        await super().call(*argv, stdin=stdin)
        raise FailedError(self.printed)


@pytest.mark.parametrize(("said_", "is_refused"), [("Socket timed out on send/recv operation", False), ("no", True)])
def test_a_submission_without_an_answer_may_have_arrived(tmp_path: Path, said_: str, *, is_refused: bool) -> None:
    made = arrays(tmp_path, Failing(f"sbatch: error: {said_}"))
    with pytest.raises(QueueError, match=said_) as raised:
        trio.run(made.ask, ["--parsable"], "")
    assert isinstance(raised.value, RefusedError) == is_refused


def test_tasks_have_all_the_memory_that_they_ask_for(tmp_path: Path) -> None:
    assert said(submitted(tmp_path, {"memory_mb": 300.0}), "mem") == ["332"]
    assert said(submitted(tmp_path), "mem") == []

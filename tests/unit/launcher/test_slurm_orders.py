"""What Slurm's programs are told, and what is made of their answers, by a client that only keeps the words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import trio

from daggy.executor import Entrance, Site
from daggy.launcher.parcels.folder import Item, Parcel
from daggy.launcher.parcels.place import Order, Seen
from daggy_slurm.arrays import SlurmArrays
from daggy_slurm.pilots import SlurmQueue
from daggy_slurm.settings import SlurmSettings

POOL = "50% größe"


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
    return made


def submitted(place: Path, needs: Any = None, options: Any = None, seconds: float = 0.0, **settings: Any) -> Words:
    """Submit a parcel of three tasks."""
    words = Words()
    made = arrays(place, words, **settings)
    parcel = Parcel(made.folder / "7", place, 7, [Item((1, 1, number, 1, 1)) for number in range(3)], 1, made=0.0)
    assert trio.run(made.submit, parcel, Order(needs or {}, seconds, options or {})) == "51"
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

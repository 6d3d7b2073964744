"""A place with a queue of its own, as what sends parcels there sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from attrs import frozen

from daggy.launcher.parcels.folder import Parcel
from daggy.launcher.queues import Fate


@frozen
class Seen:
    """An element of an array as its place sees it.

    Args:
        batch: The number of its parcel.
        job: Its id there.
        element: Its number in the array.
        said: Its state, and why it waits.
        stuck: What a person must do before it can begin; empty if nothing.
    """

    batch: int
    job: str
    element: int
    said: str
    stuck: str = ""


@frozen
class Order:
    """What an array is to be.

    Args:
        needs: Of each of its elements.
        seconds: The most that each of its tasks takes; 0: that is not known.
        options: What `details.options` has for this executor.
    """

    needs: Mapping[str, float]
    seconds: float
    options: Mapping[str, Any]


class Place(Protocol):
    """A place that runs arrays. All raise QueueError; `open` raises PluginError for what can never be."""

    noun: str
    """What the place calls an element, such as "Slurm job"."""

    mend: str
    """What to do if elements end before they begin a task, which then goes out again; empty: it is lost."""

    async def open(self) -> None:
        """Find out whether it can run any."""

    @property
    def largest(self) -> int:
        """Return how many elements an array may have."""

    def each(self, order: Order) -> int:
        """Return how many tasks an element runs, one after the other."""

    async def submit(self, parcel: Parcel, order: Order) -> str:
        """Submit a parcel; return the array's id."""

    async def look(self) -> list[Seen]:
        """Return what waits or runs of this pool."""

    async def cancel(self, batch: int, jobs: Sequence[str]) -> None:
        """Cancel the array of a parcel, or elements of it."""

    async def tell(self, batch: int, jobs: Sequence[str]) -> None:
        """Have elements of a parcel that run look at what is to be ended."""

    async def fate(self, batch: int, job: str) -> Fate:
        """Return how an element ended."""

    def close(self) -> None:
        """Remove the pool's files, once no parcel is left."""

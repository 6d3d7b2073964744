"""A host in a network namespace of its own, which can be cut off from this one and joined again."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

ADDRESS = "10.213.{0}.{1}"


class Network:
    """One host behind a cable."""

    def __init__(self, number: int) -> None:
        self.name, self.cable = f"daggy{os.getpid()}", f"dgy{os.getpid()}"
        self.ours, self.address = ADDRESS.format(number, 1), ADDRESS.format(number, 2)
        self.inside = ["ip", "netns", "exec", self.name]

    def make(self) -> None:
        """Make the namespace and the cable."""
        ip("netns", "add", self.name)
        ip("link", "add", self.cable, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        ip("address", "add", f"{self.ours}/24", "dev", self.cable)
        ip("link", "set", self.cable, "up")
        ip("-n", self.name, "address", "add", f"{self.address}/24", "dev", "eth0")
        ip("-n", self.name, "link", "set", "lo", "up")
        self.join()

    def cut(self) -> None:
        """Let nothing through, without a word to either side."""
        ip("-n", self.name, "link", "set", "eth0", "down")

    def join(self) -> None:
        """Let everything through again."""
        ip("-n", self.name, "link", "set", "eth0", "up")

    def remove(self) -> None:
        """Remove the namespace; the cable goes with it."""
        subprocess.run(["ip", "netns", "del", self.name], check=False, timeout=30)
        subprocess.run(["ip", "link", "del", self.cable], check=False, capture_output=True, timeout=30)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=30)


@contextmanager
def network() -> Iterator[Network]:
    """Make a host; skip where that cannot be done. In CI that is a failure."""
    made = Network(os.getpid() % 250 + 1)
    try:
        made.make()
    except (OSError, subprocess.CalledProcessError) as error:
        made.remove()
        text = f"no network namespace can be made here (root and iproute2 are needed): {error}"
        pytest.fail(text) if os.environ.get("CI") else pytest.skip(text)
    try:
        yield made
    finally:
        made.remove()

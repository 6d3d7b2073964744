"""Whatever bytes come, each reader refuses them with an error that it documents, or reads what they say."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest
from hypothesis import given, settings, strategies as st

from tests.hostile.command import CORPUS, WORDS
from tests.hostile.seeds import SEEDS
from tests.hostile.targets import TARGETS

pytestmark = pytest.mark.slow
PATIENCE = 20
"""Seconds that one input may take, on the slowest machine."""

KEPT = sorted(path for path in CORPUS.glob("*/*") if path.is_file())

EXAMPLES = 4 * (settings.default.max_examples if settings.default else 50)
"""Of each target: most take less than a millisecond."""


@contextlib.contextmanager
def patience(seconds: int = PATIENCE) -> Iterator[None]:
    """Interrupt what does not end by itself."""

    def give_up(number: int, frame: FrameType | None) -> None:
        raise AssertionError(f"this takes more than {seconds} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@st.composite
def damaged(draw: st.DrawFn, whole: list[bytes]) -> bytes:
    """Return one of these with some of it flipped, cut out, doubled, zeroed, or replaced by what readers look for."""
    data = bytearray(draw(st.sampled_from(whole)))
    for kind in draw(st.lists(st.sampled_from(["flip", "cut", "double", "zero", "word", "splice"]), max_size=5)):
        at = draw(st.integers(0, len(data)))
        stop = min(len(data), at + draw(st.integers(1, 64)))
        match kind:
            case "flip" if at < len(data):
                data[at] ^= draw(st.integers(1, 255))
            case "cut":
                del data[at:stop]
            case "double":
                data[at:at] = data[at:stop]
            case "zero":
                data[at:stop] = bytes(stop - at)
            case "word":
                data[at:stop] = draw(st.sampled_from(WORDS)).encode()
            case "splice":
                data[at:] = draw(st.sampled_from(whole))[at:]
    return bytes(data)


def test_every_target_has_something_to_begin_with() -> None:
    assert SEEDS.keys() == TARGETS.keys()
    assert {path.parent.name for path in KEPT} <= TARGETS.keys()


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_as_it_should_be_is_read(name: str) -> None:
    for seed in SEEDS[name]:
        TARGETS[name](seed)


@pytest.mark.parametrize("path", KEPT, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_fuzzers_came_upon_is_read_or_refused(path: Path) -> None:
    with patience():
        TARGETS[path.parent.name](path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_hostile_bytes_are_read_or_refused(name: str) -> None:
    whole = [*SEEDS[name], *(path.read_bytes() for path in KEPT if path.parent.name == name)]

    @settings(max_examples=EXAMPLES)
    @given(damaged(whole) | st.binary(max_size=400) | st.text(max_size=100).map(str.encode))
    def check(data: bytes) -> None:
        with patience():
            TARGETS[name](data)

    check()

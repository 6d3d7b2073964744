"""What is told of machines as they come and go."""

from __future__ import annotations

import logging

import pytest

from daggy.executor import NodeState
from daggy.launcher.standing import Standing


@pytest.mark.parametrize(
    ("state", "level"),
    [
        (NodeState.UP, logging.INFO),
        (NodeState.DRAINING, logging.INFO),
        (NodeState.REFUSED, logging.WARNING),
    ],
)
def test_only_what_is_wrong_is_a_warning(caplog: pytest.LogCaptureFixture, state: NodeState, level: int) -> None:
    with caplog.at_level(logging.INFO):
        Standing("pilot-0", lambda: None).become(state)
    assert [one.levelno for one in caplog.records] == [level]

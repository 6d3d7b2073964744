"""Settings of the agent executor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from daggy.launcher.homecoming import FETCH_BYTES
from daggy.validators import duration, least, one_of


@frozen
class AgentSettings:
    """Settings of a pool of the agent executor.

    Args:
        resources: What its machines may have that tasks ask for; a task that asks for anything else is refused when it
            is submitted. Empty: whatever the agents bring, and such a task waits.
        environment: Variables of every task, under those of its spec.
        inherit: Whether tasks get the environment of their agent (less DAGGY_*) too.
        output_bytes: The most that an attempt may write; 0: no limit.
        lease: How long tasks go on there without a word from here, such as "15m".
        fetch_bytes: The most that an attempt may have written for its output to be copied here once it has ended.
        place: "spread": a task goes where there is most room; "pack": to the first machine with room.
        targets: Refused: in earlier configurations the server called the agents.
    """

    resources: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(factory=dict)
    inherit: bool = True
    output_bytes: int = field(default=0, validator=least(0))
    lease: str = field(default="15m", validator=duration)
    fetch_bytes: int = field(default=FETCH_BYTES, validator=least(0))
    place: str = field(default="spread", validator=one_of("spread", "pack"))
    targets: tuple[Mapping[str, Any], ...] = ()

    def __attrs_post_init__(self) -> None:
        """Refuse addresses of agents."""
        if self.targets:
            raise ValueError(
                "targets: the server does not call agents, they call it; remove 'targets', and start "
                "'daggy agent --server URL' on each of these machines"
            )

"""What an executor is: a plug-in that carries launches to some place and brings reports back."""

from __future__ import annotations

import abc
import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import trio
from attrs import field, frozen

from daggy.attempt import (
    ANSWER as ANSWER,
    ATTEMPT as ATTEMPT,
    LINKED as LINKED,
    REPORT as REPORT,
    STOPPED as STOPPED,
    Kind as Kind,
    Reason as Reason,
    Reports as Reports,
    Rows as Rows,
    Ticket as Ticket,
)
from daggy.errors import DaggyError, Problem


@frozen
class Entrance:
    """Where machines of an engine's pools call in.

    Args:
        url: The server's address, as other machines reach it; empty: only this machine does.
        certificate: A file, in PEM, of what they are to trust; None: what they trust anyway.
        token: Returns a token with which agents join a pool: of the pool's name and a token that was returned before,
            which it is again as long as it counts.
    """

    url: str
    certificate: Path | None
    token: Callable[[str, str], str]


@frozen
class Site:
    """What the engine gives every executor.

    Args:
        pool: The pool's name.
        directory: The state directory, absolute. Outputs go to `runs/<run>/packs/`, launchers live in `launchers/`.
        instance: A random text that tells this directory's processes from every other's.
        durable: Whether finishes must survive the death of the engine (a spool is kept).
        others: The engine's other pools: what these left in the directory is theirs to recover. What is left by a pool
            that is no more is for everyone.
        linger: Whether what runs goes on when the engine dies or leaves, and the next one takes it up. Needs `durable`.
        entrance: Where machines call in; None: nowhere.
    """

    pool: str
    directory: Path
    instance: str
    durable: bool
    others: frozenset[str] = frozenset()
    linger: bool = False
    entrance: Entrance | None = None


@frozen
class Machine:
    """Somewhere that tasks run.

    Args:
        name: Unique in its pool.
        totals: The resources that it has in all; None: the place itself decides what fits, and only `slots` bounds
            what is sent there.
        slots: How many tasks at once, whatever they need; None: as many as fit.
        until: When it goes away (wall clock, seconds since 1970): only tasks that will have ended by then go there.
        untimed: Seconds that a task is taken to need there of which nothing is known: it has no timeout, and none like
            it has ended.
        labels: What tasks may ask for, one of each, and what is not used up.
        open: Whether it takes tasks. One that is silent for a while stays, closed: what it runs is its own.
        ahead: How many tasks, for each that may run at once, may wait there for their turn, however short they are.
            Few where it may be long before they can be asked back: what waits on a silent machine waits with it. None
            where the place has a queue of its own.
    """

    name: str
    totals: Mapping[str, float] | None
    slots: int | None = None
    until: float | None = None
    labels: frozenset[str] = frozenset()
    open: bool = True
    ahead: int = 128
    untimed: float = 0.0


class NodeState(enum.Enum):
    """State of a machine as people see it."""

    UP = "up"
    DRAINING = "draining"
    SILENT = "silent"
    REFUSED = "refused"
    PENDING = "pending"


@frozen
class Node:
    """A machine of a pool as people see it.

    Args:
        name: Unique in its pool.
        state: What it is at this moment.
        since: When it came into this state, seconds since 1970; 0: it has always been in it.
        why: Why it is silent or refused, or what people should know of it; empty otherwise.
        lost_in: Seconds until what a silent machine runs counts as lost; None: it is not silent, or runs nothing.
    """

    name: str
    state: NodeState = NodeState.UP
    since: float = 0.0
    why: str = ""
    lost_in: float | None = None


@frozen
class Arrival:
    """A machine that calls in by itself, as its agent describes it.

    Args:
        name: What it is to be called, unique in its pool.
        instance: A random text that stays the same for one directory of an agent.
        directory: Where things are kept there, absolute.
        work: The directory there that stands for a run's own, absolute.
        resources: What it has for tasks, by name, where that is not to be measured.
        labels: What tasks may ask for, one of each, and what is not used up.
        until: When it takes no more (wall clock, seconds since 1970); None: it stays.
        idle_exit: Seconds without a task after which it leaves; None: it stays.
        job: The batch job that it runs in; empty: none.
    """

    name: str
    instance: str
    directory: str
    work: str
    resources: Mapping[str, float] = field(factory=dict)
    labels: tuple[str, ...] = ()
    until: float | None = None
    idle_exit: float | None = None
    job: str = ""


class JoinError(DaggyError):
    """A machine that calls in is not taken. The text says why, with the mend.

    Args:
        message: The text.
        is_final: Whether trying again is of no use.
    """

    def __init__(self, message: str, *, is_final: bool) -> None:
        """Keep both."""
        super().__init__(message)
        self.is_final = is_final


class Visit(trio.abc.Stream):
    """A connection that a machine has opened: a stream of bytes to and from a relay there, and words beside it."""

    words: trio.MemoryReceiveChannel[Mapping[str, Any]]
    """What its agent says; ends with the connection."""

    @abc.abstractmethod
    async def say(self, word: Mapping[str, Any]) -> None:
        """Say something to its agent, JSON-like; a connection that has ended takes no notice."""


@frozen
class Work:
    """What `check` is told of a template: enough to say that it can never run here."""

    kind: str  # the key of `details` that says what to run: "command" or "shell"
    resources: Mapping[str, float]
    options: Mapping[str, Any] | None  # what `details.options` has for this executor
    is_generator: bool
    timeout: float = 0.0  # seconds; 0: none
    result: bool = False  # whether it may leave a result


class Launch(NamedTuple):
    """One task, rendered and ready to start.

    `argv[0]` is resolved against the task's own PATH and directory. `environment` holds what the spec sets (None
    unsets) together with DAGGY_TASK and DAGGY_PARAM_*; the launcher adds DAGGY_RUN_ID, DAGGY_TASK_INDEX,
    DAGGY_ATTEMPT, DAGGY_TICKET, DAGGY_NOTE and, for a generator, DAGGY_GENERATE, for one that may leave a `result`,
    DAGGY_RESULT, and after an attempt with a `note`, DAGGY_NOTE_BEFORE, the path of a file that holds it, as JSON.
    Times are seconds; timeout 0 is none. `options` is what `details.options` has for this executor, or None.
    """

    index: int  # type: ignore[assignment]  # hides tuple.index, which a launch has no use for
    attempt: int
    argv: list[str]
    environment: dict[str, str | None]
    directory: str
    stdin: str | None = None
    timeout: float = 0.0
    grace: float = 5.0
    generator: bool = False
    result: bool = False
    note: str = ""
    options: Mapping[str, Any] | None = None


@frozen(eq=False)
class Launches:
    """Start these, in this order, never more than `width` of this `lane` at once on this machine.

    Tasks beyond the width wait their turn at the launcher. A lane is a number for one vector of resource `needs`, those
    of one task: the engine sees to it that the widths of all lanes of a machine fit its totals, and lowers a width only
    when nothing of the lane waits there.

    `directory` is the run's own, absolute: a relative directory of a task was joined to it.
    """

    run: int
    version: int
    epoch: int
    machine: str
    lane: int
    width: int
    launches: Sequence[Launch]
    needs: Mapping[str, float] = field(factory=dict)
    directory: str = ""


@frozen
class Recall:
    """Give back, with a RECALLED report each, those of these that have not started; say nothing of the others."""

    tickets: Sequence[Ticket]


@frozen
class Kill:
    """End these: TERM, grace, KILL; what has not started is recalled. `message` goes into the report."""

    tickets: Sequence[Ticket]
    message: str = ""


@frozen
class Ack:
    """All reports of this launcher up to and including `seq` are kept for good: it may forget them."""

    launcher: int
    seq: int


@frozen
class Stop:
    """Daggy stops: recall what waits, end what runs (reason KILLED, flag STOPPED), then `run` returns.

    May come twice: `immediate` sends KILL without grace. `leave`: what runs goes on without an engine and is taken up
    by the next one, where the site lingers.
    """

    immediate: bool = False
    leave: bool = False


@frozen
class GiveUp:
    """Report all that a machine has as lost, with this message: somebody says that it will not come back."""

    machine: str
    message: str


@frozen
class Demand:
    """Ready tasks that find no room: `needs` of each of them, how many, and the seconds that the longest may take, by
    its timeout, or by what such tasks took of late; 0 if neither is known.
    """

    needs: Mapping[str, float]
    tasks: int
    longest: float


@frozen
class Wanted:
    """So much finds no room, for pools that are not `fixed`: in place of what was said before, and nothing at first.

    Sent when a number has changed by more than a tenth, or to or from none; once a second at most.
    """

    demands: Sequence[Demand]


Request = Launches | Recall | Kill | Ack | Stop | GiveUp | Wanted


class Executor(abc.ABC):
    """Carries launches to some place and brings reports back. Submit, observe, cancel; nothing else.

    `Settings` is a frozen attrs class, structured by cattrs from the pool's configuration. An executor that raises is
    closed, and another one made in its place, which is asked to recover what it had.
    """

    Settings: ClassVar[type]

    name: str = ""
    """What it is registered as, set when it is made: its part of `details.options` has this name."""

    reads_state: bool = False
    """Whether its tasks can read files in the state directory, such as lists of results."""

    @abc.abstractmethod
    def __init__(self, settings: Any, site: Site) -> None:
        """Keep what is given; start nothing."""

    @abc.abstractmethod
    def capacity(self) -> Sequence[Machine]:
        """Return the machines that can take work at this moment. Constant for a fixed pool."""

    def machines(self) -> Sequence[str]:
        """Return the names of all machines that this executor has named so far: `place` in its reports is an index
        into them, zero for the first.

        Names are only added, at the end. The default is for executors whose `capacity` is always the same.
        """
        return [machine.name for machine in self.capacity()]

    def nodes(self) -> Sequence[Node]:
        """Return its machines as people see them, also those that take no tasks now."""
        return [Node(machine.name) for machine in self.capacity()]

    @property
    def trouble(self) -> str:
        """Why it cannot carry anything out at this moment, with the mend; empty if all is well."""
        return ""

    def waits(self, ticket: Ticket) -> str:  # noqa: ARG002 - for those that override it
        """Return what the place says of a task that was launched and has not begun, for `daggy explain`: the name of
        its job there, and why it waits. Empty if it says nothing. Asked often, so from memory.
        """
        return ""

    async def forget(self, run: int) -> None:  # noqa: B027 - most keep all in the state directory
        """Remove what lies elsewhere of a run that has been removed; `runs/<run>` of the state directory goes after it.

        May be called while `run` does not run, and again for the same run. It is given 10 s: what it cannot reach by
        then is its own to remember.
        """

    @property
    def placement(self) -> Literal["pack", "spread"]:
        """Where a task goes that fits on several machines: `pack`, to the first of `capacity` that has room, for pools
        that want to give machines back; `spread`, to that with most room for it.
        """
        return "pack"

    @property
    @abc.abstractmethod
    def fixed(self) -> bool:
        """Whether machines never come and go: a need that none can ever meet is then an error at submission."""

    @abc.abstractmethod
    def check(self, work: Work) -> Iterable[Problem]:
        """Return what makes a template impossible here; paths are relative to the template."""

    @abc.abstractmethod
    async def recover(self, epoch: int) -> Reports:
        """Return what earlier launchers of this site still know: FINISHED rows, proven dead ones' unfinished tasks as
        LOST among them, and, with the tickets that they were launched with, STARTED rows for what still runs and HELD
        rows for what lies in a queue of the place and will begin by itself. Each row has the `place` where that was,
        also of a machine that is not in `capacity` at this moment.

        What is HELD stays where it is: later it is reported as if it had been launched now. What was launched and is
        not named here is taken to be gone.

        Called once, before `run`, with the number of the new engine epoch. Kept until acknowledged: called again after
        another crash it says the same.
        """

    @abc.abstractmethod
    async def run(
        self,
        requests: trio.MemoryReceiveChannel[Request],
        report: Callable[[Reports], None],
        changed: Callable[[], None],
    ) -> None:
        """Carry out requests until the channel ends or a Stop is done. Every launch ends in exactly one FINISHED
        or RECALLED report.

        Args:
            requests: What the engine asks for, in order.
            report: Takes a batch; never blocks.
            changed: Says that `capacity` changed.
        """

    @property
    def absence(self) -> str:
        """Why it has no machine, if it has none, with the mend; for people who ask why a task waits."""
        return "it has no machine at this moment"

    @property
    def takes_agents(self) -> bool:
        """Whether machines may call in: `join`."""
        return False

    async def join(self, arrival: Arrival, visit: Visit) -> None:
        """Take a machine that calls in, for as long as its connection lasts.

        May be called while `run` runs, more than once for the same machine: the last connection counts.

        Raises:
            JoinError: it is not taken. The default is for executors that find their machines themselves.
        """
        del visit
        raise JoinError(
            f"the executor '{self.name}' takes no agents; {arrival.name} needs a pool whose executor is 'agent'",
            is_final=True,
        )

    @abc.abstractmethod
    async def read_log(self, run: int, version: int, row: Rows, stream: str, offset: int, limit: int) -> bytes:
        """Return up to `limit` bytes from `offset` of one attempt's output, while it runs or after.

        Args:
            run: The run's id.
            version: The version of the spec that the attempt belongs to.
            row: One ATTEMPT row (a zero-dimensional array or a scalar of that dtype).
            stream: "stdout", "stderr", or "answer" (what a generator said).
            offset: Bytes from the start of that stream.
            limit: Bytes at most.

        Raises:
            FileNotFoundError: the output is gone (its disk, or its pack was dropped).
            ValueError: it is there and its crc is wrong.
        """

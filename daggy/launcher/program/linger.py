"""How a launcher outlives its engine: it goes on, keeps what was not acknowledged, and lets the next engine in by a
socket. Standard library only.
"""

import _socket
import collections
import json
import os
import select
import time
from typing import Any, Deque, Dict, List, Optional, Tuple

from daggy.launcher.program.task import ENDED, WAITING, Key, Lane, Task
from daggy.launcher.program.wire import FINISHED, STARTED, VERSION, Stream

KIND = 8  # where a REPORT has its kind, behind its sequence number
NO_LANE = -1


class Door:
    """A socket in a launcher's folder, and those who came in and have not said who they are."""

    def __init__(self, folder: str) -> None:
        """Listen; the path may be longer than a socket's address, so it is reached through its folder."""
        self.path = folder + "/socket"
        if os.path.exists(self.path):
            os.unlink(self.path)
        home = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        self.socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK)
        self.socket.bind("/proc/self/fd/%d/socket" % home)
        os.chmod(self.path, 0o600)
        self.socket.listen(8)
        os.close(home)
        self.descriptor = self.socket.fileno()
        self.strangers: Dict[int, Stream] = {}

    def knock(self) -> Optional[int]:
        """Take in whoever knocks; return the descriptor to listen to, None if nobody is there any more."""
        try:
            descriptor, _ = self.socket._accept()  # type: ignore[attr-defined] # noqa: SLF001 - the module above is slow
        except OSError:
            return None
        self.strangers[descriptor] = Stream(descriptor, os.dup(descriptor))
        return int(descriptor)

    def hear(self, descriptor: int) -> Tuple[Optional[Stream], List[Tuple[int, bytes]]]:
        """Return a stranger that has spoken, or gone, with what it said; None while it has not."""
        stream = self.strangers[descriptor]
        frames = stream.receive()
        if not frames and stream.open:
            return None, []
        del self.strangers[descriptor]
        return stream, frames


class Lingering:
    """The part of a launcher that later engines meet."""

    stream: Stream
    tasks: Dict[Key, Task]
    lanes: Dict[int, Lane]
    journal: List[bytes]
    held: List[Tuple[bytes, str]]
    told: List[bytes]
    messages: Dict[int, str]
    narrowed: "set[Lane]"
    epoch: int
    number: int
    trouble: str

    def __init__(self) -> None:
        """Begin with an engine."""
        self.door: Optional[Door] = None
        self.kept: Deque[Tuple[bytes, str]] = collections.deque()  # ends that nobody has acknowledged
        self.alone_since = 0.0
        self.linger = 0.0  # seconds without an engine and without work, after which it leaves
        self.full = False  # whether the stream takes no more at the moment

    def recall(self, tasks: List[Task]) -> None:
        """Give back those that have not started."""
        raise NotImplementedError

    def settle(self) -> None:
        """Keep what happened since the last time."""
        raise NotImplementedError

    def tell(self) -> None:
        """Send what may be told."""
        raise NotImplementedError

    def obey(self, kind: int, payload: bytes) -> None:
        """Carry out one command."""
        raise NotImplementedError

    def keep(self, held: List[Tuple[bytes, str]]) -> None:
        """Keep ends for later engines until they are acknowledged."""
        if self.door:
            self.kept.extend(one for one in held if one[0][KIND] == FINISHED)

    def forget(self, seq: int) -> None:
        """Forget the ends up to a sequence number."""
        while self.kept and int.from_bytes(self.kept[0][0][:KIND], "little") <= seq:
            self.kept.popleft()

    def greet(self, stream: Stream, lanes: Tuple[int, ...] = ()) -> None:
        """Say who this is, and in which lanes runs what was told to have started."""
        hello: Dict[str, Any] = {"version": VERSION, "pid": os.getpid(), "epoch": self.epoch, "lanes": lanes}
        stream.send(b"H", json.dumps(hello).encode())

    def visit(self, descriptor: int, poller: "select.poll") -> None:
        """Let in whoever knocks. A hello of no older epoch takes the place of the engine that there was."""
        assert self.door
        if descriptor == self.door.descriptor:
            stranger = self.door.knock()
            if stranger is not None:
                poller.register(stranger, select.POLLIN)
            return
        if descriptor not in self.door.strangers:  # the engine whose place was taken a moment ago
            return
        stream, frames = self.door.hear(descriptor)
        if stream is None:
            return
        poller.unregister(descriptor)
        epoch = self.epoch_of(stream, frames)
        if epoch < 0:
            stream.close()
            return
        self.lose(poller)
        self.stream, self.epoch, self.alone_since = stream, epoch, 0.0
        poller.register(stream.source, select.POLLIN)
        self.welcome()
        for kind, payload in frames[1:]:
            self.obey(kind, payload)

    def epoch_of(self, stream: Stream, frames: List[Tuple[int, bytes]]) -> int:
        """Return the epoch of an engine that is let in, -1 of one that is not: it is told whom it has met."""
        try:
            kind, payload = frames[0]
            order = json.loads(payload) if kind == ord("h") else {}
            version, epoch = order["version"], int(order["epoch"])
        except (IndexError, KeyError, TypeError, ValueError):
            return -1
        if version == VERSION and epoch >= self.epoch:
            return epoch
        self.greet(stream)
        return -1

    def lose(self, poller: "select.poll") -> None:
        """Go on without an engine: what it said and was not read is nothing any more."""
        if self.stream.source >= 0:
            poller.unregister(self.stream.source)
            poller.register(self.stream.sink, 0)  # it may not be there
            poller.unregister(self.stream.sink)
        self.stream.close()
        self.full = False
        self.told.clear()
        self.messages.clear()
        self.narrowed.clear()
        self.alone_since = time.monotonic()

    def welcome(self) -> None:
        """Tell an engine what earlier ones have not acknowledged and what runs; what has not started is its to send.

        What has ended and found no room to be written down is told as running: that it ended will be told once it is
        kept. Lanes begin anew: what ran before counts in none of them.
        """
        self.recall([task for task in self.tasks.values() if task.state == WAITING])
        self.lanes.clear()
        self.settle()
        self.told[:] = [row for row, _ in self.kept]
        self.messages.clear()
        self.messages.update((at, message) for at, (_, message) in enumerate(self.kept) if message)
        running = list(self.tasks.values())
        self.told += [task.row(STARTED, 0, self.number) for task in running]
        unkept = [bytes(KIND) + bytes([STARTED]) + row[KIND + 1 :] for row, _ in self.held if row[KIND] == FINISHED]
        self.told += unkept
        self.tell()
        if self.trouble:
            self.stream.send(b"T", json.dumps(self.trouble).encode())
        self.greet(self.stream, (*(task.lane.number for task in running), *[NO_LANE] * len(unkept)))

    def is_forgotten(self) -> bool:
        """Tell whether there has been no engine and no work for so long that none will come."""
        if not self.alone_since or not self.door:
            return False
        untold = self.tasks or self.held or self.journal
        if any(task.state != ENDED for task in self.tasks.values()) or (untold and os.path.exists(self.door.path)):
            self.alone_since = time.monotonic()  # what cannot be kept now may be later, unless all was removed
        return time.monotonic() > self.alone_since + self.linger

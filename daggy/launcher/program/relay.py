"""The far end of a stream from an engine: carries frames to and from this machine's launchers, and keeps their files.

It answers with a line, MARK, and from there on both ends send frames of `wire`, each payload behind the channel that
it is for. Channel 0 is the relay's own: q, a request in JSON, is answered by a (JSON) or b (bytes). Any other channel
is the launcher of that number, whose frames pass through unread; c closes it, e says that it has ended.

A relay has nothing to lose. The engine that finds it dead starts another one, which finds the launchers by their
sockets.
"""

from __future__ import annotations

import os
import select
import struct
import sys
import time

from daggy.launcher.program.light import TYPE_CHECKING, dumps, loads, signal
from daggy.launcher.program.store import Store, StoreError
from daggy.launcher.program.wire import VERSION, Stream

if TYPE_CHECKING:
    from typing import Any, Callable


CHANNEL = struct.Struct("<I")
MARK = b"\0daggy relay %d\n" % VERSION
LEAVE = 10.0  # seconds for launchers that were told to stop, once the engine has gone
BOOT = "import sys; sys.path.append(sys.argv[1]); from daggy.launcher.program.main import main; main()"
FULL = 1 << 20  # bytes on their way to the engine above which launchers are not read from


class Relay:
    """Serves one engine.

    Args:
        stream: The stream from and to the engine.
        program: Returns the folder that holds the package `daggy`, for launchers.
    """

    def __init__(self, stream: Stream, program: Callable[[], str]) -> None:
        """Begin without launchers."""
        self.stream, self.program = stream, program
        self.store: Store | None = None
        self.launchers: dict[int, Stream] = {}  # by number
        self.pids: dict[int, int] = {}  # number, by process id of those that this relay started
        self.leaving: set[int] = set()  # launchers of which everything is to be removed once they have ended
        self.is_last = False  # whether nothing is to be kept once the engine has gone
        self.poller = select.poll()
        self.waiting: dict[int, int] = {}  # what is polled for, by descriptor
        self.operations: dict[str, Callable[..., Any]] = {
            "open": self.open, "start": self.start, "connect": self.connect, "forget": self.forget,
            "clear": self.clear,
        }  # fmt: skip

    def serve(self) -> None:
        """Serve until the engine has gone."""
        while self.stream.open:
            for descriptor, _ in self.wait():
                if descriptor == self.stream.source:
                    for kind, payload in self.stream.receive():
                        self.obey(kind, CHANNEL.unpack_from(payload)[0], payload[CHANNEL.size :])
                elif descriptor == self.stream.sink:
                    self.stream.flush()
                else:
                    self.carry(descriptor)
            self.reap()
            self.clean()
        leave_by = time.monotonic() + LEAVE
        for number in [*self.launchers]:
            self.drop(number)
        while self.leaving and time.monotonic() < leave_by:
            time.sleep(0.02)
            self.reap()
            self.clean()
        if self.is_last and self.store and not self.leaving:
            self.store.clear()

    def wait(self) -> list[tuple[int, int]]:
        """Return the descriptors at which something happened."""
        wanted = {self.stream.source: select.POLLIN}
        if self.stream.outbox:
            wanted[self.stream.sink] = wanted.get(self.stream.sink, 0) | select.POLLOUT
        for one in self.launchers.values():
            if len(self.stream.outbox) < FULL:
                wanted[one.source] = select.POLLIN
            if one.outbox:
                wanted[one.sink] = wanted.get(one.sink, 0) | select.POLLOUT
        for descriptor in self.waiting.keys() - wanted.keys():
            self.poller.unregister(descriptor)
        for descriptor, events in wanted.items():
            if self.waiting.get(descriptor) != events:
                self.poller.register(descriptor, events)
        self.waiting = wanted
        return self.poller.poll(20 if self.leaving else 1000 if self.pids else -1)

    def obey(self, kind: int, number: int, payload: bytes) -> None:
        """Pass a frame on to its launcher, or do what is asked of the relay."""
        if number:
            launcher = self.launchers.get(number)
            if launcher and kind == ord("c"):
                self.drop(number)
            elif launcher:
                launcher.send(b"%c" % kind, payload)
            return
        order: dict[str, Any] = loads(payload)
        asked, name = order.pop("id"), order.pop("op")
        try:
            if name in self.operations:
                answer = self.operations[name](**order)
            elif self.store is None:
                raise StoreError("'open' comes first")
            else:
                answer = getattr(self.store, name)(**order)
        except FileNotFoundError as error:
            self.say(b"a", 0, dumps({"id": asked, "missing": str(error)}))
        except (OSError, StoreError, ValueError, TypeError, AttributeError) as error:  # of another version, perhaps
            self.say(b"a", 0, dumps({"id": asked, "error": str(error)}))
        else:
            if isinstance(answer, bytes):
                self.say(b"b", 0, CHANNEL.pack(asked) + answer)
            else:
                self.say(b"a", 0, dumps({"id": asked, "answer": answer}))

    def say(self, kind: bytes, number: int, payload: bytes) -> None:
        """Send a frame to the engine."""
        self.stream.send(kind, CHANNEL.pack(number) + payload)

    def carry(self, descriptor: int) -> None:
        """Pass on what a launcher says, or what it has not been told yet."""
        for number, launcher in [*self.launchers.items()]:
            if descriptor == launcher.source:
                for kind, payload in launcher.receive():
                    self.say(b"%c" % kind, number, payload)
                if not launcher.open:
                    self.drop(number)
                    self.say(b"e", number, b"")
            if descriptor == launcher.sink and launcher.outbox:
                launcher.flush()

    def drop(self, number: int) -> None:
        """Let a launcher go, which may linger."""
        launcher = self.launchers.pop(number)
        for descriptor in {launcher.source, launcher.sink}:
            if self.waiting.pop(descriptor, None) is not None:
                self.poller.unregister(descriptor)
        launcher.close()

    def open(self, directory: str, instance: str, owner: str, passing: int) -> dict[str, Any]:
        """Say what this machine is, and take a directory on it for the launchers of one engine's state directory."""
        self.store = Store(directory, instance, owner, passing)
        self.store.sweep()
        return self.store.identity()

    def start(self, number: int) -> int:
        """Start a launcher in a session of its own, to which channel `number` then leads; return its process id."""
        assert self.store is not None
        command = [sys.executable, "-I", "-S", "-E", "-X", "utf8", "-c", BOOT, self.program()]
        home = self.store.claim(number)
        theirs, sink = os.pipe()
        source, answers = os.pipe()
        log = os.open(home + "/log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            files = [(os.POSIX_SPAWN_DUP2, theirs, 0), (os.POSIX_SPAWN_DUP2, answers, 1), (os.POSIX_SPAWN_DUP2, log, 2)]
            pid = os.posix_spawn(command[0], command, os.environ, file_actions=files, setsid=True)
        except OSError:
            os.close(sink)
            os.close(source)
            raise
        finally:
            for descriptor in (theirs, answers, log):
                os.close(descriptor)
        self.pids[pid] = number
        self.launchers[number] = Stream(source, sink)
        return pid

    def connect(self, number: int) -> dict[str, Any]:
        """Connect channel `number` to a launcher that lives on; what is said of it if that cannot be done."""
        assert self.store is not None
        found = self.store.keeper(number)
        if found["alive"] and not found["leaves"]:
            stream = self.store.connect(number)
            if stream:
                if number in self.launchers:
                    self.drop(number)
                self.launchers[number] = stream
                found["connected"] = 1
        return found

    def forget(self, number: int) -> int:
        """Remove the files of a launcher, once it is dead."""
        if number in self.launchers:
            self.drop(number)
        self.leaving.add(number)
        return 0

    def clear(self) -> int:
        """Remove everything once the engine has gone, and its launchers."""
        self.is_last = True
        return 0

    def clean(self) -> None:
        """Remove the files of launchers that were to be forgotten, and are dead."""
        assert self.store is not None or not self.leaving
        for number in [*self.leaving]:
            if self.store and not self.store.keeper(number)["alive"]:
                self.store.remove(number)
                self.leaving.discard(number)

    def reap(self) -> None:
        """Wait for launchers that have ended."""
        while self.pids:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self.pids.clear()
                return
            if not pid:
                return
            self.pids.pop(pid, None)


def main(program: Callable[[], str]) -> None:
    """Serve the engine at standard input and output; `program` as in Relay."""
    source, sink = os.dup(0), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    for number in (signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.write(sink, MARK)
    Relay(Stream(source, sink), program).serve()
    os._exit(0)


def unpack(sources: dict[str, str], digest: str, directory: str) -> str:
    """Write the program's modules below a directory, once for each digest; return the folder that holds them."""
    home = os.path.expanduser(directory)
    os.makedirs(home, mode=0o700, exist_ok=True)
    folder = "%s/program-%s" % (home, digest)
    if os.path.isdir(folder):
        return folder
    made = "%s/program-%d-%d" % (home, os.getpid(), time.time_ns())
    for module, text in sources.items():
        path = "%s/%s" % (made, module.replace(".", "/"))
        if not text:
            os.makedirs(path, mode=0o700, exist_ok=True)
        with open(path + ".py" if text else path + "/__init__.py", "w") as file:
            file.write(text)
    try:
        os.rename(made, folder)
    except OSError:  # another session was faster
        if not os.path.isdir(folder):
            raise
    return folder

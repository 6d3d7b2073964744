"""The first step of every command: signals, file mode mask and standard streams are set, whatever was inherited."""

import gc
import os

TYPE_CHECKING = False  # type checkers take any variable of this name as true

if TYPE_CHECKING:
    import signal
else:  # `signal`, `typing` and `importlib` load for milliseconds, in which Ctrl-C would print a traceback
    import _signal as signal

INTERRUPTED = 130

OWNER = 0o700

THREADS = "OPENBLAS_NUM_THREADS"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    if os.getpid() == 1:
        from daggy.cli.init import go_on_in_child

        go_on_in_child()
    # An exception may be swallowed where it arrives, or print a traceback: an import does both.
    signal.signal(signal.SIGINT, _leave)
    gc.set_threshold(100_000, 50, 1000)  # hardly anything here is cyclic, and imports alone set off many collections
    _own_signals()
    _given_environment()
    os.umask(os.umask(OWNER) & ~OWNER)  # a mask that locks the owner out would make files that Daggy cannot open
    from daggy.cli.streams import open_streams

    answers = open_streams()
    from daggy.cli.group import call

    return answers.finish(call(arguments))


def _own_signals() -> None:
    """Let signals arrive that a caller blocked or ignored; an ignored SIGHUP stays so, which is what `nohup` asks."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)


def _given_environment() -> None:
    """Remove LC_CTYPE where only the interpreter set it, for want of a locale: tasks would inherit it."""
    if "LC_CTYPE" in os.environ:
        with open("/proc/self/environ", "rb") as file:  # noqa: PTH123 - pathlib is not loaded yet
            given = b"\0" + file.read()
        if b"\0LC_CTYPE=" not in given:
            del os.environ["LC_CTYPE"]


def load_numpy() -> None:
    """Import numpy without its threads: no matrices are multiplied here, and each of them spins before it sleeps.

    Tasks inherit the environment as it was given.
    """
    import importlib

    given = os.environ.get(THREADS)
    os.environ[THREADS] = given or "1"
    importlib.import_module("numpy")
    if given is None:
        del os.environ[THREADS]


def _leave(*_: object) -> None:
    os._exit(INTERRUPTED)

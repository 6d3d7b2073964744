"""What the first process of a container owes its system: to reap every orphan, and to pass signals on."""

import os
import signal

KEPT = {signal.SIGKILL, signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}
FAULTS = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGTRAP}


def go_on_in_child() -> None:
    """Fork and return in the child. The parent stays as the init process, and exits as the child does.

    A signal that the terminal sends reaches both, so that only those of other processes are passed on.
    """
    signals = signal.valid_signals() - KEPT - FAULTS
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    child = os.fork()
    if not child:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    while True:
        came = signal.sigwaitinfo(signals)
        if came.si_signo == signal.SIGCHLD:
            _reap(child)
        elif came.si_code <= 0:  # sent by a process, not by the kernel
            os.kill(child, came.si_signo)


def _reap(child: int) -> None:
    """Wait for everything that has ended; exit if the child is among it."""
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)

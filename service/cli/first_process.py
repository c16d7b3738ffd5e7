"""The duties of the first process of a container, so that a role need not know that it is in one.

The kernel gives process 1 no signal that it has not asked for, which a role does only once it has started, and every
orphan as its child. A role that is process 1 would ignore an early SIGTERM, and keep the remains of lost children.
"""

import os
import signal
from contextlib import suppress

FIRST = 1
PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def step_aside() -> None:
    """Return in a child when this process is the first one, which then only tends it; else do nothing."""
    if os.getpid() == FIRST:
        tend_child()


def tend_child() -> None:
    """Fork: the child returns and does the work. This process passes signals on, reaps, and ends as the child ends.

    A terminal sends its signals to the child alone, which would get them twice otherwise: a second Ctrl-C means more.

    Call it before any thread is started and any signal is handled.
    """
    signals = {*PASSED_ON, signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*signals, signal.SIGTTOU})
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        with suppress(OSError):  # there is no terminal
            os.tcsetpgrp(0, os.getpgrp())
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    while True:
        number = signal.sigwait(signals)
        if number != signal.SIGCHLD:
            with suppress(ProcessLookupError):
                os.kill(child, number)
        elif (code := _reap(child)) is not None:
            os._exit(code)


def _reap(child: int) -> int | None:
    """Reap all that have ended; return the exit code for this process once `child` is among them."""
    found = None
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == child:
                code = os.waitstatus_to_exitcode(ended[1])
                found = code if code >= 0 else 128 - code
    return found

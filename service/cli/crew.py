"""Several workers of one process, which loads what they need once: they are forked from it, and share its memory."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NoReturn

from service.cli.supervisor import TICK_SECONDS, Child, StopSignals, end
from service.lifeline import die_with_parent
from service.telemetry import logger

_STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_log = logger(__name__)


class Fork:
    """A child that goes on from what this process has loaded, for who tends it as a `subprocess.Popen`.

    Args:
        work: What it does until it is told to stop, by SIGTERM or SIGINT.
    """

    def __init__(self, work: Callable[[], None]) -> None:
        self.returncode: int | None = None
        parent = os.getpid()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP)  # a signal must not meet the handlers of the parent
        self.pid = os.fork()
        if self.pid == 0:
            _live(parent, work, before)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def poll(self) -> int | None:
        """The exit code, none while it runs; negative: the signal that ended it."""
        return self._reap(os.WNOHANG)

    def wait(self) -> int | None:
        """Wait for its end."""
        return self._reap(0)

    def terminate(self) -> None:
        """Ask it to stop."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)

    def _reap(self, options: int) -> int | None:
        if self.returncode is None:
            ended, status = os.waitpid(self.pid, options)
            self.returncode = os.waitstatus_to_exitcode(status) if ended else None
        return self.returncode


def _live(parent: int, work: Callable[[], None], mask: set[int | signal.Signals]) -> NoReturn:
    try:
        os.setsid()
        die_with_parent(parent)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        work()
        os._exit(0)
    except Exception as fault:  # noqa: BLE001 - the edge of a process: nobody else would tell of it
        _log.error("worker_fault", exc_info=fault)
    finally:
        os._exit(1)  # it never goes back into its parent's code


def run(works: Sequence[Callable[[], None]]) -> None:
    """Keep a child for each of `works` alive until SIGTERM or SIGINT, then end them."""
    stop = StopSignals(told=b"")
    children = [Child("A worker", partial(Fork, work)) for work in works]
    try:
        while not stop.count:
            for child in children:
                child.tend()
            time.sleep(TICK_SECONDS)
    finally:
        end(children, hurry=lambda: stop.count > 1)

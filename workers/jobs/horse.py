"""A work-horse that is forked and warm before there is a job for it.

A fork of a process with scikit-learn, its first touch of every page and the first use of each library cost a query more
time than its ranking. A worker therefore keeps one horse saddled; when a job comes, its name goes through a socket. A
horse that has done an interactive job well is saddled for the next one; every other job is the last of its horse.
"""

import gc
import json
import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from select import select
from typing import Self

from service.lifeline import die_with_parent
from service.queue.messages import INTERACTIVE
from service.telemetry import logger
from workers.jobs.limits import private_bytes

TIMED_OUT = "it ran too long"
# On shared cores, interactive jobs give way to requests, which take a moment, and all other jobs to both.
_INTERACTIVE_GIVE_WAY = 5
_OTHERS_GIVE_WAY = 15
_RIDES = 100  # then the horse is replaced, whatever its libraries have piled up
_GROWTH_BYTES = 128 * 1024 * 1024  # a horse that waits shall not hold what one pool took
_RESTS = b"."
_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Assignment:
    """What RQ calls a job: its id, the queue that it came from and the id of this run."""

    job_id: str
    queue: str
    execution_id: str


@dataclass(frozen=True, slots=True)
class Loss:
    """How a horse ended that had a job: as its parent saw it. `passing`: for no fault of the job."""

    job_id: str
    pid: int
    cause: str
    passing: bool = False


def cause_of(status: int) -> str | None:
    """How a process ended, by its wait status, as a clause; none: well."""
    code = os.waitstatus_to_exitcode(status)
    if code == 0:
        return None
    if code > 0:
        return f"its process ended with exit code {code}"
    return f"its process was ended by {signal.Signals(-code).name}"


class Horse:
    """The parent's end of a horse."""

    def __init__(self, pid: int, line: socket.socket) -> None:
        self.pid = pid
        self._line = line
        self._has_ridden = False

    @classmethod
    def fork(cls, *, warm: Callable[[], None], work: Callable[[Assignment], bool]) -> Self:
        """Fork a process that calls `warm`, waits for a job and calls `work`, which tells if another may follow."""
        line, its_line = socket.socketpair()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                line.close()
                _serve(its_line, parent, warm, work)
                code = 0
            except Exception as fault:  # noqa: BLE001 - the edge of a process: nobody else would tell of it
                _log.error("horse_fault", exc_info=fault)
            finally:
                os._exit(code)  # a horse never goes back into its worker's code
        its_line.close()
        return cls(pid, line)

    def assign(self, assignment: Assignment) -> bool:
        """Give the horse a job; false when it has died meanwhile."""
        gone, _ = os.waitpid(self.pid, os.WNOHANG)
        if gone:
            self.close()
            return False
        with suppress(ConnectionError):  # it has died since: who waits for it learns how
            if self._has_ridden:
                self._line.recv(len(_RESTS))
            self._has_ridden = True
            told = [assignment.job_id, assignment.queue, assignment.execution_id]
            self._line.sendall(json.dumps(told).encode() + b"\n")
        return True

    def rests(self) -> bool:
        """Wait for the end of its job; whether it waits for another one now, or ends itself. May be asked again."""
        try:
            return bool(self._line.recv(len(_RESTS), socket.MSG_PEEK))
        except ConnectionResetError:  # it has not even read what it was told
            return False

    def close(self) -> None:
        """Give it no more jobs; it ends when it rests."""
        self._line.close()

    def dismiss(self) -> None:
        """End a horse that has no job."""
        self.close()
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


def _serve(line: socket.socket, parent: int, warm: Callable[[], None], work: Callable[[Assignment], bool]) -> None:
    os.setsid()  # a session of its own has a share of its own on kernels that share the processor between sessions
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    gives_way = _give_way(_INTERACTIVE_GIVE_WAY)  # already while it warms itself: requests shall not notice
    warm()
    gives_way = gives_way or _give_way(_INTERACTIVE_GIVE_WAY, tries=20, until=line)
    most = private_bytes() + _GROWTH_BYTES
    with line.makefile("rb", buffering=0) as orders:  # no lock is held where a thread forks
        for end in (line, orders):  # a process that the horse leaves behind shall not seem to be the horse
            os.register_at_fork(after_in_child=end.close)
        for ride, told in enumerate(orders, 1):
            assignment = Assignment(*json.loads(told))
            if assignment.queue != INTERACTIVE:
                _give_way(_OTHERS_GIVE_WAY, tries=5)
            else:
                gives_way = gives_way or _give_way(_INTERACTIVE_GIVE_WAY)
            may_follow = work(assignment)
            gc.collect()
            if not may_follow or assignment.queue != INTERACTIVE or ride == _RIDES or private_bytes() > most:
                return
            line.sendall(_RESTS)


def _give_way(nice: int, *, tries: int = 1, until: socket.socket | None = None) -> bool:
    """Take less of the processor than others: by niceness, and by that of the session where the kernel has it.

    Args:
        nice: As of `nice`.
        tries: How often the kernel is asked for the latter: it hears one in a tenth of a second from all who may not
            administer the machine.
        until: Once a job comes on it, no more time is spent on asking.

    Returns:
        Whether there is nothing more to ask for.
    """
    nice = max(nice, os.getpriority(os.PRIO_PROCESS, 0))  # the whole worker may have been told to give way
    os.setpriority(os.PRIO_PROCESS, 0, nice)
    while not _session_gives_way(nice):
        tries -= 1
        pause = 0.1 + os.getpid() % 10 / 100  # horses that were forked at once shall not ask at once again
        if not tries or select([until] if until else [], [], [], pause)[0]:
            return False
    return True


def _session_gives_way(nice: int) -> bool:
    try:
        Path("/proc/self/autogroup").write_text(str(nice))
    except BlockingIOError:
        return False
    except OSError:  # no such kernel, or a sandbox that forbids it: niceness then counts among all processes
        return True
    return True

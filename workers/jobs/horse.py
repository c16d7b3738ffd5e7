"""A work-horse that is forked and warm before there is a job for it.

A fork of a process with scikit-learn, its first touch of every page and the first use of each library cost a query more
time than its ranking. A worker therefore keeps one horse saddled; when a job comes, its name goes through a pipe.
"""

import json
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from service.lifeline import die_with_parent
from service.queue.messages import INTERACTIVE
from service.telemetry import logger

TIMED_OUT = "it ran too long"
# on shared cores, a training gives way to those who wait for an answer
_GIVES_WAY = 10
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


class SpareHorse:
    """The parent's end of a waiting horse."""

    def __init__(self, pid: int, pipe: int) -> None:
        self.pid = pid
        self._pipe = pipe

    @classmethod
    def fork(cls, *, warm: Callable[[], None], work: Callable[[Assignment], None]) -> Self:
        """Fork a process that calls `warm`, waits, and calls `work` once."""
        reader, writer = os.pipe()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            os.close(writer)
            try:
                _wait(reader, parent, warm, work)
            except Exception as fault:  # noqa: BLE001 - the edge of a process: nobody else would tell of it
                _log.error("horse_fault", exc_info=fault)
            finally:
                os._exit(1)  # a horse never goes back into its worker's code
        os.close(reader)
        return cls(pid, writer)

    def assign(self, assignment: Assignment) -> bool:
        """Give the horse its job; false when it has died meanwhile."""
        gone, _ = os.waitpid(self.pid, os.WNOHANG)
        with suppress(BrokenPipeError), os.fdopen(self._pipe, "wb") as pipe:
            if not gone:
                pipe.write(json.dumps([assignment.job_id, assignment.queue, assignment.execution_id]).encode())
        return not gone

    def dismiss(self) -> None:
        """End a horse that never got a job."""
        with suppress(OSError):
            os.close(self._pipe)
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


def _wait(reader: int, parent: int, warm: Callable[[], None], work: Callable[[Assignment], None]) -> None:
    os.setsid()  # a session of its own has a share of its own on kernels that share the processor between sessions
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    warm()
    with os.fdopen(reader, "rb") as pipe:
        told = pipe.read()
    if told:
        assignment = Assignment(*json.loads(told))
        if assignment.queue != INTERACTIVE:
            _give_way()
        work(assignment)


def _give_way() -> None:
    """Take less of the processor than others: by niceness, and by that of the session where the kernel has it."""
    os.nice(_GIVES_WAY)
    with suppress(OSError):  # no such kernel, or a sandbox that forbids it: niceness then counts among all processes
        Path("/proc/self/autogroup").write_text(str(_GIVES_WAY))

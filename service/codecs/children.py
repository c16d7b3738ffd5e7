"""Children of a warm process, one for each task, from many threads at once; see `service.codecs.warm_process`."""

import os
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from fcntl import F_SETPIPE_SZ, fcntl
from threading import Lock
from typing import IO

from service.telemetry import logger

_PIPE_BYTES = 1024 * 1024
_DEATH_SECONDS = 10.0
_CODE_BYTES = 16
_log = logger(__name__)


class Child:
    """A process that does one task.

    Attributes:
        output: What it writes.
        exit_code: How it ended, as `subprocess` tells it; None: it has not, or it was lost with the warm process.
    """

    def __init__(self, output: IO[bytes], status: socket.socket) -> None:
        self.output = output
        self.exit_code: int | None = None
        self._status = status
        self._ended = False

    def wait(self, seconds: float | None = None) -> None:
        """Wait until it ends by itself, for so long at most."""
        if self._ended:
            return
        self._status.settimeout(seconds)
        with suppress(TimeoutError):
            told = self._status.recv(_CODE_BYTES)
            self.exit_code = int(told) if told else None
            self._ended = True

    def end(self) -> None:
        """Kill it unless it has ended, and wait until it has."""
        if not self._ended:
            self._status.shutdown(socket.SHUT_WR)
            self.wait(_DEATH_SECONDS)


class Children:
    """Has a warm process, which is started for the first task, and anew for the next one when it has ended.

    A fork of this process has none, and starts its own. The warm process ends when this one does, however that ends:
    by the end of a socket, as `die_with_parent` would mean the thread that happened to start it.
    """

    def __init__(self, command: tuple[str, ...], environment: Mapping[str, str]) -> None:
        self._command = command
        self._environment = environment
        self._lock = Lock()
        self._pid = 0
        self._tasks: socket.socket | None = None
        self._past: list[int] = []
        os.register_at_fork(after_in_child=self.leave)

    @contextmanager
    def at_work(self, task: bytes, source: int) -> Iterator[Child]:
        """A child that does a task on the file `source`; it ends with the block."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            reader, writer = os.pipe()
            with os.fdopen(reader, "rb") as output:
                with os.fdopen(writer, "wb", buffering=0):
                    with suppress(PermissionError):  # the pipes of a user are bounded in all; a short one is but slower
                        fcntl(writer, F_SETPIPE_SZ, _PIPE_BYTES)
                    self._give(task, [source, writer, theirs.fileno()])
                theirs.close()
                child = Child(output, ours)
                try:
                    yield child
                finally:
                    child.end()

    def leave(self) -> None:
        """Leave the warm process to others that have it: with the last of them it ends."""
        self._lock = Lock()
        self._past.clear()
        if self._tasks is not None:
            self._tasks.close()
            self._tasks = None

    def _give(self, task: bytes, files: Sequence[int]) -> None:
        """Send a task."""
        with self._lock:
            self._past = [pid for pid in self._past if not _reaped(pid)]
            try:
                socket.send_fds(self._running(), [task], files)
            except ConnectionError:
                _log.warning("warm_process_lost", pid=self._pid)
                self._drop()
                socket.send_fds(self._running(), [task], files)

    def _running(self) -> socket.socket:
        """Where the warm process takes tasks."""
        if self._tasks is None:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs, ExitStack() as unless_started:
                unless_started.push(ours)
                files = [
                    (os.POSIX_SPAWN_DUP2, theirs.fileno(), 0),
                    (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                ]
                # a session of its own: Ctrl-C in a terminal does not reach it
                self._pid = os.posix_spawn(
                    self._command[0], self._command, self._environment, file_actions=files, setsigmask=(), setsid=True
                )
                unless_started.pop_all()
            self._tasks = ours
        return self._tasks

    def _drop(self) -> None:
        """Have another one started for the next task."""
        if self._tasks is not None:
            self._tasks.close()
            self._tasks = None
            self._past.append(self._pid)


def _reaped(pid: int) -> bool:
    """Whether a process that we started is gone for good."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:  # somebody else has waited for it
        return True


# no library may start a thread, or reserve memory that the limit counts
_ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}
ARROW = Children((sys.executable, "-I", "-m", "service.codecs.arrow_process"), _ENVIRONMENT)

"""A process that has loaded what loads slowly, and forks a child for each task, which works and ends.

Whoever started it, its owner, has the other end of the socket at file 0. A task comes there as one message, with three
files: what the child reads, what it writes to, and a socket of its own, at which the owner is told how the child ended,
and has it killed by shutting the socket down. Nothing of what goes through the first two is looked at here, so that no
body can change what becomes of another. With its owner, this process and all of its children end.
"""

import os
import selectors
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NoReturn

from service.lifeline import die_with_parent, keep_others_out

_MESSAGE_BYTES = 64 * 1024
_CRASHES = {signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT}


class WarmProcess:
    """This process, once what its children need is loaded. It must have no second thread: forks would not have it."""

    def __init__(self, work: Callable[[bytes], object]) -> None:
        """Take the socket.

        Args:
            work: What a child does with its task: it reads file 0 and writes file 1.
        """
        self._work = work
        self._pid = os.getpid()
        self._tasks = socket.socket(fileno=0)
        self._selector = selectors.PollSelector()
        self._children: dict[int, socket.socket] = {}
        self._open = True

    def serve(self) -> None:
        """Do tasks until the owner gives no more and the last child has ended."""
        _close_others()
        keep_others_out()
        for number in (signal.SIGINT, signal.SIGTERM):  # the owner says when it is over: it may still have bodies
            signal.signal(number, signal.SIG_IGN)
        deaths, noted = os.pipe2(os.O_NONBLOCK)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(noted, warn_on_full_buffer=False)
        self._selector.register(deaths, selectors.EVENT_READ, partial(self._reap, deaths))
        self._selector.register(self._tasks, selectors.EVENT_READ, self._take)
        while self._open or self._children:
            for key, _ in self._selector.select():
                key.data()

    def _take(self) -> None:
        """Give a task to a child."""
        task, files, _, _ = socket.recv_fds(self._tasks, _MESSAGE_BYTES, 3)
        if not task:
            self._selector.unregister(self._tasks)
            self._open = False
            return
        source, target, told = files
        status = socket.socket(fileno=told)
        try:
            child = os.fork()
        except OSError as error:
            status.close()  # which the owner understands as that the task was not done
            sys.stderr.write(f"no process can be made for a task: {error}\n")
        else:
            if child == 0:
                self._become(task, source, target)
            self._children[child] = status
            self._selector.register(status, selectors.EVENT_READ, partial(self._kill, child, status))
        finally:
            os.close(source)
            os.close(target)

    def _become(self, task: bytes, source: int, target: int) -> NoReturn:
        """In a child: do the task, with no files but its own."""
        code = 1
        try:
            die_with_parent(self._pid)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.dup2(source, 0)  # in the place of the socket for tasks
            os.dup2(target, 1)
            _close_others()
            self._work(task)
            code = 0
        except Exception:  # noqa: BLE001 - the edge of a process: nobody else would tell of it
            traceback.print_exc()
        finally:
            os._exit(code)  # a child never goes back into its parent's code

    def _kill(self, child: int, status: socket.socket) -> None:
        """The owner wants no more of a child."""
        if status.fileno() >= 0:  # else it was reaped in this round, and its pid may be another's
            self._selector.unregister(status)
            os.kill(child, signal.SIGKILL)

    def _reap(self, deaths: int) -> None:
        os.read(deaths, _MESSAGE_BYTES)
        with suppress(ChildProcessError):  # there is none left
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                self._tell(*ended)

    def _tell(self, child: int, wait_status: int) -> None:
        """Tell the owner how a child ended."""
        code = os.waitstatus_to_exitcode(wait_status)
        status = self._children.pop(child)
        if status in self._selector.get_map():
            self._selector.unregister(status)
        if -code in _CRASHES:
            # All forks have the addresses of their parent: after a crash, which may have been a guess at one, the
            # owner starts another process.
            self._tasks.shutdown(socket.SHUT_RD)
        with status, suppress(ConnectionError):  # an owner that has ended does not listen
            status.sendall(str(code).encode())


def _close_others() -> None:
    """Close all files but 0, 1 and 2."""
    os.closerange(3, 1 + max(int(file.name) for file in Path("/proc/self/fd").iterdir()))

"""How much memory and time a job may take."""

import os
import resource
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

_MIB = 1024 * 1024


class JobOverdueError(BaseException):
    """The job has had its time.

    A BaseException, as it can be raised anywhere: libraries (SQLAlchemy does) make errors of their own of any other.
    """


@contextmanager
def limited_time(seconds: int) -> Iterator[None]:
    """Within the block, JobOverdueError is raised after `seconds`, if this is the main thread.

    An alarm that was set before, such as RQ's, which raises an ordinary exception, rests meanwhile.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise JobOverdueError

    handler, began = signal.signal(signal.SIGALRM, stop), time.monotonic()
    left, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, max(0.0, left - (time.monotonic() - began)))


def private_bytes() -> int:
    """What the process has of its own: heap, stacks of threads and anonymous mappings, not mapped chunks.

    0 where the kernel does not tell, and limits nothing.
    """
    try:
        pages = Path("/proc/self/statm").read_text().split()[5]
    except FileNotFoundError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def limited_memory(mib: int, *, kept: int = 0) -> Iterator[None]:
    """Within the block, more memory than `mib` for data is refused, as a MemoryError; 0: no limit.

    It counts `private_bytes`, but for the bytes that were `kept` by an earlier job of the process.
    """
    before = resource.getrlimit(resource.RLIMIT_DATA)
    if mib:
        resource.setrlimit(resource.RLIMIT_DATA, (mib * _MIB + kept, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)

"""How long something takes by itself, on a machine whose processors others want as well. Linux only."""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

from tests.support.redis_server import wait_until

_Waits = dict[tuple[int, str], int]


class Stopwatch:
    """Measures the time of a block, less that in which its work was ready to go on and others had the processors.

    The kernel tells of each thread how long it waited for one. What counts is the most that any of them did, so that
    little of what really was done at the same time is taken off.

    Args:
        pids: The processes that do the work one after another, beside this one: no other, whose waiting delays nothing.

    Attributes:
        seconds: So many it took; known at the end of the block.
    """

    def __init__(self, *pids: int) -> None:
        self._pids = (os.getpid(), *pids)
        self.seconds = 0.0

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def start(self) -> None:
        """Begin to count, in the middle of the block."""
        self._waits, self._began = _waits(self._pids), time.monotonic()

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        took = time.monotonic() - self._began
        waited = (after - self._waits.get(thread, 0) for thread, after in _waits(self._pids).items())
        self.seconds = took - min(max(waited, default=0) / 1e9, took)


def assert_within(seconds: float, condition: Callable[[], bool], *pids: int) -> None:
    """Wait until the condition holds, which processes see to; it must take less than so many seconds by itself."""
    with Stopwatch(*pids) as waiting:
        wait_until(condition)
    assert waiting.seconds < seconds


def _waits(pids: tuple[int, ...]) -> _Waits:
    """Nanoseconds that each thread of each process has waited for a processor."""
    found: _Waits = {}
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").glob("*"):
            with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
                found[pid, task.name] = int((task / "schedstat").read_text().split()[1])
    return found

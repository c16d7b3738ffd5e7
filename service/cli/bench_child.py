"""Measures in processes of their own, so that neither memory nor what one has warmed up reaches another."""

import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from service.cli import bench_processes as processes

MIB = 1024 * 1024
NO_MEMORY_CODE, NOT_INSTALLED_CODE = 77, 78
# The kernel's own end of a process that takes too much is SIGKILL.
_NOTES = {NO_MEMORY_CODE: "out of memory", -9: "out of memory", NOT_INSTALLED_CODE: "not installed"}
_LIMIT_SECONDS = 900.0
_SAMPLE_SECONDS = 0.005
_FEWEST_RUNS = 5
_ENOUGH_SECONDS = 8.0


class ChildError(Exception):
    """A measuring process failed."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a child measured.

    Attributes:
        seconds: medians by name.
        mib: the most resident memory not backed by files.
        note: why there is no figure, or nothing.
    """

    seconds: Mapping[str, float]
    mib: float = 0.0
    note: str = ""


def measured(work: str, *, limit: float = _LIMIT_SECONDS, **arguments: Any) -> Measured:
    """Run a work of `bench_works` in a child process.

    Raises:
        ChildError: it failed otherwise than by time or memory.
    """
    words = [sys.executable, "-m", "service.cli.bench_works", work, json.dumps(arguments, default=str)]
    try:
        done = subprocess.run(words, capture_output=True, timeout=limit, check=False)  # noqa: S603 - our own module
    except subprocess.TimeoutExpired:
        return Measured({}, note=f"no answer in {limit:.0f} s")
    if done.returncode in _NOTES:
        return Measured({}, note=_NOTES[done.returncode])
    if done.returncode:
        raise ChildError(f"{work} {arguments} failed:\n{done.stderr.decode(errors='replace')[-2000:]}")
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def repeat(actions: Mapping[str, Callable[[], object]], *, fewest: int = _FEWEST_RUNS) -> Measured:
    """Run the actions in turns, at least `fewest` times or for some seconds; the medians, and the peak of memory."""
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    began = time.perf_counter()
    with peak_anonymous() as most:
        for runs in range(fewest):
            if runs and time.perf_counter() - began > _ENOUGH_SECONDS:
                break
            for name, action in actions.items():
                start = time.perf_counter()
                action()
                seconds[name].append(time.perf_counter() - start)
    return Measured({name: statistics.median(times) for name, times in seconds.items()}, max(most) / MIB)


def peak_anonymous(parent: int | None = None) -> AbstractContextManager[list[int]]:
    """The peak of memory not backed by files within the block, as a growing list: of this process, or of any child.

    Args:
        parent: a process whose children are watched instead, those that come and go included.
    """
    return peak(lambda: processes.anonymous(parent))


@contextmanager
def peak(figure: Callable[[], int]) -> Iterator[list[int]]:
    """The peak of a figure that is looked at again and again within the block, as a growing list."""
    ended, samples = threading.Event(), [0]

    def look() -> None:
        if (now := figure()) > samples[-1]:
            samples.append(now)

    def watch() -> None:
        while not ended.wait(_SAMPLE_SECONDS):
            look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        ended.set()
        thread.join()
        look()  # what was over before the first look has a figure, too

"""Work over blocks of rows on several cores, with one BLAS thread each."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import Any, Literal, Protocol, TypeVar

import joblib
from joblib.externals.loky import get_reusable_executor
from threadpoolctl import ThreadpoolController

T = TypeVar("T")
R = TypeVar("R")


@cache
def _controller() -> ThreadpoolController:
    # Finding the loaded libraries takes 2-12 ms, and all are loaded by the imports above the first call.
    return ThreadpoolController()


def single_threaded() -> AbstractContextManager[object]:
    """Limit BLAS and OpenMP to one thread within the block.

    Spinning BLAS threads on busy cores have turned an 8 ms fit into seconds, and the number of threads changes the last
    bits of a sum: one thread is faster under load and gives the same result everywhere.
    """
    return _ONE_THREAD


class _OneThread:
    """Limits the whole process while any thread is within: the last to leave lifts the limit."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._inside = 0
        self._limits: Any = None

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._limits = _controller().limit(limits=1)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._limits.restore_original_limits()


_ONE_THREAD = _OneThread()


class ClusterError(Exception):
    """The cluster did not do its part of a job.

    Attributes:
        cause: what happened, as a clause.
        passing: it was no fault of the job.
    """

    def __init__(self, cause: str, *, passing: bool = True) -> None:
        super().__init__(cause)
        self.cause = cause
        self.passing = passing


class Cluster(Protocol):
    """Machines that read chunks by themselves."""

    def map(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
        """Yield `function(task)` in the order of `tasks`; both are sent there."""
        ...

    def close(self) -> None:
        """End the connection, and what is still worked on."""
        ...


@dataclass(frozen=True, slots=True)
class Parallel:
    """Maps a function over blocks in a fixed order, on `jobs` cores: in threads, or in processes by joblib.

    With a `cluster`, the work over chunks is done there, and here what is in memory.
    """

    engine: Literal["threads", "loky"] = "threads"
    jobs: int = 1
    cluster: Cluster | None = None

    def in_threads(self) -> "Parallel":
        """The same for functions that cannot leave this process."""
        return Parallel("threads", self.jobs)

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Yield `function(item)` in the order of `items`, as results come in."""
        tasks = list(items)
        if self.jobs == 1 or len(tasks) <= 1:
            with single_threaded():
                yield from map(function, tasks)
        elif self.engine == "loky":
            run = joblib.Parallel(n_jobs=self.jobs, backend="loky", return_as="generator")
            yield from run(joblib.delayed(_single)(function, task) for task in tasks)
        else:
            with single_threaded(), ThreadPoolExecutor(min(self.jobs, len(tasks))) as threads:
                yield from _in_order(threads, function, tasks, ahead=2 * self.jobs)

    def over_chunks(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """The same for a function that holds no features: it reads those of an item from chunks, by `ChunkReader`s."""
        return self.map(function, items) if self.cluster is None else self.cluster.map(function, list(items))

    def close(self) -> None:
        """End the processes of the engine, which otherwise wait for more work, and leave the cluster."""
        if self.cluster is not None:
            self.cluster.close()
        if self.engine == "loky":
            get_reusable_executor().shutdown(wait=False, kill_workers=True)


def _in_order(
    threads: ThreadPoolExecutor, function: Callable[[T], R], tasks: Iterable[T], *, ahead: int
) -> Iterator[R]:
    """Results in the order of `tasks`, of which at most `ahead` are begun before their turn.

    joblib's own threads would do, but it looks for results every 10 ms only, and begins tasks without a bound while
    results wait in memory to be taken.
    """
    begun: deque[Future[R]] = deque()
    for task in tasks:
        if len(begun) == ahead:
            yield begun.popleft().result()
        begun.append(threads.submit(function, task))
    while begun:
        yield begun.popleft().result()


def _single(function: Callable[[T], R], task: T) -> R:
    with single_threaded():
        return function(task)

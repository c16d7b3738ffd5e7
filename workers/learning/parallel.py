"""Work over blocks of rows on several cores, with one BLAS thread each."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from typing import Literal, TypeVar

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
    limits: AbstractContextManager[object] = _controller().limit(limits=1)
    return limits


@dataclass(frozen=True, slots=True)
class Parallel:
    """Maps a function over blocks in a fixed order, on `jobs` cores: in threads, or in processes by joblib."""

    engine: Literal["threads", "loky"] = "threads"
    jobs: int = 1

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
            # The limit is one for the whole process: taken per task, the first to end would lift it for the others.
            with single_threaded(), ThreadPoolExecutor(min(self.jobs, len(tasks))) as threads:
                yield from _in_order(threads, function, tasks, ahead=2 * self.jobs)

    def close(self) -> None:
        """End the processes of the engine, which otherwise wait for more work."""
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

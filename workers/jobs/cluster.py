"""An existing Dask cluster that works on chunks, by joblib. Needs the extra `dask`.

A function is sent once and its tasks are small: what they work on, the workers of the cluster read for themselves. Both
are Python objects as Dask sends them, and so is what comes back. The cluster is trusted as this process is, and no
client of the service reaches it.
"""

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from functools import cache, cached_property
from importlib.metadata import version
from typing import Any, Self, TypeVar

import joblib
from distributed import Client
from distributed.comm.core import CommClosedError
from distributed.protocol.pickle import dumps, loads
from distributed.scheduler import KilledWorker
from joblib.parallel import ParallelBackendBase

from workers.learning.parallel import ClusterError, single_threaded

T = TypeVar("T")
R = TypeVar("R")

_CONNECT_SECONDS = 5.0
_WORKER_SECONDS = 10.0
_CLOSE_SECONDS = 2.0
_AHEAD = 8  # tasks for each core that wait at the scheduler or for their turn, as it takes a while to send one
_SAME = ("gleaner", "numpy", "scipy", "scikit-learn")


class DaskCluster:
    """A connection to a cluster, which is opened by the first work."""

    def __init__(self, scheduler: str) -> None:
        self._scheduler = scheduler

    @cached_property
    def _client(self) -> Any:
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # what it says is raised, too
        try:
            return Client(self._scheduler, timeout=_CONNECT_SECONDS, set_as_default=False)
        except OSError as error:
            raise ClusterError("the Dask cluster did not answer") from error

    def map(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
        """Yield `function(task)` in the order of `tasks`, as results come in.

        What a lost worker had is done again by another.

        Raises:
            ClusterError: the cluster is away, lost its workers again and again, or is not made as this process is.
        """
        if not tasks:
            return
        held = self._held(function)
        backend = _Backend(self._client, self._cores(held), held)
        run = joblib.Parallel(backend=backend, pre_dispatch=f"{_AHEAD} * n_jobs", return_as="generator")
        begun = run(joblib.delayed(_done)(task) for task in tasks)
        try:
            for future in begun:
                with _told():
                    results = future.result()
                yield from results
        finally:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # joblib advises against leaving early, as failed and lost jobs do
                begun.close()

    def close(self) -> None:
        """End the connection, and with it all work that was sent and is wanted no more."""
        client = self.__dict__.pop("_client", None)
        if client is not None:
            client.close(timeout=_CLOSE_SECONDS)

    def _held(self, function: Callable[[Any], Any]) -> Any:
        """The function, as a task and not as data that is put there: what a lost worker had, is made again."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a model may be larger than Dask advises
            return self._client.submit(_Function, dumps(function), pure=False)

    def _cores(self, held: Any) -> int:
        """How many tasks the cluster works on at a time; one that grows with its work is given a while."""
        with _told():
            cores: int = sum(self._client.ncores().values())
            if not cores:
                _wait_for_worker(held)
        return cores


def _wait_for_worker(held: Any) -> None:
    try:
        held.result(timeout=_WORKER_SECONDS)
    except TimeoutError as error:
        raise ClusterError("the Dask cluster had no worker") from error


class _Backend(ParallelBackendBase):  # type: ignore[misc] # joblib has no annotations
    """How joblib hands tasks to the cluster.

    joblib's own for Dask puts large arguments onto one worker, and loses them with it; it never hears of a task that
    was given up; and it has libraries that are used within a task work on all of the cluster, in any order.
    """

    supports_retrieve_callback = True
    default_n_jobs = -1

    def __init__(self, client: Any, cores: int, function: Any) -> None:
        super().__init__()
        self._client = client
        self._cores = cores
        self._function = function
        self._pending: set[Any] = set()

    def effective_n_jobs(self, n_jobs: int) -> int:  # noqa: ARG002 - the cluster decides
        """How many tasks are worked on at a time; joblib would not send anything to a single core."""
        return max(self._cores, 2)

    def submit(self, func: Any, callback: Callable[[Any], None]) -> Any:
        """Send a batch of tasks."""
        tasks = dumps([task for _, (task,), _ in func.items])
        future = self._client.submit(_done, self._function, tasks, build(), pure=False)
        self._pending.add(future)
        future.add_done_callback(callback)
        return future

    def retrieve_result_callback(self, out: Any) -> list[Any]:
        """Leave what came out with the cluster until its turn."""
        self._pending.discard(out)
        return [out]

    def abort_everything(self, ensure_ready: bool = True) -> None:  # noqa: ARG002, FBT001, FBT002 - joblib's interface
        """Have the cluster forget what nobody waits for any more."""
        for future in list(self._pending):
            future.release()


class _Function:
    """On a worker of the cluster: a function, which is passed on to others as it came; the scheduler never opens it."""

    def __init__(self, sent: bytes) -> None:
        self.call = loads(sent)
        self._sent = sent

    def __reduce__(self) -> tuple[type[Self], tuple[bytes]]:
        return type(self), (self._sent,)


def _done(function: _Function, tasks: bytes, wanted: str) -> list[Any]:
    """On a worker of the cluster: the results of a batch."""
    if wanted != build():
        raise ClusterError(f"a Dask worker has {build()} in place of {wanted}", passing=False)
    with single_threaded():
        return [function.call(task) for task in loads(tasks)]


@cache
def build() -> str:
    """What the last bits of a result depend on."""
    return ", ".join(f"{name} {version(name)}" for name in _SAME)


@contextmanager
def _told() -> Iterator[None]:
    """Tell faults of the cluster from those of tasks."""
    try:
        yield
    except KilledWorker as error:
        raise ClusterError("each Dask worker that had a part of it ended", passing=False) from error
    except ModuleNotFoundError as error:
        raise ClusterError(f"a Dask worker lacks {error.name}", passing=False) from error
    except (CancelledError, CommClosedError, TimeoutError) as error:
        raise ClusterError("the connection to the Dask cluster was lost") from error

"""What a job is given: short transactions, a fenced store, progress, stores."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from sqlalchemy.orm import Session

from service.actions import jobs
from service.actions.jobs import Claim
from service.db.queries import jobs as job_queries
from service.db.tables import Job
from service.settings import Settings
from service.storage.objects import ObjectStore
from workers.learning.parallel import Parallel


def utc_now() -> datetime:
    """The worker's clock."""
    return datetime.now(UTC)


class JobLostError(BaseException):
    """The job is no longer ours: cancelled, or its lease ran out and somebody else has it.

    A BaseException, so that nothing on the way mistakes it for a fault of the job.
    """


@dataclass
class Progress:
    """How far the job has come; the heartbeat tells it."""

    done: int = 0
    total: int = 0
    phase: str = "starting"
    changed: threading.Event = field(default_factory=threading.Event)

    def tell(self, done: int, total: int, phase: str) -> None:
        """Set all of it."""
        self.done, self.total, self.phase = done, total, phase
        self.changed.set()


@dataclass(frozen=True)
class JobContext:
    """One run of a job. `read` and `write` open short transactions; compute happens with none open.

    `finished` is set once the job has ended as succeeded, whatever it still tidies up: from then on it beats no more.
    """

    claim: Claim
    settings: Settings
    objects: ObjectStore
    read: Callable[[], AbstractContextManager[Session]]
    write: Callable[[], AbstractContextManager[Session]]
    progress: Progress = field(default_factory=Progress)
    finished: threading.Event = field(default_factory=threading.Event)

    @property
    def project_id(self) -> str:
        """The project that the job belongs to."""
        return self.claim.project_id

    @cached_property
    def parallel(self) -> Parallel:
        """The engine of the work over chunks."""
        if self.settings.parallel != "dask":
            return Parallel(self.settings.parallel, self.settings.chunk_threads)
        from workers.jobs.cluster import DaskCluster  # noqa: PLC0415 - its package is optional, and slow to import

        return Parallel("threads", self.settings.chunk_threads, DaskCluster(self.settings.dask_scheduler))

    @property
    def share(self) -> int:
        """How many of a project's jobs may wait in Redis."""
        return self.settings.jobs_in_queue_per_project

    def now(self) -> datetime:
        """The worker's clock."""
        return utc_now()

    @contextmanager
    def fenced(self) -> Iterator[tuple[Session, Job]]:
        """A write transaction that is kept only while the job is ours.

        Raises:
            JobLostError: it is not; nothing is written.
        """
        with self.write() as session:
            job = job_queries.get(session, self.claim.job_id)
            if job is None or job.state != "running" or job.token != self.claim.token:
                raise JobLostError
            yield session, job

    def finish(self, session: Session, result: dict[str, Any]) -> None:
        """End the job as succeeded, within a `fenced` transaction.

        Raises:
            JobLostError: somebody else ended it; nothing of the transaction is kept.
        """
        if not jobs.finish(session, self.claim, now=self.now(), steps=max(1, self.progress.total), result=result):
            raise JobLostError
        self.finished.set()

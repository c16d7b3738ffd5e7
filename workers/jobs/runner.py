"""Runs one job: claim, heartbeat, the job's own code, and what its failure means."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import structlog
from rq.timeouts import JobTimeoutException
from sklearn.cluster import KMeans
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.orm import Session

from service.actions import jobs, trainings
from service.actions.jobs import Claim
from service.db.queries import jobs as job_queries
from service.db.session import Database
from service.errors import GleanerError, JobTimedOutError, ModelDivergedError
from service.queue.messages import Queue
from service.queue.redis import RedisQueue
from service.queue.ringing import ring
from service.settings import Settings
from service.storage.local import LocalObjects
from service.storage.objects import ObjectStore
from service.telemetry import logger
from workers.jobs import deletion, merge, predict, query, train
from workers.jobs.context import JobContext, JobLostError
from workers.jobs.heartbeat import heartbeat
from workers.jobs.rehearsal import rehearse

JOBS: Mapping[str, Callable[[JobContext], None]] = {
    "query": query.run,
    "predict": predict.run,
    "training": train.run,
    "merge": merge.run,
    "deletion": deletion.run,
}
_log = logger(__name__)


class Workshop:
    """What a worker prepares once, before it forks, and its jobs then use. No connection is open while it forks."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.database = Database(settings.sql_url, pool_size=2)
        self.queue = RedisQueue(settings.queue_url, job_timeout_seconds=settings.job_timeout_seconds)
        self.objects = LocalObjects(settings.objects_dir)

    def prepare(self) -> None:
        """Warm up; a database that is away now only makes the first statements of jobs slower."""
        try:
            rehearse(self.database.write, self.settings)
        except DBAPIError as error:
            _log.warning("rehearsal_failed", error=str(error.orig))
        finally:
            self.database.close()  # nothing that is open may cross a fork

    def warm(self) -> None:
        """In a forked horse that waits for its job: open the database, and use for once what queries use."""
        try:
            self.database.ping()
        except DBAPIError as error:
            _log.warning("database_unavailable", error=str(error.orig))
        KMeans(2, n_init=1, max_iter=1).fit(np.eye(2, dtype=np.float32))

    def run_job(self, job_id: str) -> None:
        """The function that RQ calls, in a fresh process."""
        run(job_id, settings=self.settings, database=self.database, objects=self.objects, queue=self.queue)


def run(job_id: str, *, settings: Settings, database: Database, objects: ObjectStore, queue: Queue) -> None:
    """Run a job to its end, unless somebody else has it."""

    @contextmanager
    def write() -> Iterator[Session]:
        with database.write() as session:
            yield session
        ring(queue, session.info.get("rings", []))

    claim = _claim(job_id, settings, write)
    if claim is None:
        return
    context = JobContext(claim=claim, settings=settings, objects=objects, read=database.read, write=write)
    with structlog.contextvars.bound_contextvars(job_id=job_id, project_id=claim.project_id, attempt=claim.attempt):
        try:
            _attempt(context)
        finally:
            context.parallel.close()


def _claim(job_id: str, settings: Settings, write: Callable[[], Any]) -> Claim | None:
    lease = timedelta(seconds=settings.job_lease_seconds)
    try:
        with write() as session:
            claim: Claim | None = jobs.claim(session, job_id, lease=lease, now=datetime.now(UTC))
    except IntegrityError:
        return None  # another training of the project was claimed at the same moment
    return claim


def _attempt(context: JobContext) -> None:
    """Do the work; sort what can go wrong into lost, passing, the client's, and ours."""
    try:
        with heartbeat(context):
            JOBS[context.claim.kind](context)
    except JobLostError:
        _log.info("job_lost_or_cancelled")
    except (OperationalError, OSError) as error:
        _log.warning("job_given_back", error=str(error))
        _give_back(context)
    except JobTimeoutException:
        limit = context.settings.job_timeout_seconds
        _fail(context, JobTimedOutError(f"The job ran longer than {limit} seconds."))
    except FloatingPointError as error:
        _log.error("model_diverged", exc_info=error)
        _fail(context, ModelDivergedError(str(error)))
    except GleanerError as error:
        _fail(context, error)
    except Exception as error:  # noqa: BLE001 - the edge of a job: logged, and told as a fault of ours
        _log.error("job_fault", exc_info=error)
        _fail(context, GleanerError("Something failed on our side. The job's id finds it in the logs."))


def _give_back(context: JobContext) -> None:
    with context.write() as session:
        job = job_queries.get(session, context.claim.job_id)
        if job is not None and job.token == context.claim.token:
            attempts = context.settings.job_max_attempts
            trainings.give_back(session, job, now=context.now(), max_attempts=attempts, share=context.share)


def _fail(context: JobContext, error: GleanerError) -> None:
    with context.write() as session:
        job = job_queries.get(session, context.claim.job_id)
        if job is not None and job.token == context.claim.token:
            jobs.fail(session, job, now=context.now(), error={"name": error.name, "detail": error.detail})
            trainings.after_end(session, job, now=context.now(), share=context.share, succeeded=False)

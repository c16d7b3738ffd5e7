"""Runs one job: claim, heartbeat, the job's own code, and what its failure means."""

import errno
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

import numpy as np
import structlog
from sklearn.cluster import KMeans
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from service.actions import jobs, trainings
from service.actions.jobs import Claim, Setback
from service.actions.outdated import delete_outdated
from service.db.queries import jobs as job_queries
from service.db.session import Database
from service.db.tables import Job
from service.errors import (
    DamagedObjectError,
    GleanerError,
    JobOutOfMemoryError,
    JobTimedOutError,
    ModelDivergedError,
    UnavailableError,
    UnsupportedFeatureError,
)
from service.queue.messages import QUEUE_OF_KIND, Queue, memory_limits, timeouts
from service.queue.redis import RedisQueue
from service.queue.ringing import ring
from service.settings import Settings
from service.storage.objects import ObjectNotFoundError, ObjectStore
from service.storage.stores import open_objects
from service.telemetry import logger
from service.tracing import starting
from service.tracing.context import span
from workers.jobs import (
    agreement,
    autolabel,
    deletion,
    export,
    featurization,
    measuring,
    merge,
    plugins,
    predict,
    query,
    revocation,
    train,
)
from workers.jobs.context import JobContext, JobLostError
from workers.jobs.heartbeat import heartbeat
from workers.jobs.horse import TIMED_OUT, Loss
from workers.jobs.limits import JobOverdueError, limited_memory, limited_time, private_bytes
from workers.jobs.rehearsal import rehearse
from workers.jobs.shared_objects import shared
from workers.learning.featurizers.embedding import EmbeddingModelError, EmbeddingModelReplacedError
from workers.learning.parallel import ClusterError

JOBS: Mapping[str, Callable[[JobContext], None]] = {
    "query": query.run,
    "predict": predict.run,
    "agreement": agreement.run,
    "export": export.run,
    "training": train.run,
    "measuring": measuring.run,
    "featurization": featurization.run,
    "autolabel": autolabel.run,
    "revocation": revocation.run,
    "merge": merge.run,
    "deletion": deletion.run,
}
# Faults of the stores, which pass: the job waits and is tried again, and the attempt does not count.
_PASSING = (OperationalError, InterfaceError, PoolTimeoutError, OSError, UnavailableError)
_FIRST_PAUSE_SECONDS = 0.25
_log = logger(__name__)


class Workshop:
    """What a worker prepares once, before it forks, and its jobs then use. No connection is open while it forks."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.name = secrets.token_hex(8)
        self.database = Database(settings.sql_url, connections=settings.job_connections)
        self.queue = RedisQueue(settings.queue_url, timeouts=timeouts(settings))
        self.objects = open_objects(settings)
        self.send_spans: Callable[[], object] = lambda: None
        self.warm_bytes = 0

    def prepare(self) -> None:
        """Warm up; a database that is away now only makes the first statements of jobs slower.

        Raises:
            PluginError: a plug-in is not what the catalogue says.
        """
        plugins.check()
        starting.load()
        if self.settings.parallel == "dask":
            import_module("workers.jobs.cluster")
        try:
            rehearse(self.database.write, self.settings)
        except DBAPIError as error:
            _log.warning("rehearsal_failed", error=str(error.orig))
        finally:
            self.database.close()  # nothing that is open may cross a fork

    def warm(self) -> None:
        """In a forked horse that waits for its job: open the database, and use for once what queries use."""
        self.send_spans = starting.start("worker")  # its thread would not survive the fork
        try:
            self.database.ping()
        except DBAPIError as error:
            _log.warning("database_unavailable", error=str(error.orig))
        KMeans(2, n_init=1, max_iter=1).fit(np.eye(2, dtype=np.float32))
        self.warm_bytes = private_bytes()

    def run_job(self, job_id: str) -> bool:
        """The function that RQ calls, in a horse; whether another job may follow in it."""
        succeeded = run(
            job_id,
            settings=self.settings,
            database=self.database,
            objects=self.objects,
            queue=self.queue,
            holder=self._holder(os.getpid()),
            kept=max(0, private_bytes() - self.warm_bytes),
        )
        self.send_spans()
        return succeeded

    def record_loss(self, loss: Loss) -> None:
        """In the parent: say how a horse ended that did not end its job. When that fails, the job's lease runs out.

        The dispatcher rings what is queued; this leaves no connection behind, as the next horse is forked soon.
        """
        try:
            with self.database.write() as session:
                _record_loss(session, loss, holder=self._holder(loss.pid), settings=self.settings)
            delete_outdated(session, self.objects)
        except (SQLAlchemyError, UnavailableError) as error:
            _log.warning("loss_not_recorded", job_id=loss.job_id, error=str(error))
        finally:
            self.database.close()

    def _holder(self, pid: int) -> str:
        return f"{self.name}.{pid}."


def _record_loss(session: Session, loss: Loss, *, holder: str, settings: Settings) -> None:
    job = job_queries.get(session, loss.job_id)
    if job is None or job.token is None or not job.token.startswith(holder):
        return
    now, share = datetime.now(UTC), settings.jobs_in_queue_per_project
    if loss.cause == TIMED_OUT:
        _end(session, job, _timed_out(job.queue, settings), now=now, share=share)
        return
    setback = Setback(loss.cause, passing=loss.passing)
    attempts = settings.job_max_attempts
    trainings.give_back(session, job, now=now, max_attempts=attempts, share=share, setback=setback)


def run(
    job_id: str,
    *,
    settings: Settings,
    database: Database,
    objects: ObjectStore,
    queue: Queue,
    holder: str = "",
    kept: int = 0,
) -> bool:
    """Run a job to its end, unless somebody else has it; whether it succeeded here.

    `holder` begins its token, for those who ask who has it. `kept` are bytes of jobs before it in this process.
    """

    @contextmanager
    def write() -> Iterator[Session]:
        with database.write() as session:
            yield session
        ring(queue, session.info.get("rings", []))
        delete_outdated(session, objects)

    claim = _claim(job_id, settings, write, holder)
    if claim is None:
        return False
    context = JobContext(
        claim=claim, settings=settings, objects=shared(objects, settings), read=database.read, write=write
    )
    told: dict[str, str | int] = {"job_id": job_id, "project_id": claim.project_id, "attempt": claim.attempt}
    with (
        span(f"run {claim.kind}", "consumer", parent=claim.traceparent) as running,
        structlog.contextvars.bound_contextvars(**told, trace_id=running.trace_id),
    ):
        running.tell(**told)
        began = time.monotonic()
        try:
            succeeded = _attempt(context, kept)
        finally:
            context.parallel.close()
        milliseconds = round((time.monotonic() - began) * 1000)
        _log.info("job_run", kind=claim.kind, succeeded=succeeded, ms=milliseconds)
    return succeeded


def _claim(job_id: str, settings: Settings, write: Callable[[], Any], holder: str) -> Claim | None:
    lease = timedelta(seconds=settings.job_lease_seconds)
    try:
        with write() as session:
            claim: Claim | None = jobs.claim(session, job_id, lease=lease, now=datetime.now(UTC), holder=holder)
    except IntegrityError:
        return None  # another training of the project was claimed at the same moment
    except _PASSING as error:
        _log.warning("job_not_claimed", job_id=job_id, error=str(error))  # the dispatcher rings it again
        return None
    return claim


def _attempt(context: JobContext, kept: int) -> bool:
    """Do the work; sort what can go wrong into lost, passing, the client's, and ours. Whether it succeeded."""
    queue = QUEUE_OF_KIND[context.claim.kind]
    memory = memory_limits(context.settings)[queue]
    try:
        with limited_time(timeouts(context.settings)[queue]), heartbeat(context), limited_memory(memory, kept=kept):
            JOBS[context.claim.kind](context)
    except JobLostError:
        _log.info("job_lost_or_cancelled")
    except JobOverdueError:
        _fail(context, _timed_out(queue, context.settings))
    except Exception as error:  # noqa: BLE001 - the edge of a job: logged, and told
        setback = _setback(error)
        if setback is None:
            _fail(context, _problem(error, memory))
        else:
            _log.warning("job_given_back", error=str(error))
            _give_back(context, setback)
    else:
        return context.finished.is_set()
    return False


def _setback(error: Exception) -> Setback | None:
    """What another attempt may be without; None: it would fail as well."""
    match error:
        case ClusterError():
            return Setback(error.cause, passing=error.passing)
        case EmbeddingModelReplacedError():
            return Setback("its embedding model was replaced", passing=True)
        case OSError(errno=errno.ENOMEM):
            return None
        case _ if isinstance(error, _PASSING):
            return Setback(f"a store was away ({type(error).__name__})", passing=True)
    return None


def _problem(error: Exception, memory: int) -> GleanerError:
    """What a job fails with; the log tells what nobody else can know."""
    match error:
        case GleanerError():
            return error
        case MemoryError() | OSError():
            _log.error("job_out_of_memory", exc_info=error)
            return _out_of_memory(memory)
        case ObjectNotFoundError():
            _log.error("object_lost", key=error.key)
            return DamagedObjectError(error.key, "it is not there.")
        case FloatingPointError():
            _log.error("model_diverged", exc_info=error)
            return ModelDivergedError(str(error))
        case EmbeddingModelError():
            _log.error("embedding_model_unreadable", exc_info=error)
            return UnsupportedFeatureError("This worker cannot read its embedding model; its log says why.")
        case _:
            _log.error("job_fault", exc_info=error)
            return GleanerError("Something failed on our side. The job's id finds it in the logs.")


def _timed_out(queue: str, settings: Settings) -> GleanerError:
    return JobTimedOutError(f"The job ran longer than {timeouts(settings)[queue]} seconds.")


def _out_of_memory(mib: int) -> GleanerError:
    limit = f"more than the {mib} MiB that it may have" if mib else "more memory than the machine has"
    return JobOutOfMemoryError(f"The job needed {limit}.")


def _give_back(context: JobContext, setback: Setback) -> None:
    def give_back(session: Session, job: Job) -> None:
        attempts = context.settings.job_max_attempts
        trainings.give_back(
            session, job, now=context.now(), max_attempts=attempts, share=context.share, setback=setback
        )

    _settle(context, give_back)


def _fail(context: JobContext, error: GleanerError) -> None:
    _log.warning("job_failed", error=error.name)
    _settle(context, lambda session, job: _end(session, job, error, now=context.now(), share=context.share))


def _end(session: Session, job: Job, error: GleanerError, *, now: datetime, share: int) -> None:
    trainings.fail(session, job, now=now, share=share, error={"name": error.name, "detail": error.detail})


def _settle(context: JobContext, change: Callable[[Session, Job], None]) -> None:
    """Change a job that is still ours; while the database is away, for as long as the lease lasts."""
    deadline, pause = time.monotonic() + context.settings.job_lease_seconds, _FIRST_PAUSE_SECONDS
    while True:
        try:
            with context.write() as session:
                job = job_queries.get(session, context.claim.job_id)
                if job is not None and job.token == context.claim.token:
                    change(session, job)
        except _PASSING:
            if time.monotonic() + pause > deadline:
                raise
            time.sleep(pause)
            pause *= 2
        else:
            return

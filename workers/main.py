"""A worker process: takes job ids from RQ and runs each in a forked work-horse.

RQ brings the blocking pop, the fork and the time limit. What keeps jobs safe is not RQ but the lease in SQL: a job that
is lost here, in any way, is rung again by the dispatcher.
"""

import gc
import importlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from rq import Queue, Worker
from rq.exceptions import StopRequested
from rq.executions import Execution, ExecutionRegistry
from rq.job import Job
from rq.serializers import JSONSerializer

from service import imports
from service.queue.redis import RUN_JOB
from service.settings import Settings
from service.telemetry import configure_logging, logger
from workers.jobs.horse import TIMED_OUT, Assignment, Horse, Loss, cause_of
from workers.jobs.redis_values import AllowedJob, AllowedQueue, JobFunction, remove_misshapen

THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
# Imported before the fork, which saves a second a job, but never computed with: OpenMP used in the parent hangs horses.
PRELOADED = ("sklearn.linear_model", "sklearn.ensemble", "sklearn.cluster", "sklearn.neighbors", "skops.io")

HEARTBEAT_SECONDS = 5
WORKER_TTL_SECONDS = 3 * HEARTBEAT_SECONDS
RECONNECT_SECONDS = 0.5
AWAY_TOLD_SECONDS = 60.0
WARM_STOP_SECONDS = 4.0
COLD_STOP_SECONDS = 5.5
RUNNER = "workers.jobs.runner"


class GleanerWorker(Worker):
    """RQ's forking worker: horses die with it, its marks in Redis are short-lived, no maintenance, no commands."""

    queue_class = AllowedQueue
    max_connection_wait_time = 2 * RECONNECT_SECONDS
    warm: Callable[[], None] = staticmethod(lambda: None)
    _spare: Horse | None = None
    _horse: Horse | None = None  # that has a job
    record_loss: Callable[[Loss], None] = staticmethod(lambda _: None)
    _stopping = False
    _ridden: tuple[str, int] | None = None  # the job and the pid of the horse that has it
    _status: int | None = None  # how that horse ended
    _killed = False

    def subscribe(self) -> None:
        """Listen to no commands: jobs are cancelled in SQL, and who can write to Redis must not stop workers."""

    def check_for_suspension(self, burst: bool) -> None:  # noqa: FBT001  # RQ's interface
        """Suspend nothing, for the same reason."""

    @property
    def should_run_maintenance_tasks(self) -> bool:
        """Never: nothing is kept in Redis that would need it."""
        return False

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """Say that the worker lives, for three intervals at most whatever RQ asks for."""
        super().heartbeat(min(timeout or WORKER_TTL_SECONDS, WORKER_TTL_SECONDS), pipeline)

    def get_heartbeat_ttl(self, job: Job, working_time: float = 0.0) -> int:  # noqa: ARG002  # RQ's interface
        """Return how long a job counts as running without a heartbeat."""
        return WORKER_TTL_SECONDS

    def maintain_heartbeats(self, job: Job, execution: Execution) -> None:
        """Send heartbeats while a horse runs; it may go on when Redis is away, as it needs SQL only."""
        try:
            super().maintain_heartbeats(job, execution)
        except RedisError as error:
            _log().warning("redis_unavailable", error=str(error))

    def prepare_execution(self, job: Job) -> Execution:
        """Note the run, which is the only one of its ring: what else is noted is of a lost one, or of another type."""
        self.connection.delete(ExecutionRegistry.key_template.format(job.id))
        execution: Execution = super().prepare_execution(job)
        return execution

    def prepare_job_execution(self, job: Job, remove_from_intermediate_queue: bool = False) -> None:  # noqa: FBT001, FBT002  # RQ's interface
        """Let the job's entry expire, also when this process is killed."""
        super().prepare_job_execution(job, remove_from_intermediate_queue)
        self.connection.expire(job.key, int(job.timeout or 0) + WORKER_TTL_SECONDS)

    def handle_job_failure(self, job: Job, *args: Any, **kwargs: Any) -> None:
        """Forget a failed job: what failed and why is in SQL."""
        super().handle_job_failure(job, *args, **kwargs)
        job.delete()

    def saddle(self) -> None:
        """Have a warm horse wait for the next job."""
        if self._spare is None:
            self._spare = Horse.fork(warm=self.warm, work=self._work_assignment)

    def _work_assignment(self, assignment: Assignment) -> bool:
        """Work on what the parent was given; in the horse. Whether another job may follow in it."""
        self._is_horse = True
        try:
            job = AllowedJob.fetch(assignment.job_id, connection=self.connection, serializer=self.serializer)
            queue = next(queue for queue in self.queues if queue.name == assignment.queue)
            self.execution = Execution.fetch(assignment.execution_id, job.id, connection=self.connection)
            return bool(self.perform_job(job, queue, self.execution)) and job.another_may_follow
        finally:
            self.connection.connection_pool.disconnect()  # it may be long until the next job, and Redis go meanwhile

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Run one job in a horse, then keep it or saddle the next."""
        super().execute_job(job, queue)
        self._report()
        self._dismount()
        self.saddle()

    def wait_for_horse(self) -> tuple[Any, Any, Any]:
        """Wait for the horse to rest, which counts as a good end, or to end; RQ's alarm may break it off anywhere."""
        if self._horse is not None and self._horse.rests():
            self._status = os.EX_OK
            return self._horse.pid, os.EX_OK, None
        pid, status, usage = super().wait_for_horse()
        self._status = status if pid else self._status
        return pid, status, usage

    def _dismount(self) -> None:
        """Keep a horse that rests for the next job."""
        horse, self._horse = self._horse, None
        if horse is not None and horse.rests():
            self._spare = horse
        elif horse is not None:
            horse.close()

    def kill_horse(self, sig: signal.Signals = signal.SIGKILL) -> None:
        """Kill the horse, if there is one: pid 0 would be this process."""
        if self.horse_pid:
            self._killed = True
            super().kill_horse(sig)

    def _report(self, *, abandoned: bool = False) -> None:
        """Record how the horse ended, if it did not end well."""
        ridden, status, killed = self._ridden, self._status, self._killed
        self._ridden, self._status, self._killed = None, None, False
        cause = cause_of(status) if status is not None else None
        if ridden is None or cause is None:
            return
        if killed:
            cause = "its worker was stopped" if abandoned or self._stop_requested else TIMED_OUT
        _log().warning("horse_lost", job_id=ridden[0], cause=cause)
        self.record_loss(Loss(*ridden, cause=cause, passing=killed))

    def fork_work_horse(self, job: Job, queue: Queue) -> None:
        """Give the job to the waiting horse; to a new one when that has died."""
        execution = self.execution
        if execution is None:
            raise RuntimeError("RQ prepares an execution before it forks.")
        assignment = Assignment(job.id, queue.name, execution.id)
        self.saddle()
        while self._spare is not None and not self._spare.assign(assignment):
            self._spare = None
            self.saddle()
        if self._spare is not None:
            self._horse_pid = self._spare.pid
            # The id in Redis is the job's and the number of the attempt.
            self._ridden = (job.id.rpartition("-")[0], self._spare.pid)
        self._horse, self._spare = self._spare, None

    def request_stop(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002  # the interface of signals
        """Stop: at once when idle, else when the horse has ended, which is killed after a moment.

        A killed job is given back and run again by another worker. A Redis that hangs cannot hold this process: all
        that RQ would still tell it expires.
        """
        self._stop_requested = True
        if not self._stopping:
            self._stopping = True
            _after(WARM_STOP_SECONDS, self.kill_horse)
            _after(COLD_STOP_SECONDS, self._leave)
        if not self.horse_pid:
            raise StopRequested

    def _leave(self) -> None:
        self.kill_horse()
        _log().warning("stopped_without_redis")
        os._exit(0)

    @property
    def stop_requested(self) -> bool:
        """Whether this process was told to stop."""
        return self._stop_requested

    def abandon(self) -> None:
        """Leave nothing behind after an unexpected failure."""
        if self.horse_pid:
            self.kill_horse()
            self.wait_for_horse()
        self._report(abandoned=True)
        self._dismount()
        if self._spare is not None:
            self._spare.dismiss()
            self._spare = None


def prepare(settings: Settings, functions: Mapping[str, JobFunction] | None = None) -> None:
    """Load what a worker needs: once for all that are forked from this process.

    Args:
        settings: Of the workers.
        functions: What a job may call, by name; the job runner when None.

    Raises:
        PluginError: a plug-in is not what the catalogue says.
    """
    # One thread each for BLAS and OpenMP, before numpy is imported: spinning threads of several workers fight for the
    # cores. Chunks of a job are worked on in parallel instead.
    for variable in THREAD_VARIABLES:
        os.environ.setdefault(variable, "1")
    configure_logging(settings.log_level, role="worker")
    if functions is None:
        with imports.no_search():
            workshop = preload(settings)
        functions = {RUN_JOB: workshop.run_job}
        GleanerWorker.warm = staticmethod(workshop.warm)
        GleanerWorker.record_loss = staticmethod(workshop.record_loss)
    AllowedJob.functions = functions
    gc.freeze()  # what is here now stays: horses neither scan nor copy it
    logging.getLogger("rq.worker").setLevel(logging.WARNING)


def work(settings: Settings, queues: Sequence[str]) -> None:
    """Work on `queues`, in that order, until SIGTERM or SIGINT; wait for Redis whenever it is away."""
    stop, seldom = False, _Seldom()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        while not stop:
            stop = _work(settings, queues, seldom)
            if not stop:
                time.sleep(RECONNECT_SECONDS)
    except (StopRequested, KeyboardInterrupt):
        return


def preload(settings: Settings) -> Any:
    """Import and prepare what jobs need, so that horses need not: the workshop of `workers.jobs.runner`."""
    with imports.lean():
        for name in PRELOADED:
            importlib.import_module(name)
    workshop = importlib.import_module(RUNNER).Workshop(settings)
    workshop.prepare()
    return workshop


class _Seldom:
    """Lets the log say once a minute that Redis is away, which is tried far more often."""

    def __init__(self) -> None:
        self._until = 0.0

    def tell(self, error: RedisError) -> None:
        """Say it, unless it was said a moment ago."""
        if time.monotonic() >= self._until:
            self._until = time.monotonic() + AWAY_TOLD_SECONDS
            _log().warning("redis_unavailable", error=str(error))


def _work(settings: Settings, queues: Sequence[str], seldom: _Seldom) -> bool:
    """Work until told to stop (True) or until something fails (False); RQ logs what."""
    worker: GleanerWorker | None = None
    connection = Redis.from_url(
        settings.queue_url,
        socket_connect_timeout=1.0,
        socket_timeout=2 * HEARTBEAT_SECONDS,  # longer than RQ blocks: an idle queue is no silent server
        retry=Retry(NoBackoff(), 0),
    )
    try:
        remove_misshapen(connection, queues)
        worker = GleanerWorker(
            list(queues),
            connection=connection,
            job_class=AllowedJob,
            serializer=JSONSerializer,
            default_result_ttl=0,
            # RQ blocks for the time to live less 15 seconds.
            worker_ttl=15 + HEARTBEAT_SECONDS,
            job_monitoring_interval=HEARTBEAT_SECONDS,
            log_job_description=False,
            disable_default_exception_handler=True,
        )
        worker.saddle()
        worker.work(logging_level="WARNING")
    except RedisError as error:
        seldom.tell(error)
    finally:
        if worker is not None:
            worker.abandon()
        connection.close()
    return worker is not None and worker.stop_requested


def _after(seconds: float, action: Callable[[], None]) -> None:
    timer = threading.Timer(seconds, action)
    timer.daemon = True
    timer.start()


def _log() -> Any:
    return logger(__name__)

"""The queue in Redis: RQ's lists, filled with ids only."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry
from rq import Queue as RQQueue
from rq.job import Job as RQJob
from rq.serializers import JSONSerializer
from rq.worker_registration import WORKERS_BY_QUEUE_KEY

from service.queue.messages import QUEUES, QueueUnavailableError, Ring

RUN_JOB = "gleaner.run_job"  # the only name that workers call
FAILURE_TTL_SECONDS = 60
CONNECT_SECONDS = 0.3
OPERATION_SECONDS = 1.0

Answer = TypeVar("Answer")


class RedisQueue:
    """Rings jobs over RQ. Every call ends within about a second, also when the server is away.

    Args:
        url: `redis://`, `rediss://` or `unix://`.
        timeouts: After how many seconds a worker ends a job, by queue.
    """

    def __init__(self, url: str, *, timeouts: Mapping[str, int]) -> None:
        self._redis = Redis.from_url(
            url,
            socket_connect_timeout=CONNECT_SECONDS,
            socket_timeout=OPERATION_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        self._timeouts = timeouts
        self._queues = {name: RQQueue(name, connection=self._redis, serializer=JSONSerializer) for name in QUEUES}

    def ring(self, rings: list[Ring]) -> None:
        """Put the jobs into their queues, in one round trip.

        Raises:
            QueueUnavailableError: The server does not answer; perhaps some were rung, never others.
        """
        self._ask(partial(self._ring, rings))

    def waiting(self) -> set[str]:
        """Return the `rq_id`s that wait in the queues now.

        Raises:
            QueueUnavailableError: The server does not answer.
        """
        return self._ask(self._waiting)

    def workers(self) -> dict[str, int]:
        """Count the workers that serve each queue: those whose marks have not expired.

        Raises:
            QueueUnavailableError: The server does not answer.
        """
        return self._ask(self._workers)

    def ping(self) -> bool:
        """Say whether the server answers."""
        try:
            return self._ask(self._redis.ping)
        except QueueUnavailableError:
            return False

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def _ring(self, rings: list[Ring]) -> None:
        try:
            self._enqueue(rings)
        except ResponseError:  # something else has the name of a job
            self._redis.delete(*(RQJob.key_for(ring.rq_id) for ring in rings))
            self._enqueue(rings)

    def _enqueue(self, rings: list[Ring]) -> None:
        with self._redis.pipeline() as pipeline:
            for ring in rings:
                self._queues[ring.queue].enqueue_call(
                    RUN_JOB,
                    kwargs={"job_id": ring.job_id},
                    job_id=ring.rq_id,
                    timeout=self._timeouts[ring.queue],
                    result_ttl=0,
                    failure_ttl=FAILURE_TTL_SECONDS,
                    description=ring.rq_id,
                    pipeline=pipeline,
                )
            pipeline.execute()

    def _waiting(self) -> set[str]:
        with self._redis.pipeline(transaction=False) as pipeline:
            for queue in self._queues.values():
                pipeline.lrange(queue.key, 0, -1)
            return {rq_id.decode(errors="replace") for ids in pipeline.execute() for rq_id in ids}

    def _workers(self) -> dict[str, int]:
        with self._redis.pipeline(transaction=False) as pipeline:
            for name in QUEUES:
                pipeline.smembers(WORKERS_BY_QUEUE_KEY % name)
            registered = pipeline.execute()
            for names in registered:
                pipeline.exists(*names) if names else pipeline.echo(b"0")  # none cannot be asked for
            return {queue: int(living) for queue, living in zip(QUEUES, pipeline.execute(), strict=True)}

    def _ask(self, question: Callable[[], Answer]) -> Answer:
        try:
            return question()
        except RedisError as error:
            raise QueueUnavailableError(str(error)) from error

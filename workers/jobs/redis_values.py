"""What workers take from Redis, none of which they trust.

Who can write to Redis may delay jobs, but must not run code here nor stop workers: a value that is not as RQ writes it
is dropped, and the job, if there is one, is rung again from SQL.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self, cast

from redis import Redis
from redis.exceptions import ResponseError
from rq import Queue
from rq.exceptions import NoSuchJobError
from rq.job import Job
from rq.utils import as_text

from service.telemetry import logger

JobFunction = Callable[[str], bool]  # whether another job may follow in the same process

MAX_ID_LENGTH = 200
MAX_CALL_BYTES = 4096
_SHOWN_OF_ID = 64
# What a ring writes and a run needs. Nothing else is read: no results, callbacks, webhooks, dependencies, repeats.
_FIELDS = (b"data", b"status", b"origin", b"timeout", b"created_at", b"enqueued_at", b"result_ttl", b"failure_ttl")
_MISSHAPEN = (ResponseError, ValueError, TypeError, OverflowError, AssertionError)  # by Redis and by RQ's reading
_TYPES = {
    "rq:queues": "set",
    "rq:workers": "set",
    "rq:workers:{}": "set",
    "rq:queue:{}": "list",
    "rq:queue:{}:intermediate": "list",
    "rq:wip:{}": "zset",
    "rq:failed:{}": "zset",
    "rq:finished:{}": "zset",
}
_log = logger(__name__)


class ForbiddenJobError(Exception):
    """A job in Redis is not a call that workers answer."""


class AllowedQueue(Queue):
    """A queue whose ids may be any bytes."""

    @classmethod
    def lpop(cls, *args: Any, **kwargs: Any) -> Any:
        """Take from the first queue that has something: its key and an id."""
        return _with_text(super().lpop(*args, **kwargs))

    @classmethod
    def lmove(cls, *args: Any, **kwargs: Any) -> Any:
        """Take from the one queue: its key and an id."""
        return _with_text(super().lmove(*args, **kwargs))


class AllowedJob(Job):
    """A job that can call only the functions of a mapping, with a job id.

    RQ imports whatever name it finds in Redis, for the function and for callbacks, and sends webhooks to any URL found
    there.
    """

    functions: ClassVar[Mapping[str, JobFunction]] = {}
    another_may_follow = False  # what the function said

    @classmethod
    def fetch(cls, id: str, connection: Redis | None = None, serializer: Any = None) -> Self:  # noqa: A002  # RQ's name
        """Read a job.

        Raises:
            NoSuchJobError: There is none, or it is not one that was rung: RQ then takes the next.
        """
        try:
            job = super().fetch(id[:MAX_ID_LENGTH], connection=connection, serializer=serializer)
        except (NoSuchJobError, *_MISSHAPEN) as error:
            tell = _log.info if isinstance(error, NoSuchJobError) else _log.warning
            tell("redis_job_dropped", rq_id=id[:_SHOWN_OF_ID], cause=type(error).__name__)
            raise NoSuchJobError("Not a job.") from error
        return cast("Self", job)  # RQ makes one of this class

    def restore(self, raw_data: Mapping[bytes, bytes]) -> None:
        """Take over what was rung."""
        wanted = {name: raw_data[name] for name in _FIELDS if name in raw_data}
        if len(wanted.get(b"data", b"")) > MAX_CALL_BYTES:
            raise ValueError("The call is too long.")
        super().restore(wanted)

    def _execute(self) -> None:
        function = self.functions.get(str(self.func_name))
        match (self.instance, self.args, self.kwargs):
            case (None, [], {"job_id": str() as job_id, **others}) if function and not others:
                self.another_may_follow = function(job_id)
            case _:
                raise ForbiddenJobError("The job in Redis is not one that workers run.")

    @property
    def func(self) -> None:
        """Nothing: no name from Redis is imported."""
        return None

    @property
    def success_callback(self) -> None:
        """Nothing: no name from Redis is imported."""
        return None

    failure_callback = success_callback
    stopped_callback = success_callback

    def send_webhooks(self, *_: object, **__: object) -> None:
        """Send nothing: no URL from Redis is called."""


def remove_misshapen(connection: Redis, queues: Sequence[str]) -> None:
    """Remove keys that are of another type than RQ's of that name: every use of them would fail for ever."""
    for template, wanted in _TYPES.items():
        for key in {template.format(queue) for queue in queues}:
            found = as_text(connection.type(key))
            if found not in {wanted, "none"}:
                _log.warning("redis_key_removed", key=key, type=found, wanted=wanted)
                connection.delete(key)


def _with_text(taken: tuple[Any, bytes] | None) -> tuple[Any, str] | None:
    return None if taken is None else (taken[0], taken[1].decode(errors="replace"))

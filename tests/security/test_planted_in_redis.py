"""What somebody planted in Redis stops no worker, and is never run: through a real worker's loop."""

import os
import pickle
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from service.queue.messages import TRAINING, QueueUnavailableError
from tests.support.planted_rings import QUEUE, call, push
from tests.support.redis_server import RedisServer, running_redis, wait_until
from tests.support.stopwatch import Stopwatch, assert_within
from tests.support.worker_process import WorkerProcess, ring

pytestmark = pytest.mark.processes

HONEST = "job_honest"
MOST_LOGGED = 20_000
MOST_RUNS = 10
MOST_SECONDS = 7


class Canary:
    """Makes a folder when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self._target = target

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self._target),)


def set_text(key: str, redis: Redis) -> None:
    """Plant a text under a key."""
    redis.set(key, "planted")


def text_for_job(redis: Redis) -> None:
    """Plant a text where a job is, and ring that."""
    redis.set("rq:job:job_text-0", "planted")
    push(redis, b"job_text-0")


def fields(**planted: Any) -> Callable[[Redis], None]:
    """Plant a job whose fields are wrong."""
    return lambda redis: push(redis, b"job_planted-0", **{"data": call(job_id="job_planted"), **planted})


DROPPED = "redis_job_dropped"
REMOVED = "redis_key_removed"
FORBIDDEN = "ForbiddenJobError"
UNREADABLE = "DeserializationError"
# What is planted, and what the log then says; None where it is not looked at, and so neither refused nor unreadable.
PLANTED: dict[str, tuple[Callable[[Redis], None], str | None]] = {
    "a text for what is under way": (partial(set_text, QUEUE.replace("queue", "wip")), REMOVED),
    "a text for the workers": (partial(set_text, "rq:workers"), None),
    "a text for an honest job": (partial(set_text, f"rq:job:{HONEST}-0"), None),
    "a text for an honest job's runs": (partial(set_text, f"rq:executions:{HONEST}-0"), None),
    "a text for a rung job": (text_for_job, DROPPED),
    "an unknown id": (lambda redis: push(redis, b"job_unknown-0"), DROPPED),
    "an id of rubbish": (lambda redis: push(redis, b"\xff\xfe\0\x80\r\n"), DROPPED),
    "an id of 10 MB": (lambda redis: push(redis, b"x" * 10_000_000, data=call(job_id="job_long")), DROPPED),
    "no call": (fields(data=b"7"), UNREADABLE),
    "rubbish": (fields(data=b"\xff\0\xfe", origin=b"\xff"), DROPPED),
    "a call that unpacks to much": (fields(data=zlib.compress(bytes(1 << 27))), DROPPED),
    "a call within many": (fields(data=b"[" * 4000), UNREADABLE),
    "no time": (fields(created_at="soon"), DROPPED),
    "no state": (fields(status="soon"), DROPPED),
    "no time limit": (fields(timeout="soon"), DROPPED),
    "another function": (fields(data=call("os.mkdir", path="CANARY")), FORBIDDEN),
    "another argument": (fields(data=call(job_id="job_planted", path="CANARY")), FORBIDDEN),
    "no id": (fields(data=call(job_id=["job_planted"])), FORBIDDEN),
    "repeats": (fields(repeats_left="100000", repeat_intervals="[0]", retries_left="100000"), None),
    "a suspension": (partial(set_text, "rq:suspended"), None),
}


def everything(target: Path) -> Iterator[tuple[Callable[[Redis], None], str | None]]:
    """What is planted one after another, with the things that would make a folder or import a module."""
    pickled = pickle.dumps(Canary(target))
    named = {f"{kind}_callback_name": "antigravity.geohash" for kind in ("success", "failure", "stopped")}
    yield from PLANTED.values()
    yield fields(data=pickled), UNREADABLE
    yield fields(data=zlib.compress(pickled)), UNREADABLE
    yield fields(result=pickled, exc_info=pickled, meta=pickled, group_id=pickled), None
    yield fields(**named, webhooks='[{"url": "http://127.0.0.1:9/"}]'), None


def ring_until_done(server: RedisServer, worker: WorkerProcess, done: int) -> None:
    """Ring the honest job until it was done more often than that: again and again, as the dispatcher does."""
    with Stopwatch(worker.process.pid) as ringing:
        for _ in range(100):
            with suppress(QueueUnavailableError):
                ring(server, HONEST)
            with suppress(AssertionError):
                wait_until(lambda: worker.done().count(HONEST) > done, 0.7)
                break
    assert worker.done().count(HONEST) > done, worker.log()[-2000:]
    assert ringing.seconds < MOST_SECONDS


def has_told(worker: WorkerProcess, logged: int, told: str) -> bool:
    return told in worker.log()[logged:]


def test_whatever_is_planted_honest_jobs_go_on_and_nothing_else_is_run(tmp_path: Path) -> None:
    target = tmp_path / "made"
    with running_redis() as server, Redis.from_url(server.url) as redis:
        worker = WorkerProcess(tmp_path, server.url)
        try:
            ring_until_done(server, worker, 0)
            for plant, told in everything(target):
                done, logged = worker.done().count(HONEST), len(worker.log())
                plant(redis)
                ring_until_done(server, worker, done)
                if told is None:
                    assert not {FORBIDDEN, UNREADABLE} & set(re.findall(r"\w+", worker.log()[logged:]))
                else:
                    assert_within(3, partial(has_told, worker, logged, told), worker.process.pid)
                assert len(worker.log()) - logged < MOST_LOGGED
            assert worker.process.poll() is None
            assert worker.done().count("job_planted") < MOST_RUNS
        finally:
            worker.kill()
    assert not target.exists()
    assert "antigravity" not in worker.log()


def test_a_queue_of_another_type_is_made_anew(tmp_path: Path) -> None:
    with running_redis() as server, Redis.from_url(server.url) as redis:
        redis.set(QUEUE, "planted")
        redis.hset(f"rq:queue:{TRAINING}", "a", "b")
        worker = WorkerProcess(tmp_path, server.url)
        try:
            ring_until_done(server, worker, 0)
        finally:
            worker.kill()
    assert worker.log().count(REMOVED) == 2

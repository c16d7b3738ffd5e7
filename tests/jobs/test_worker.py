"""The worker as a real process against a real Redis, with functions of the test in its allow-list."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis
from rq import Queue
from rq.serializers import JSONSerializer

from service.queue.messages import INTERACTIVE, TRAINING
from tests.support.processes import alive
from tests.support.redis_server import PATIENCE_SECONDS, RedisServer, running_redis, wait_until
from tests.support.stopwatch import Stopwatch, assert_within
from tests.support.worker_process import WorkerProcess, ring

pytestmark = pytest.mark.processes


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


@pytest.fixture
def start(redis: RedisServer, tmp_path: Path) -> Iterator[Callable[..., WorkerProcess]]:
    started: list[WorkerProcess] = []

    def start(*queues: str) -> WorkerProcess:
        started.append(WorkerProcess(tmp_path, redis.url, *queues))
        return started[-1]

    yield start
    for worker in started:
        worker.kill()


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RedisServer, WorkerProcess]]:
    """A server and a worker that outlive what is done to them."""
    with running_redis() as server:
        made = WorkerProcess(tmp_path_factory.mktemp("lasting"), server.url)
        yield server, made
        assert made.process.poll() is None
        made.kill()


@pytest.fixture
def worker(lasting: tuple[RedisServer, WorkerProcess]) -> WorkerProcess:
    wait_until(lambda: keys_left(lasting[0]) == set())  # else what is left of a job takes another of its name along
    lasting[1].forget()
    return lasting[1]


@pytest.fixture
def its_redis(lasting: tuple[RedisServer, WorkerProcess]) -> RedisServer:
    return lasting[0]


def enqueue(redis: RedisServer, name: str, *args: object, **kwargs: object) -> None:
    with Redis.from_url(redis.url) as connection:
        Queue(INTERACTIVE, connection=connection, serializer=JSONSerializer).enqueue_call(
            name, args=args, kwargs=kwargs, timeout=7200, result_ttl=0
        )


def stopped(worker: WorkerProcess) -> float:
    """Stop the worker in good order; the seconds that it took."""
    with Stopwatch(worker.process.pid) as stopping:
        worker.process.terminate()
        assert worker.process.wait(PATIENCE_SECONDS) == 0
    return stopping.seconds


def keys_left(redis: RedisServer) -> set[str]:
    with Redis.from_url(redis.url) as connection:
        return {key.decode() for key in connection.keys("rq:job:*")}


def test_jobs_run_in_order_with_one_blas_thread_and_leave_nothing_in_redis(
    redis: RedisServer, start: Callable[..., WorkerProcess]
) -> None:
    ring(redis, "job_c", queue=TRAINING)
    ring(redis, "job_a", "job_b")
    worker = start()
    wait_until(lambda: worker.done() == ["job_a", "job_b", "job_c"])
    assert worker.threads() == ["1"] * 3
    wait_until(lambda: keys_left(redis) == set())


def test_only_allowed_functions_are_called(its_redis: RedisServer, worker: WorkerProcess) -> None:
    target = worker.folder / "made"
    enqueue(its_redis, "os.mkdir", str(target))
    enqueue(its_redis, "tests.support.redis_server.running_redis")
    enqueue(its_redis, "gleaner.run_job", "job_positional")
    enqueue(its_redis, "gleaner.run_job", job_id="job_a", path=str(target))
    enqueue(its_redis, "gleaner.run_job", job_id=7)
    enqueue(its_redis, "gleaner.run_job")
    ring(its_redis, "job_last")
    wait_until(lambda: worker.done() == ["job_last"])
    assert not target.exists()
    assert worker.log().count("ForbiddenJobError") >= 6
    wait_until(lambda: keys_left(its_redis) == set())


def test_callbacks_named_in_redis_are_not_imported(redis: RedisServer, start: Callable[..., WorkerProcess]) -> None:
    ring(redis, "job_a")
    with Redis.from_url(redis.url) as connection:
        callbacks = {f"{kind}_callback_name": "antigravity.geohash" for kind in ("success", "failure", "stopped")}
        connection.hset("rq:job:job_a-0", mapping={**callbacks, "success_callback_timeout": "5"})
    worker = start()
    wait_until(lambda: worker.done() == ["job_a"])
    wait_until(lambda: keys_left(redis) == set())
    assert "antigravity" not in worker.log()


def test_a_horse_that_did_interactive_jobs_takes_the_next_and_every_other_job_is_its_last(
    its_redis: RedisServer, worker: WorkerProcess
) -> None:
    ring(its_redis, "job_a")
    wait_until(lambda: len(worker.done()) == 1)
    ring(its_redis, "job_b")
    wait_until(lambda: len(worker.done()) == 2)
    ring(its_redis, "job_c", queue=TRAINING)
    wait_until(lambda: len(worker.done()) == 3)
    ring(its_redis, "job_d")
    wait_until(lambda: len(worker.done()) == 4)
    a, b, c, d = worker.horses()
    assert a == b == c != d


def test_a_job_that_raises_is_the_last_of_its_horse(its_redis: RedisServer, worker: WorkerProcess) -> None:
    ring(its_redis, "job_a")
    wait_until(lambda: worker.done() == ["job_a"])
    enqueue(its_redis, "test.fail", job_id="job_x")
    ring(its_redis, "job_b")
    wait_until(lambda: worker.done() == ["job_a", "job_b"])
    before, after = worker.horses()
    assert before != after


def test_a_job_that_allows_no_other_is_the_last_of_its_horse(its_redis: RedisServer, worker: WorkerProcess) -> None:
    enqueue(its_redis, "test.last", job_id="job_a")
    ring(its_redis, "job_b")
    wait_until(lambda: worker.done() == ["job_a", "job_b"])
    before, after = worker.horses()
    assert before != after


def test_a_horse_that_rests_may_die(its_redis: RedisServer, worker: WorkerProcess) -> None:
    ring(its_redis, "job_a")
    wait_until(lambda: worker.done() == ["job_a"])
    wait_until(lambda: keys_left(its_redis) == set())
    horse = worker.horses()[0]
    os.kill(horse, signal.SIGKILL)
    wait_until(lambda: not alive(horse))  # else it may be given the job, which is lost with it
    ring(its_redis, "job_b")
    wait_until(lambda: worker.done() == ["job_a", "job_b"])


def test_a_job_that_raises_stops_nothing(its_redis: RedisServer, worker: WorkerProcess) -> None:
    enqueue(its_redis, "test.fail", job_id="job_a")
    ring(its_redis, "job_b")
    wait_until(lambda: worker.done() == ["job_b"])
    wait_until(lambda: keys_left(its_redis) == set())


def test_a_killed_worker_takes_its_horse_along(redis: RedisServer, start: Callable[..., WorkerProcess]) -> None:
    worker = start()
    enqueue(redis, "test.hang", job_id="job_3600")
    horse = worker.horse()
    assert alive(horse)
    worker.process.kill()
    worker.process.wait()
    assert_within(2, lambda: not alive(horse))


def test_a_killed_horse_does_not_stop_its_worker(its_redis: RedisServer, worker: WorkerProcess) -> None:
    enqueue(its_redis, "test.hang", job_id="job_3600")
    os.kill(worker.horse(), signal.SIGKILL)
    ring(its_redis, "job_b")
    wait_until(lambda: worker.done() == ["job_b"])


def test_an_idle_worker_stops_at_once(redis: RedisServer, start: Callable[..., WorkerProcess]) -> None:
    worker = start()
    ring(redis, "job_a")
    wait_until(lambda: worker.done() == ["job_a"])
    time.sleep(0.2)
    assert stopped(worker) < 2


@pytest.mark.parametrize(("seconds", "finishes"), [("1", True), ("60", False)])
def test_a_stopping_worker_gives_its_horse_a_moment(
    redis: RedisServer, start: Callable[..., WorkerProcess], seconds: str, *, finishes: bool
) -> None:
    worker = start()
    enqueue(redis, "test.hang", job_id=f"job_{seconds}")
    horse = worker.horse()
    assert stopped(worker) < 6
    assert not alive(horse)
    assert worker.done() == ([f"job_{seconds}"] if finishes else [])


def test_a_worker_waits_for_redis_and_resumes(redis: RedisServer, start: Callable[..., WorkerProcess]) -> None:
    redis.stop()
    worker = start()
    time.sleep(1)
    redis.start()
    ring(redis, "job_a")
    assert_within(5, lambda: worker.done() == ["job_a"], worker.process.pid)
    redis.stop()
    time.sleep(1.5)
    redis.start()
    ring(redis, "job_b")
    assert_within(3, lambda: worker.done() == ["job_a", "job_b"], worker.process.pid)
    with Redis.from_url(redis.url) as connection:
        connection.flushall()
    ring(redis, "job_c")
    assert_within(3, lambda: worker.done() == ["job_a", "job_b", "job_c"], worker.process.pid)
    redis.stop()
    time.sleep(0.5)
    assert stopped(worker) < 3


def test_a_job_goes_on_while_redis_is_away_and_the_worker_takes_the_next(
    redis: RedisServer, start: Callable[..., WorkerProcess]
) -> None:
    worker = start(INTERACTIVE)
    enqueue(redis, "test.hang", job_id="job_2")
    worker.horse()
    redis.stop()
    assert_within(5, lambda: worker.done() == ["job_2"], worker.process.pid)
    redis.start()
    ring(redis, "job_b")
    assert_within(5, lambda: worker.done() == ["job_2", "job_b"], worker.process.pid)

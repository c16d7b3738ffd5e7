"""One contract for every queue."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from redis import Redis
from rq import Queue as RQQueue
from rq.job import Job
from rq.serializers import JSONSerializer

from service.queue.memory import MemoryQueue
from service.queue.messages import INTERACTIVE, MAINTENANCE, QUEUES, TRAINING, Queue, QueueUnavailableError, Ring
from service.queue.redis import RedisQueue
from tests.support.redis_server import RedisServer, running_redis
from tests.support.stopwatch import Stopwatch

RINGS = [Ring("job_a", INTERACTIVE, 0), Ring("job_b", TRAINING, 3), Ring("job_c", MAINTENANCE, 0)]

TIMEOUTS = {INTERACTIVE: 30, TRAINING: 60, MAINTENANCE: 60}


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with running_redis() as running:
        yield running


@pytest.fixture(params=["redis", "memory"])
def queue(request: pytest.FixtureRequest) -> Iterator[Queue]:
    if request.param == "memory":
        yield MemoryQueue()
        return
    server = request.getfixturevalue("server")
    with Redis.from_url(server.url) as connection:
        connection.flushall()
    made = RedisQueue(server.url, timeouts=TIMEOUTS)
    yield made
    made.close()


def test_what_is_rung_waits(queue: Queue) -> None:
    assert queue.ping()
    assert queue.waiting() == set()
    assert queue.workers() == dict.fromkeys(QUEUES, 0)
    queue.ring(RINGS)
    queue.ring([])
    assert queue.waiting() == {"job_a-0", "job_b-3", "job_c-0"} == {ring.rq_id for ring in RINGS}


def test_ringing_twice_waits_once_by_name(queue: Queue) -> None:
    queue.ring(RINGS)
    queue.ring(RINGS)
    queue.ring([Ring("job_a", INTERACTIVE, 1)])
    assert queue.waiting() == {"job_a-0", "job_a-1", "job_b-3", "job_c-0"}


def test_threads_may_share_it(queue: Queue) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: queue.ring([Ring(f"job_{number}", INTERACTIVE, 0)]), range(100)))
    assert len(queue.waiting()) == 100


def test_memory_gives_rings_to_workers_in_order_of_queues() -> None:
    queue = MemoryQueue()
    queue.ring(RINGS[::-1])
    assert queue.take(TRAINING) == RINGS[1]
    assert queue.take(TRAINING) is None
    assert [queue.take(), queue.take(), queue.take()] == [RINGS[0], RINGS[2], None]


def test_memory_can_be_away() -> None:
    queue = MemoryQueue()
    queue.available = False
    assert not queue.ping()
    with pytest.raises(QueueUnavailableError):
        queue.ring(RINGS)


def test_redis_holds_an_id_as_json_and_nothing_else_of_the_job(server: RedisServer) -> None:
    RedisQueue(server.url, timeouts=TIMEOUTS).ring([Ring("job_x", TRAINING, 2)])
    with Redis.from_url(server.url) as connection:
        job = Job.fetch("job_x-2", connection=connection, serializer=JSONSerializer)
        assert (job.func_name, job.args, job.kwargs) == ("gleaner.run_job", [], {"job_id": "job_x"})
        assert (job.timeout, job.result_ttl, job.origin) == (60, 0, TRAINING)
        assert {name.decode() for name in connection.smembers(RQQueue.redis_queues_keys)} <= {
            f"rq:queue:{name}" for name in QUEUES
        }


def test_a_redis_that_is_away_or_hangs_is_noticed_quickly(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "hangs"))
    listener.listen()
    for path in (tmp_path / "away", tmp_path / "hangs"):
        queue = RedisQueue(f"unix://{path}", timeouts=TIMEOUTS)
        with Stopwatch() as noticing:
            assert not queue.ping()
            with pytest.raises(QueueUnavailableError):
                queue.ring(RINGS)
        assert noticing.seconds < 3
    listener.close()


def test_a_redis_that_comes_back_is_used_again() -> None:
    with running_redis() as server:
        queue = RedisQueue(server.url, timeouts=TIMEOUTS)
        queue.ring(RINGS)
        server.stop()
        with pytest.raises(QueueUnavailableError):
            queue.waiting()
        server.start()
        assert queue.waiting() == set()
        queue.ring(RINGS)
        assert len(queue.waiting()) == 3
        queue.close()

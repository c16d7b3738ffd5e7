"""How long a job waits that a worker took and never spoke of again."""

import asyncio
import time
from datetime import timedelta
from pathlib import Path

from service.actions import jobs
from service.api.deps.runtime import Runtime, utc_now
from service.dispatcher.main import dispatch
from service.queue.memory import MemoryQueue
from service.queue.messages import MergeMessage
from tests.dispatcher.receivers import run, until
from tests.support.redis_server import PATIENCE_SECONDS
from tests.support.runtime import make_runtime
from tests.support.stopwatch import Stopwatch

LEASE_SECONDS = 1.0
LOOK_SECONDS = 1.0
RING_SECONDS = 0.5
SLACK_SECONDS = 3.0  # of a busy machine


def take(runtime: Runtime, job_id: str) -> None:
    """Begin the job, as a worker does that is then killed or frozen."""
    queue = runtime.queue
    assert isinstance(queue, MemoryQueue)
    assert queue.take() is not None
    with runtime.database.write() as session:
        assert jobs.claim(session, job_id, lease=timedelta(seconds=LEASE_SECONDS), now=utc_now()) is not None


def test_a_job_of_a_silent_worker_is_rung_after_its_lease_and_a_wait_that_doubles(tmp_path: Path) -> None:
    runtime = make_runtime(tmp_path, job_lease_seconds=LEASE_SECONDS)
    with runtime.write() as session:
        job = jobs.enqueue(session, project_id="prj_a", kind="merge", message=MergeMessage(), now=utc_now(), share=1)
    took: list[tuple[float, float]] = []

    async def scenario() -> None:
        stop = asyncio.Event()
        dispatching = asyncio.create_task(dispatch(runtime, stop))
        for _ in range(3):
            began = time.monotonic()
            with Stopwatch() as by_itself:
                await asyncio.to_thread(take, runtime, job.id)
                await until(lambda: bool(runtime.queue.waiting()))
            took.append((time.monotonic() - began, by_itself.seconds))
        stop.set()
        await asyncio.wait_for(dispatching, PATIENCE_SECONDS)

    run(scenario)
    runtime.database.close()
    for (seconds, by_itself), wait in zip(took, (0.5, 1.0, 2.0), strict=True):
        least = LEASE_SECONDS + wait
        assert seconds >= least
        assert by_itself < least + LOOK_SECONDS + RING_SECONDS + SLACK_SECONDS


def test_the_wait_between_attempts_doubles_up_to_half_a_minute() -> None:
    waits = [jobs.wait_after(attempt).total_seconds() for attempt in (1, 2, 3, 6, 7, 8, 1000)]
    assert waits == [0.5, 1, 2, 16, 30, 30, 30]

"""Runs jobs in the test's own process, with the code that a work-horse runs."""

from service.api.deps.runtime import Runtime
from service.queue.memory import MemoryQueue
from workers.jobs import runner


def run_job(runtime: Runtime, job_id: str) -> bool:
    """One job; whether it succeeded in this run."""
    return runner.run(
        job_id,
        settings=runtime.settings,
        database=runtime.database,
        objects=runtime.objects,
        queue=runtime.queue,
    )


def drain(runtime: Runtime) -> int:
    """Everything that was rung, in order, until nothing waits; how many."""
    queue = runtime.queue
    assert isinstance(queue, MemoryQueue)
    done = 0
    while (ring := queue.take()) is not None:
        run_job(runtime, ring.job_id)
        done += 1
    return done

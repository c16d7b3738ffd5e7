"""The heartbeat of a job in the main thread, where a lost job is interrupted."""

import threading
from datetime import timedelta

import pytest

from service.actions import jobs
from service.api.deps.runtime import Runtime, utc_now
from tests.support.pools import ask
from tests.support.redis_server import PATIENCE_SECONDS
from tests.support.runtime import Api
from tests.support.stopwatch import Stopwatch
from workers.jobs.context import JobContext, JobLostError
from workers.jobs.heartbeat import heartbeat

BEATS = 1.5  # seconds: more than two ticks


def context_of(runtime: Runtime, job_id: str) -> JobContext:
    """A claimed job, as the runner gives it to a job's function."""
    with runtime.write() as session:
        claim = jobs.claim(session, job_id, lease=timedelta(seconds=10), now=utc_now())
    assert claim is not None
    return JobContext(
        claim=claim,
        settings=runtime.settings,
        objects=runtime.objects,
        read=runtime.database.read,
        write=runtime.write,
    )


def test_a_job_that_has_finished_may_tidy_up_undisturbed(api: Api) -> None:
    context = context_of(api.runtime, ask(api, api.project(), k=1))
    with heartbeat(context):
        with context.fenced() as (session, _):
            context.finish(session, {})
        context.progress.tell(1, 1, "tidying")
        assert not threading.Event().wait(BEATS)
    assert context.finished.is_set()


def test_a_job_that_is_lost_is_interrupted(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.jobs.heartbeat._GRACE_SECONDS", PATIENCE_SECONDS)  # else it ends this process
    job_id = ask(api, api.project(), k=1)
    context = context_of(api.runtime, job_id)
    with Stopwatch() as noticing, pytest.raises(JobLostError), heartbeat(context):  # noqa: PT012 - the block is the job
        assert api.http.post(f"/v1/jobs/{job_id}/cancel").status_code == 200
        context.progress.tell(1, 2, "working")
        threading.Event().wait(PATIENCE_SECONDS)
    assert noticing.seconds < 10 * BEATS

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from service.actions import jobs
from service.api.deps.runtime import Runtime, utc_now
from service.db.tables import Job, Outbox
from service.dispatcher.relay import Relay
from service.dispatcher.timers import Task, tasks
from service.queue.memory import MemoryQueue
from service.queue.messages import MergeMessage, TrainingMessage
from tests.support.runtime import make_api, make_runtime

SHARE = 3
LEASE = timedelta(seconds=10)


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    made = make_runtime(tmp_path, jobs_in_queue_per_project=SHARE, sweep_seconds=0.001, job_max_attempts=2)
    yield made
    made.database.close()


@pytest.fixture
def queue(runtime: Runtime) -> MemoryQueue:
    assert isinstance(runtime.queue, MemoryQueue)
    return runtime.queue


def enqueue(runtime: Runtime, project_id: str, *, kind: str = "merge", ring: bool = False) -> str:
    """A new job; without `ring` as if the API was killed between its commit and the ring."""
    message = TrainingMessage(reason="requested") if kind == "training" else MergeMessage()
    with runtime.write() as session:
        job = jobs.enqueue(session, project_id=project_id, kind=kind, message=message, now=utc_now(), share=SHARE)
        if not ring:
            session.info["rings"] = []
    return job.id


def make_due(runtime: Runtime) -> None:
    """The time for a direct ring is over."""
    with runtime.database.write() as session:
        session.execute(update(Outbox).values(ring_after=utc_now()))


def drain(queue: MemoryQueue) -> list[str]:
    return [ring.job_id for ring in iter(queue.take, None)]


def job(runtime: Runtime, job_id: str) -> Job:
    with runtime.database.read() as session:
        return session.get_one(Job, job_id)


def task(runtime: Runtime, name: str) -> Task:
    return next(found for found in tasks(runtime) if found.name == name)


def claim(runtime: Runtime, job_id: str) -> None:
    with runtime.database.write() as session:
        assert jobs.claim(session, job_id, lease=LEASE, now=utc_now()) is not None


def lose_worker(runtime: Runtime) -> None:
    with runtime.database.write() as session:
        session.execute(update(Job).where(Job.state == "running").values(lease_until=utc_now() - LEASE))


def test_a_job_that_nobody_rang_is_rung_once(runtime: Runtime, queue: MemoryQueue) -> None:
    job_id = enqueue(runtime, "prj_a")
    relay = Relay()
    relay.ring_due(runtime)
    assert drain(queue) == [], "its direct ring still has time"
    make_due(runtime)
    relay.ring_due(runtime)
    relay.ring_due(runtime)
    assert drain(queue) == [job_id]


def test_a_job_that_waits_in_redis_is_not_rung_again(runtime: Runtime, queue: MemoryQueue) -> None:
    job_id = enqueue(runtime, "prj_a", ring=True)
    make_due(runtime)
    relay = Relay()
    relay.ring_due(runtime)
    relay.ring_lost(runtime)
    assert drain(queue) == [job_id]
    with runtime.database.read() as session:
        assert session.scalars(select(Outbox)).all() == []


def test_projects_take_turns_and_none_fills_redis(runtime: Runtime, queue: MemoryQueue) -> None:
    for _ in range(10):
        enqueue(runtime, "prj_big", ring=True)
    small = enqueue(runtime, "prj_small", ring=True)
    make_due(runtime)
    relay = Relay()
    relay.ring_due(runtime)
    with runtime.database.read() as session:
        project = {job.id: job.project_id for job in session.scalars(select(Job))}
    first = drain(queue)
    assert Counter(project[job_id] for job_id in first) == {"prj_big": SHARE, "prj_small": 1}
    assert small in first
    for job_id in first:
        claim(runtime, job_id)
    relay.ring_due(runtime)
    assert len(drain(queue)) == SHARE


def test_an_emptied_redis_is_filled_again(runtime: Runtime, queue: MemoryQueue) -> None:
    rung = {enqueue(runtime, f"prj_{number}", ring=True) for number in range(5)}
    claimed = rung.pop()
    claim(runtime, claimed)
    drain(queue)
    relay = Relay()
    relay.ring_lost(runtime)
    assert set(drain(queue)) == rung


def test_without_redis_jobs_wait_and_its_absence_is_logged_once(
    runtime: Runtime, queue: MemoryQueue, capsys: pytest.CaptureFixture[str]
) -> None:
    job_id = enqueue(runtime, "prj_a")
    make_due(runtime)
    queue.available = False
    relay = Relay()
    for _ in range(3):
        relay.ring_due(runtime)
        relay.ring_lost(runtime)
    queue.available = True
    relay.ring_due(runtime)
    assert drain(queue) == [job_id]
    told = "".join(capsys.readouterr())
    assert (told.count("queue_unavailable"), told.count("queue_available")) == (1, 1)


def test_a_lost_worker_gives_its_job_back_and_the_last_attempt_fails_it(runtime: Runtime, queue: MemoryQueue) -> None:
    with (api := make_api(runtime)).http:
        project_id = api.project()
        new = {"url": "https://93.184.215.14/", "events": ["training.failed"]}
        webhook_id = api.http.post("/v1/webhooks", json=new).json()["id"]
        job_id = enqueue(runtime, project_id, kind="training")
        give_back, ring = task(runtime, "give_back_lost_jobs"), task(runtime, "ring_due")
        claim(runtime, job_id)
        give_back.run(runtime)
        assert job(runtime, job_id).state == "running"

        lose_worker(runtime)
        give_back.run(runtime)
        assert job(runtime, job_id).state == "queued"
        ring.run(runtime)
        assert drain(queue) == [], "it has to wait between its attempts"
        make_due(runtime)
        ring.run(runtime)
        assert drain(queue) == [job_id]

        claim(runtime, job_id)
        lose_worker(runtime)
        give_back.run(runtime)
        failed = job(runtime, job_id)
        assert (failed.state, (failed.error or {})["name"]) == ("failed", "worker-lost")
        told: list[dict[str, Any]] = api.http.get(f"/v1/webhooks/{webhook_id}/deliveries").json()["items"]
        assert [delivery["event"] for delivery in told] == ["training.failed"]

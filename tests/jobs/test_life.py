"""The life of a job: claims, fences, lost workers, cancellation, deletion."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.exc import OperationalError

from service.actions import jobs, trainings
from service.api.deps.runtime import Runtime, utc_now
from service.db.queries import jobs as job_queries
from service.db.tables import Outbox
from service.dispatcher.relay import Relay
from service.queue.messages import QueryMessage, Ring
from tests.support.pools import add_examples, add_labels, ask
from tests.support.runtime import Api
from tests.support.working import drain, run_job
from workers.jobs import runner
from workers.jobs.context import JobContext

LEASE = timedelta(seconds=10)


def _claim(runtime: Runtime, job_id: str) -> jobs.Claim | None:
    with runtime.write() as session:
        return jobs.claim(session, job_id, lease=LEASE, now=utc_now())


def _expire(runtime: Runtime, most: int = 8) -> None:
    later = utc_now() + 2 * LEASE
    with runtime.write() as session:
        while (job := job_queries.expired(session, later)) is not None:
            jobs.give_back(session, job, now=later, max_attempts=most)


def test_a_job_is_claimed_once(api: Api) -> None:
    project_id = api.project()
    job_id = ask(api, project_id, k=1)
    held = _claim(api.runtime, job_id)
    assert held is not None
    assert isinstance(held.message, QueryMessage)
    assert _claim(api.runtime, job_id) is None
    run_job(api.runtime, job_id)
    assert api.http.get(f"/v1/jobs/{job_id}").json()["state"] == "running"


def test_a_worker_past_its_lease_cannot_store(api: Api) -> None:
    project_id = api.project()
    job_id = ask(api, project_id, k=1)
    frozen = _claim(api.runtime, job_id)
    assert frozen is not None
    _expire(api.runtime)
    second = _claim(api.runtime, job_id)
    assert second is not None
    assert second.attempt == 2
    with api.runtime.write() as session:
        assert not jobs.finish(session, frozen, now=utc_now(), result={"from": "the frozen one"})
        assert not jobs.beat(session, frozen, until=utc_now() + LEASE, done=1, total=2, phase="late")
        assert jobs.finish(session, second, now=utc_now(), result={"from": "the second"})
    job = api.http.get(f"/v1/jobs/{job_id}").json()
    assert (job["state"], job["result"]) == ("succeeded", {"from": "the second"})
    assert job["attempts"] == 2


def test_after_the_last_attempt_a_lost_job_fails(api: Api) -> None:
    project_id = api.project()
    job_id = ask(api, project_id, k=1)
    for _ in range(3):
        assert _claim(api.runtime, job_id) is not None
        _expire(api.runtime, most=3)
    job = api.http.get(f"/v1/jobs/{job_id}").json()
    assert job["state"] == "failed"
    assert job["error"]["type"].endswith("/problems/worker-lost")
    assert api.http.get(f"/v1/jobs/{job_id}/batch").status_code == 409


def test_a_cancelled_job_never_runs_and_stays_cancelled(api: Api) -> None:
    project_id = api.project()
    job_id = ask(api, project_id, k=1)
    assert api.http.post(f"/v1/jobs/{job_id}/cancel").json()["state"] == "cancelled"
    assert api.http.post(f"/v1/jobs/{job_id}/cancel").status_code == 200
    drain(api.runtime)
    assert api.http.get(f"/v1/jobs/{job_id}").json()["state"] == "cancelled"
    assert api.http.get(f"/v1/jobs/{job_id}/batch").status_code == 409


def test_a_running_job_can_be_cancelled_and_stores_nothing(api: Api) -> None:
    project_id = api.project()
    job_id = ask(api, project_id, k=1)
    held = _claim(api.runtime, job_id)
    assert held is not None
    api.http.post(f"/v1/jobs/{job_id}/cancel")
    with api.runtime.write() as session:
        assert not jobs.finish(session, held, now=utc_now(), result={})


def test_a_finished_job_cannot_be_cancelled(api: Api) -> None:
    project_id = api.project()
    add_examples(api, project_id, 5)
    job_id = ask(api, project_id, k=1)
    drain(api.runtime)
    assert api.http.post(f"/v1/jobs/{job_id}/cancel").status_code == 409


def test_trainings_of_one_project_run_one_after_another(api: Api) -> None:
    project_id = api.project(retraining={"automatic": False})
    add_examples(api, project_id, 20)
    add_labels(api, project_id, range(10))
    first = api.http.post(f"/v1/projects/{project_id}/trainings").json()["id"]
    held = _claim(api.runtime, first)
    assert held is not None
    second = api.http.post(f"/v1/projects/{project_id}/trainings").json()["id"]
    assert second != first
    assert _claim(api.runtime, second) is None
    _expire(api.runtime)
    drain(api.runtime)
    run_job(api.runtime, first)
    drain(api.runtime)
    states = {job["id"]: job["state"] for job in api.http.get(f"/v1/projects/{project_id}/jobs").json()["items"]}
    assert states == {first: "succeeded", second: "succeeded"}
    models = api.http.get(f"/v1/projects/{project_id}/models").json()["items"]
    assert sorted(model["job_id"] for model in models) == sorted([first, second])


def test_a_passing_fault_is_tried_again_and_ours_fails_with_a_problem(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    project_id = api.project()
    job_id = ask(api, project_id, k=1)

    def busy(_: JobContext) -> None:
        raise OperationalError("SELECT 1", {}, Exception("database is locked"))

    monkeypatch.setattr(runner, "JOBS", {"query": busy})
    run_job(api.runtime, job_id)
    assert api.http.get(f"/v1/jobs/{job_id}").json()["state"] == "queued"

    def broken(_: JobContext) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(runner, "JOBS", {"query": broken})
    run_job(api.runtime, job_id)
    job = api.http.get(f"/v1/jobs/{job_id}").json()
    assert job["state"] == "failed"
    assert job["error"]["type"].endswith("/problems/internal-error")
    assert "ZeroDivision" not in str(job)


def test_with_the_queue_away_jobs_wait_in_sql(api: Api) -> None:
    project_id = api.project()
    api.runtime.queue.available = False  # type: ignore[attr-defined] # the queue in memory has this switch
    job_id = ask(api, project_id, k=1)
    assert api.http.get("/readyz").json()["status"] == "degraded"
    api.runtime.queue.available = True  # type: ignore[attr-defined] # same
    assert api.runtime.queue.waiting() == set()
    api.runtime.queue.ring([Ring(job_id, "interactive", 0)])
    drain(api.runtime)
    assert api.http.get(f"/v1/jobs/{job_id}").json()["state"] == "succeeded"


def test_a_deleted_project_takes_everything_along(api: Api) -> None:
    project_id = api.project(retraining={"automatic": False})
    add_examples(api, project_id, 30)
    add_labels(api, project_id, range(10))
    api.http.post(f"/v1/projects/{project_id}/trainings")
    drain(api.runtime)
    query = ask(api, project_id, k=5)
    drain(api.runtime)
    unfinished = ask(api, project_id, k=5)
    held = _claim(api.runtime, unfinished)
    assert held is not None
    deletion = api.http.delete(f"/v1/projects/{project_id}")
    assert deletion.status_code == 202
    assert api.http.get(f"/v1/projects/{project_id}").status_code == 404
    with api.runtime.write() as session:
        assert not jobs.finish(session, held, now=utc_now(), result={})
    drain(api.runtime)
    job: dict[str, Any] = api.http.get(deletion.headers["Location"]).json()
    assert job["state"] == "succeeded"
    assert api.http.get(f"/v1/jobs/{query}").status_code == 404
    assert list(api.runtime.objects.list()) == []


def test_events_follow_a_job_to_its_end(api: Api) -> None:
    project_id = api.project()
    add_examples(api, project_id, 5)
    job_id = ask(api, project_id, k=1)
    drain(api.runtime)
    lines = api.http.get(f"/v1/jobs/{job_id}/events").text.splitlines()
    assert "event: succeeded" in lines
    version = next(line for line in lines if line.startswith("id: ")).removeprefix("id: ")
    again = api.http.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": version})
    assert "event: succeeded" in again.text


def test_waiting_ends_with_the_job_or_the_time(api: Api) -> None:
    project_id = api.project()
    add_examples(api, project_id, 5)
    answer = api.http.post(f"/v1/projects/{project_id}/queries", json={"k": 1}, headers={"Prefer": "wait=1"})
    assert answer.status_code == 202
    assert answer.headers["Preference-Applied"] == "wait=1"
    assert answer.json()["state"] == "queued"
    job_id = answer.json()["id"]
    assert api.http.get(f"/v1/jobs/{job_id}/batch").status_code == 202
    drain(api.runtime)
    batch = api.http.get(f"/v1/jobs/{job_id}/batch", headers={"Prefer": "wait=1"})
    assert batch.status_code == 200
    assert api.http.get(f"/v1/jobs/{job_id}/batch", headers={"If-None-Match": batch.headers["ETag"]}).status_code == 304


def test_labels_behind_a_failed_training_still_get_theirs(api: Api) -> None:
    project_id = api.project(retraining={"first_at": 4, "every": 4, "idle_seconds": 60})
    add_examples(api, project_id, 20)
    first = add_labels(api, project_id, range(4))["training"]["job_id"]
    assert _claim(api.runtime, first) is not None
    add_labels(api, project_id, range(4, 6))
    later = utc_now() + 2 * LEASE
    with api.runtime.write() as session:
        assert trainings.give_back_lost(session, max_attempts=1, now=later, share=10)
    assert api.http.get(f"/v1/jobs/{first}").json()["state"] == "failed"
    with api.runtime.write() as session:
        trainings.request_due(session, now=later + timedelta(seconds=61), share=10)
        session.execute(update(Outbox).values(ring_after=utc_now()))  # the rest behind the failed one is over
    Relay().ring_due(api.runtime)
    drain(api.runtime)
    assert api.http.get(f"/v1/projects/{project_id}/models/1").json()["labels_used"] == 6

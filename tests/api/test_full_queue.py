"""A full queue refuses politely, and one project's jobs delay no other's."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select

from service.api.deps.runtime import Runtime, utc_now
from service.db.tables import Job, Outbox
from service.db.types import new_id
from service.dispatcher.relay import Relay
from service.queue.memory import MemoryQueue
from service.queue.messages import MergeMessage
from tests.support.pools import add_examples, add_labels, ask
from tests.support.runtime import Api, make_api, make_runtime
from tests.support.stopwatch import Stopwatch

MANY = 10_000


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    made = make_runtime(tmp_path, max_jobs_per_project=3, max_jobs=5)
    yield made
    made.database.close()


def jobs_of(runtime: Runtime, project_id: str) -> int:
    with runtime.database.read() as session:
        query = select(func.count()).select_from(Job).where(Job.project_id == project_id, Job.kind != "merge")
        return session.execute(query).scalar_one()


def test_a_project_over_its_limit_is_told_to_wait(api: Api) -> None:
    project_id = api.project()
    made = [ask(api, project_id, k=1) for _ in range(3)]
    headers = {"Idempotency-Key": "one"}
    for path, body in (("queries", {"k": 1}), ("trainings", {})):
        answer = api.http.post(f"/v1/projects/{project_id}/{path}", json=body, headers=headers)
        assert answer.status_code == 429, answer.text
        assert int(answer.headers["Retry-After"]) >= 1
        assert answer.json()["type"].endswith("/too-many-requests")
        assert jobs_of(api.runtime, project_id) == 3
    ask(api, api.project(), k=1)
    api.http.post(f"/v1/jobs/{made[0]}/cancel")
    assert api.http.post(f"/v1/projects/{project_id}/queries", json={"k": 1}, headers=headers).status_code == 202


def test_a_full_service_is_unavailable_but_takes_labels_and_what_follows(api: Api) -> None:
    first, second, third = (api.project(retraining={"first_at": 2}) for _ in range(3))
    for project_id in (first, first, first, second, second):
        ask(api, project_id, k=1)
    answer = api.http.post(f"/v1/projects/{third}/queries", json={"k": 1})
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) >= 1
    assert jobs_of(api.runtime, third) == 0
    add_examples(api, third, 4)
    assert add_labels(api, third, range(4))["training"]["job_id"] is not None
    assert api.http.delete(f"/v1/projects/{third}").status_code == 202


def test_ten_thousand_jobs_of_one_project_delay_no_other(tmp_path: Path) -> None:
    runtime = make_runtime(tmp_path)
    queue = runtime.queue
    assert isinstance(queue, MemoryQueue)
    now = utc_now()
    message = MergeMessage().model_dump()
    ids = [new_id("job") for _ in range(MANY)]
    with runtime.database.write() as session:
        shared = {"project_id": "prj_big", "kind": "query", "queue": "interactive", "state": "queued"}
        fixed = {"payload": message, "attempt": 0, "created_at": now}
        session.execute(insert(Job), [{"id": job_id, **shared, **fixed} for job_id in ids])
        session.execute(
            insert(Outbox), [{"job_id": job_id, "project_id": "prj_big", "ring_after": now} for job_id in ids]
        )
    relay = Relay()
    relay.ring_due(runtime)
    with (api := make_api(runtime)).http, Stopwatch() as ringing:
        small = ask(api, api.project(), k=1)
        relay.ring_due(runtime)
    order = [ring.job_id for ring in iter(queue.take, None)]
    ahead = order.index(small)
    assert ahead <= runtime.settings.jobs_in_queue_per_project
    assert len(order) == runtime.settings.jobs_in_queue_per_project + 1
    assert ringing.seconds < 5
    runtime.database.close()

"""What must hold on both databases when many come at once."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier, Event
from typing import Any, TypeVar

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.actions import jobs, large_uploads, trainings
from service.actions import projects as project_actions
from service.api.deps.runtime import Runtime, utc_now
from service.db.queries import arrays, labels, projects
from service.db.queries.batches import add_leases
from service.db.queries.candidates import live_leases
from service.db.queries.projects import lock_pool
from service.db.tables import (
    Example,
    Job,
    Label,
    LabelHistory,
    Lease,
    LooseVector,
    Pool,
    Project,
    StagedExample,
    Upload,
)
from service.db.upgrade import differences
from service.queue.messages import MergeMessage
from tests.support.bodies import points, upload
from tests.support.pools import add_examples, add_labels, batch
from tests.support.redis_server import PATIENCE_SECONDS
from tests.support.runtime import Api
from tests.support.working import drain
from workers.jobs.horse import TIMED_OUT, Loss
from workers.jobs.runner import Workshop

pytestmark = pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
T = TypeVar("T")
LEASE = timedelta(seconds=10)
_AT_ONCE = 50
_THREADS = 16
_UNCOMMITTED_SECONDS = 0.2  # the others come while the first has not committed
_SLOW_SECONDS = 1.0


def test_the_migrations_build_the_declared_tables(runtime: Runtime) -> None:
    assert differences(runtime.database.engine) == []


def all_at_once(act: Callable[[int], object]) -> list[object]:
    """What each of several threads got that acted in the same moment."""
    start = Barrier(_THREADS)

    def one(number: int) -> object:
        start.wait(PATIENCE_SECONDS)
        return act(number)

    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(one, range(_THREADS)))


@pytest.mark.parametrize("count", [1, 49, 50, 101])
def test_each_of_many_rows_is_inserted_once_and_as_it_is(api: Api, count: int) -> None:
    project_id = api.project()
    assert upload(api, project_id, points(count)).json()["created"] == count
    with api.runtime.database.read() as session:
        rows = session.scalars(select(Example).order_by(Example.row)).all()
    assert [(row.example_id, row.row, row.project_id) for row in rows] == [
        (example["id"], number, project_id) for number, example in enumerate(points(count))
    ]


def test_one_of_many_claims_a_job(api: Api) -> None:
    database = api.runtime.database
    project_id = api.project()
    with database.write() as session:
        job = jobs.enqueue(session, project_id=project_id, kind="merge", message=MergeMessage(), now=utc_now(), share=0)

    def claim(_: int) -> bool:
        with database.write() as session:
            claimed = jobs.claim(session, job.id, lease=LEASE, now=utc_now()) is not None
            time.sleep(_UNCOMMITTED_SECONDS if claimed else 0)
            return claimed

    assert sorted(map(bool, all_at_once(claim))) == [False] * (_THREADS - 1) + [True]


def test_one_of_many_fills_an_array(api: Api) -> None:
    database = api.runtime.database
    project_id = api.project()
    tokens = []
    for _ in range(_THREADS):
        with database.write() as session:
            job = jobs.enqueue(
                session, project_id=project_id, kind="merge", message=MergeMessage(), now=utc_now(), share=0
            )
            held = jobs.claim(session, job.id, lease=LEASE, now=utc_now())
        assert held is not None
        tokens.append(held.token)

    def take(number: int) -> bool:
        with database.write() as session:
            taken = arrays.take_build(session, project_id, "vectors", token=tokens[number])
            time.sleep(_UNCOMMITTED_SECONDS if taken else 0)
            return taken

    assert sorted(map(bool, all_at_once(take))) == [False] * (_THREADS - 1) + [True]


def test_many_requests_with_one_key_have_one_effect(api: Api) -> None:
    start = Barrier(_THREADS)
    body = {
        "name": f"at once {utc_now().isoformat()}",
        "task": {"type": "classification", "classes": ["a", "b"]},
        "features": {"type": "vector", "dimensions": 2},
    }

    def post(number: int) -> tuple[int, str]:
        if number < _THREADS:
            start.wait(PATIENCE_SECONDS)
        answer = api.http.post("/v1/projects", json=body, headers={"Idempotency-Key": "one"})
        return answer.status_code, answer.json().get("id", "")

    with ThreadPoolExecutor(_THREADS) as pool:
        answers = list(pool.map(post, range(_AT_ONCE)))
    assert {status for status, _ in answers} <= {201, 409}
    assert len({made for status, made in answers if status == 201}) == 1
    assert len(api.http.get("/v1/projects").json()["items"]) == 1


def while_locked(runtime: Runtime, project_id: str, change: Callable[[Session], object], act: Callable[[], T]) -> T:
    """What `act` gives that began while a transaction which changes the project had not yet committed."""
    with ThreadPoolExecutor(1) as pool:
        with runtime.write() as session:
            lock_pool(session, project_id)
            change(session)
            acted = pool.submit(act)
            time.sleep(_UNCOMMITTED_SECONDS)
        return acted.result(PATIENCE_SECONDS)


def test_a_job_that_was_given_back_is_not_failed_by_who_had_it(api: Api) -> None:
    project_id = api.project(retraining={"automatic": False})
    add_examples(api, project_id, 4)
    add_labels(api, project_id, range(4))
    job_id = api.http.post(f"/v1/projects/{project_id}/trainings").json()["id"]
    workshop = Workshop(api.runtime.settings)
    with api.runtime.write() as session:
        assert jobs.claim(session, job_id, lease=-LEASE, now=utc_now(), holder=f"{workshop.name}.7.")

    def give_back(session: Session) -> None:
        assert trainings.give_back_lost(session, max_attempts=8, now=utc_now(), share=10)

    while_locked(api.runtime, project_id, give_back, lambda: workshop.record_loss(Loss(job_id, 7, TIMED_OUT)))
    with api.runtime.database.read() as session:
        assert session.get_one(Job, job_id).state == "queued"
        assert session.get_one(Pool, project_id).attempted_generation == 0


def test_labels_that_wait_for_another_overlap_count_by_it(api: Api) -> None:
    project_id = api.project(retraining={"automatic": False})
    add_examples(api, project_id, 2)

    def raise_overlap(session: Session) -> None:
        project = session.get_one(Project, project_id)
        project.annotation = {**project.annotation, "overlap": 3}
        session.flush()

    while_locked(api.runtime, project_id, raise_overlap, lambda: add_labels(api, project_id, [0]))
    assert sorted(item["example_id"] for item in batch(api, project_id, k=2, annotator="bob")["items"]) == ["e0", "e1"]


def delete_project(session: Session, project_id: str) -> None:
    project_actions.delete(session, project_id, now=utc_now(), share=10)


def left(runtime: Runtime) -> dict[str, int]:
    """The tables that still have rows of a project, the job that deleted it not counted."""
    queries = {
        table.__tablename__: select(func.count()).select_from(table)
        for table in (Project, Pool, Example, LooseVector, Label, LabelHistory, Lease, Upload, StagedExample, Job)
    }
    queries["jobs"] = queries["jobs"].where(Job.kind != "deletion")
    with runtime.database.read() as session:
        counts = {name: session.scalar(query) or 0 for name, query in queries.items()}
    return {name: count for name, count in counts.items() if count}


WRITES: dict[str, tuple[str, dict[str, Any]]] = {
    "labels": ("labels", {"labels": [{"example_id": "e0", "label": "a"}]}),
    "an upload": ("examples", {"examples": points(3, label="a", first=2)}),
    "a large upload": ("examples", {"examples": points(1500, label="a", first=2)}),
    "a training": ("trainings", {}),
}


@pytest.mark.parametrize("write", WRITES)
def test_who_waits_for_a_deletion_finds_no_project(api: Api, write: str) -> None:
    project_id = api.project(retraining={"automatic": False})
    add_examples(api, project_id, 2)
    path, body = WRITES[write]
    answer = while_locked(
        api.runtime,
        project_id,
        lambda session: delete_project(session, project_id),
        lambda: api.http.post(f"/v1/projects/{project_id}/{path}", json=body),
    )
    assert answer.status_code == 404
    drain(api.runtime)
    assert left(api.runtime) == {}


def test_a_timer_that_waits_for_a_deletion_asks_for_no_training(api: Api) -> None:
    project_id = api.project(retraining={"idle_seconds": 1})
    add_examples(api, project_id, 2)
    add_labels(api, project_id, [0])
    later = utc_now() + timedelta(seconds=2)

    def tick() -> None:
        with api.runtime.write() as session:
            trainings.request_due(session, now=later, share=10)

    while_locked(api.runtime, project_id, lambda session: delete_project(session, project_id), tick)
    with api.runtime.database.read() as session:
        assert session.scalars(select(Job.kind)).all() == ["deletion"]


def test_a_large_upload_under_way_leaves_nothing_in_a_deleted_project(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    project_id = api.project(retraining={"automatic": False})
    between_slices, deleting = Event(), Event()
    slices, add = large_uploads._slices, labels.add  # noqa: SLF001 - the seam between two slices

    def pausing(spool: Any) -> Iterator[Any]:
        for number, part in enumerate(slices(spool)):
            if number == 1:
                between_slices.set()
                assert deleting.wait(PATIENCE_SECONDS)
            yield part

    def slow(session: Session, rows: Any) -> None:
        add(session, rows)
        if deleting.is_set():
            time.sleep(_SLOW_SECONDS)  # for the deletion to pass, if it can

    monkeypatch.setattr(large_uploads, "_slices", pausing)
    monkeypatch.setattr(large_uploads, "_SLICE", 1000)
    monkeypatch.setattr(labels, "add", slow)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(upload, api, project_id, points(2500, label="a"))
        assert between_slices.wait(PATIENCE_SECONDS)
        with api.runtime.write() as session:
            delete_project(session, project_id)
            deleting.set()
            time.sleep(_UNCOMMITTED_SECONDS)
        drain(api.runtime)
        assert answer.result(PATIENCE_SECONDS).status_code == 404
    assert left(api.runtime) == {}


def test_a_deletion_waits_for_who_holds_the_pool(api: Api) -> None:
    project_id = api.project(retraining={"automatic": False})
    add_examples(api, project_id, 5)
    assert api.http.delete(f"/v1/projects/{project_id}").status_code == 202

    def there(session: Session) -> int:
        return session.scalar(select(func.count()).select_from(Example)) or 0

    with ThreadPoolExecutor(1) as pool:
        with api.runtime.write() as session:
            projects.lock_pool(session, project_id)
            drained = pool.submit(drain, api.runtime)
            time.sleep(_SLOW_SECONDS)
            assert there(session) == 5
        drained.result(PATIENCE_SECONDS)
    assert left(api.runtime) == {}


def test_a_renewal_that_waited_does_not_take_back_what_ran_out(api: Api) -> None:
    database = api.runtime.database
    project_id = api.project()
    add_examples(api, project_id, 1)
    job_id = batch(api, project_id, k=1, annotator="ann", lease_seconds=1)["job_id"]
    with ThreadPoolExecutor(1) as pool:
        with database.write() as session:
            row = lock_pool(session, project_id).next_row - 1
            renewal = pool.submit(api.http.post, f"/v1/jobs/{job_id}/batch/renew", json={"lease_seconds": 60})
            time.sleep(1.2)
            assert live_leases(session, project_id, utc_now()) == []
            lease = {"project_id": project_id, "example_id": "e0", "holder": "annotator:ben", "annotator": "ben"}
            until = utc_now() + timedelta(seconds=60)
            add_leases(session, [{**lease, "job_id": "job_of_ben", "row": row, "expires_at": until}])
        assert renewal.result().status_code == 409
    with database.read() as session:
        assert [holder for _, holder in live_leases(session, project_id, utc_now())] == ["annotator:ben"]

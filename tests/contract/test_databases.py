"""What must hold on both databases when many come at once."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest

from service.actions import jobs
from service.api.deps.runtime import Runtime, utc_now
from service.db.queries import arrays
from service.db.upgrade import differences
from service.queue.messages import MergeMessage
from tests.support.runtime import Api

pytestmark = pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
_AT_ONCE = 50
_THREADS = 16
_UNCOMMITTED_SECONDS = 0.2  # the others come while the first has not committed


def test_the_migrations_build_the_declared_tables(runtime: Runtime) -> None:
    assert differences(runtime.database.engine) == []


def all_at_once(act: Callable[[int], object]) -> list[object]:
    """What each of several threads got that acted in the same moment."""
    start = Barrier(_THREADS)

    def one(number: int) -> object:
        start.wait(10)
        return act(number)

    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(one, range(_THREADS)))


def test_one_of_many_claims_a_job(api: Api) -> None:
    database = api.runtime.database
    project_id = api.project()
    with database.write() as session:
        job = jobs.enqueue(session, project_id=project_id, kind="merge", message=MergeMessage(), now=utc_now(), share=0)

    def claim(_: int) -> bool:
        with database.write() as session:
            claimed = jobs.claim(session, job.id, lease=timedelta(seconds=10), now=utc_now()) is not None
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
            held = jobs.claim(session, job.id, lease=timedelta(seconds=10), now=utc_now())
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
            start.wait(10)
        answer = api.http.post("/v1/projects", json=body, headers={"Idempotency-Key": "one"})
        return answer.status_code, answer.json().get("id", "")

    with ThreadPoolExecutor(_THREADS) as pool:
        answers = list(pool.map(post, range(_AT_ONCE)))
    assert {status for status, _ in answers} <= {201, 409}
    assert len({made for status, made in answers if status == 201}) == 1
    assert len(api.http.get("/v1/projects").json()["items"]) == 1

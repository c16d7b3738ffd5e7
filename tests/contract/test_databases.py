"""What must hold on both databases when many come at once."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from service.api.deps.runtime import Runtime, utc_now
from service.db.upgrade import differences
from tests.support.runtime import Api

pytestmark = pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
_AT_ONCE = 50
_THREADS = 16


def test_the_migrations_build_the_declared_tables(runtime: Runtime) -> None:
    assert differences(runtime.database.engine) == []


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

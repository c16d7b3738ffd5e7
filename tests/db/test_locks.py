"""What is read of rows that others change while their lock is waited for."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy.orm import Session

from service.actions import jobs
from service.api.deps.runtime import Runtime, utc_now
from service.db.queries import jobs as queries
from service.queue.messages import TrainingMessage
from tests.contract.test_lock_order import wait_for_a_waiter

NOW = utc_now()


def ring(session: Session, job_id: str) -> None:
    queries.mark_rung(session, [job_id], NOW)


def claim(session: Session, job_id: str) -> None:
    assert queries.claim(session, job_id, token="t", lease_until=NOW, now=NOW)  # noqa: S106


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize(("change", "found"), [(ring, [NOW]), (claim, [])])
def test_a_training_that_waits_is_read_as_it_is_once_it_is_locked(
    runtime: Runtime, change: Callable[[Session, str], Any], found: list[datetime]
) -> None:
    database = runtime.database
    with database.write() as session:
        message = TrainingMessage(reason="requested")
        job = jobs.enqueue(session, project_id="prj_a", kind="training", message=message, now=NOW, share=0)
        assert job.rung_at is None
        job_id = job.id

    def locked() -> list[datetime | None]:
        with database.write() as session:
            return [job.rung_at for job in queries.lock_trainings(session, "prj_a")]

    with ThreadPoolExecutor(1) as pool:
        with database.write() as session:
            change(session, job_id)
            session.flush()
            reading = pool.submit(locked)
            wait_for_a_waiter(database)
        assert reading.result() == found

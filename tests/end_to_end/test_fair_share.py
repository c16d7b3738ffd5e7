"""One project's ten thousand jobs and another's first query, with real workers, Redis and dispatcher."""

import logging
import time
from datetime import UTC, datetime

import pytest
from sqlalchemy import func, insert, select

from service.db.session import Database
from service.db.tables import Job, Outbox
from service.db.types import new_id
from service.settings import Settings
from tests.support.redis_server import wait_until
from tests.support.stack import Stack, filled, running

LOG = logging.getLogger(__name__)
pytestmark = pytest.mark.processes
MANY = 10_000
AT_MOST_SECONDS = 5.0  # more than the same answer takes when nobody else has queued anything


def queue_again(database: Database, job_id: str, times: int) -> None:
    """Queue a job's copies, as so many requests would; nobody has rung them."""
    now = datetime.now(UTC)
    with database.write() as session:
        asked = session.get_one(Job, job_id)
        same = {"project_id": asked.project_id, "kind": asked.kind, "queue": asked.queue, "payload": asked.payload}
        copies = [{"id": new_id("job"), "state": "queued", "created_at": now, **same} for _ in range(times)]
        session.execute(insert(Job), copies)
        rings = [{"job_id": copy["id"], "project_id": asked.project_id, "ring_after": now} for copy in copies]
        session.execute(insert(Outbox), rings)


def ended(database: Database, project_id: str) -> int:
    with database.read() as session:
        query = select(func.count()).select_from(Job).where(Job.project_id == project_id, Job.state == "succeeded")
        return session.execute(query).scalar_one()


@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
def test_ten_thousand_jobs_of_one_project_hold_up_no_other_projects_query(database_url: str) -> None:
    with running("--workers", "2", database_url=database_url) as stack:
        client = stack.client
        greedy, modest = filled(client), filled(client)
        client.succeeded(first := client.query(greedy, strategy="random", lease_seconds=0))
        alone = min(first_answer(stack, filled(client)) for _ in range(2))
        database = Database(Settings(data_dir=stack.folder, database_url=database_url).sql_url)
        queue_again(database, first, MANY)
        wait_until(lambda: ended(database, greedy) > 20)
        delays = [first_answer(stack, project_id) - alone for project_id in (modest, filled(client))]
        left = MANY + 1 - ended(database, greedy)
        database.close()
    LOG.info("seconds alone %s, delays %s, left %s", alone, delays, left)
    assert left > MANY / 2
    assert max(delays) < AT_MOST_SECONDS


def first_answer(stack: Stack, project_id: str) -> float:
    """The seconds from sending a query to its end."""
    began = time.monotonic()
    path, wait = f"/v1/projects/{project_id}/queries", {"Prefer": "wait=30"}
    answer = stack.client.http.post(path, json={"k": 5, "strategy": "random"}, headers=wait)
    assert answer.json()["state"] == "succeeded", answer.text
    return time.monotonic() - began

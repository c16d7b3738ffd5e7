"""Redis that is emptied, silent or killed, and an API that is killed before it rang."""

import logging
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import httpx
import pytest
from redis import Redis
from sqlalchemy import select

from service.actions import jobs
from service.db.session import Database
from service.db.tables import Job
from service.queue.messages import MergeMessage
from service.settings import Settings
from tests.support import processes
from tests.support.redis_server import wait_until
from tests.support.stack import Client, Stack, filled, points, running

LOG = logging.getLogger(__name__)
pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Of all tests here: whatever each ends is back when it is through."""
    with running("--workers", "1") as made:
        yield made


def rung(stack: Stack) -> int:
    """How many jobs wait in Redis."""
    with Redis.from_url(f"unix://{stack.socket}") as connection:
        return sum(connection.llen(f"rq:queue:{name}") for name in ("interactive", "training"))


def readiness(stack: Stack) -> str:
    answer = stack.client.http.get("/readyz")
    assert answer.status_code == 200
    status: str = answer.json()["status"]
    return status


def answers(client: Client) -> bool:
    try:
        return client.http.get("/livez").status_code == 200
    except httpx.TransportError:
        return False


def job_ids(database: Database) -> set[str]:
    with database.read() as session:
        return set(session.scalars(select(Job.id)))


def test_without_redis_everything_is_taken_and_runs_later(stack: Stack) -> None:
    client = stack.client
    project_id = filled(client)
    client.succeeded(client.train(project_id))
    server = stack.redis()
    processes.freeze([server])
    assert readiness(stack) == "degraded"
    X, truth = points(20)
    assert client.upload(project_id, -X).json()["updated"] == 20
    assert client.label(project_id, {"e200": truth["e0"]}).status_code == 200
    queued = [client.query(project_id), client.train(project_id)]
    assert {client.job(job_id)["state"] for job_id in queued} == {"queued"}
    processes.send([server], signal.SIGCONT)
    client.succeeded(*queued)
    wait_until(lambda: readiness(stack) == "ok")


@pytest.mark.parametrize("loss", ["emptied", "killed"])
def test_what_redis_held_runs_although_it_was_lost(stack: Stack, loss: str) -> None:
    client = stack.client
    project_id = filled(client)
    frozen, server = stack.freeze_workers(), stack.redis()
    queued = [client.train(project_id), *(client.query(project_id, strategy="random") for _ in range(20))]
    wait_until(lambda: rung(stack) > 10)
    if loss == "emptied":
        with Redis.from_url(f"unix://{stack.socket}") as connection:
            connection.flushall()
    else:
        processes.send([server], signal.SIGKILL)
    processes.send(frozen, signal.SIGCONT)
    began = time.monotonic()
    client.succeeded(*queued)
    LOG.info("recovery_seconds %s", time.monotonic() - began)
    assert {client.job(job_id)["attempts"] for job_id in queued} == {1}
    assert (stack.redis() == server) == (loss == "emptied")
    wait_until(lambda: readiness(stack) == "ok")


def kill_before_it_rings(stack: Stack, database: Database, project_id: str) -> None:
    """Ask for a batch, and kill the API between its commit and its answer, for which it waits a second for Redis."""
    client = stack.client
    with ThreadPoolExecutor(1) as pool:
        for _ in range(10):
            before, api = job_ids(database), stack.role("serve")
            asked = pool.submit(client.query, project_id)
            wait_until(lambda before=before: job_ids(database) != before)  # type: ignore[misc]
            processes.send([api], signal.SIGKILL)
            if isinstance(asked.exception(), httpx.TransportError):
                return
            wait_until(lambda: answers(client))  # it was quicker, and is asked again
    raise AssertionError("the API was always killed after its answer")


def test_a_job_runs_although_the_api_was_killed_before_it_rang(stack: Stack) -> None:
    client = stack.client
    project_id = filled(client)
    database = Database(Settings(data_dir=stack.folder).sql_url)
    before = job_ids(database)
    server, api = stack.redis(), stack.role("serve")
    processes.freeze([server])  # so that ringing takes its time
    kill_before_it_rings(stack, database, project_id)
    # One more that nobody rang, this time by its very making.
    with database.write() as session:
        jobs.enqueue(
            session, project_id=project_id, kind="merge", message=MergeMessage(), now=datetime.now(UTC), share=16
        )
    processes.send([server], signal.SIGCONT)
    wait_until(lambda: answers(client))
    made = job_ids(database) - before
    database.close()
    assert len(made) >= 2
    client.succeeded(*made)
    assert stack.role("serve") != api

"""Workers that are killed or frozen in the middle of jobs."""

import logging
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.support import processes
from tests.support.redis_server import wait_until
from tests.support.stack import Stack, endless, filled, running, slow_training
from tests.support.stopwatch import assert_within

LOG = logging.getLogger(__name__)
pytestmark = pytest.mark.processes
KILLS = 6
RECOVERY_SECONDS = 30  # of a machine that has a core for each process that wants one


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Of all tests here: whatever each kills or freezes is back when it is through."""
    with running() as made:
        yield made


def states(stack: Stack, *job_ids: str) -> list[str]:
    """Read where nobody who is frozen can hold it up."""
    with closing(sqlite3.connect(stack.folder / "gleaner.sqlite3")) as database:
        found = dict(database.execute("SELECT id, state FROM jobs"))
    return [found[job_id] for job_id in job_ids]


def attempts(stack: Stack, job_ids: list[str]) -> dict[str, int]:
    return {job_id: stack.client.job(job_id)["attempts"] for job_id in job_ids}


def claimed(stack: Stack, job_ids: list[str], before: dict[str, int]) -> str:
    """Wait until one of the jobs was begun once more than it was before; return its id."""
    begun: list[str] = []

    def look() -> bool:
        begun.extend(job_id for job_id, count in attempts(stack, job_ids).items() if count > before.get(job_id, 0))
        return bool(begun)

    wait_until(look)
    return begun[0]


@pytest.mark.timeout(1200)
def test_every_job_ends_well_although_all_workers_are_killed_six_times(stack: Stack) -> None:
    client = stack.client
    projects = [filled(client, rows=2000, **slow_training(25)) for _ in range(KILLS)]
    early = [client.query(project_id) for project_id in projects]
    client.succeeded(*early)
    batches = {job_id: client.batch(job_id) for job_id in early}
    trainings: list[str] = []
    queries: list[str] = []
    killed: list[int] = []
    interrupted = 0
    for turn in range(4 * KILLS):
        before = attempts(stack, trainings)
        trainings = list(dict.fromkeys([*trainings, client.train(projects[turn % KILLS])]))
        training = claimed(stack, trainings, before)
        queries.append(client.query(projects[turn % KILLS], k=1000, strategy="k_center"))
        query = claimed(stack, queries[-1:], {})
        pids = stack.workers_and_horses()
        processes.freeze(pids)  # so that it is certain what they are killed at
        if interrupted == KILLS - 1:  # and at last the process that they come from
            pids += processes.role(stack.folder, "worker")
        interrupted += states(stack, training, query) == ["running", "running"]
        processes.send(pids, signal.SIGKILL)
        killed += pids
        if interrupted == KILLS:
            break
    began = time.monotonic()
    jobs = client.ended([*trainings, *queries])
    seconds = time.monotonic() - began
    assert seconds < RECOVERY_SECONDS * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    assert {job["state"] for job in jobs} == {"succeeded"}
    assert interrupted == KILLS
    assert len(killed) == len(set(killed)) >= 4 * KILLS - 2
    made = [job_id for project_id in projects for job_id in client.models(project_id).values()]
    assert sorted(made) == sorted(trainings)
    assert {job_id: client.batch(job_id) for job_id in early} == batches
    LOG.info("recovery_seconds %s", seconds)
    LOG.info("attempts %s", [job["attempts"] for job in jobs])
    LOG.info("killed %s", len(killed))


def freeze_at_work(stack: Stack) -> tuple[str, str, str, list[int]]:
    """Freeze the workers while they are at a training and at a query of a project; it, the jobs and who was frozen."""
    client = stack.client
    for _ in range(10):
        project_id = filled(client, rows=4000, **slow_training(100))
        training = client.train(project_id)
        claimed(stack, [training], {})
        query = client.query(project_id, k=3000, strategy="k_center")
        claimed(stack, [query], {})
        frozen = stack.freeze_workers()
        if states(stack, training, query) == ["running", "running"]:
            return project_id, training, query, frozen
        processes.send(frozen, signal.SIGCONT)  # one was through in the meantime
        client.succeeded(training, query)
    raise AssertionError("a job was always through before its worker was frozen")


def test_a_worker_frozen_past_its_lease_changes_nothing(stack: Stack) -> None:
    client = stack.client
    project_id, training, query, frozen = freeze_at_work(stack)
    holders = set(processes.horses(stack.folder))
    other = stack.add("worker")
    client.succeeded(training, query)
    jobs = [client.job(job_id) for job_id in (training, query)]
    assert [job["attempts"] for job in jobs] == [2, 2]
    batch = client.batch(query)

    processes.send(frozen, signal.SIGCONT)
    assert_within(30, lambda: not holders & set(processes.horses(stack.folder)))
    other.kill()
    other.wait()
    client.succeeded(client.query(project_id), again := client.train(project_id))
    assert [client.job(job_id) for job_id in (training, query)] == jobs
    assert client.batch(query) == batch
    assert client.models(project_id) == {1: training, 2: again}


def test_a_cancelled_training_ends_and_the_next_one_runs(stack: Stack) -> None:
    client = stack.client
    project_id = endless(client)
    training = client.train(project_id)
    claimed(stack, [training], {})
    horses = set(processes.horses(stack.folder))
    answer = client.http.post(f"/v1/jobs/{training}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    began = time.monotonic()
    assert_within(10, lambda: bool(horses - set(processes.horses(stack.folder))))
    LOG.info("horse_seconds %s", time.monotonic() - began)
    quick = {"estimator": {"name": "logistic_regression", "params": {}}}
    patched = client.http.patch(f"/v1/projects/{project_id}", json=quick, headers={"If-Match": "*"})
    assert patched.status_code == 200
    client.succeeded(following := client.train(project_id))
    assert client.models(project_id) == {1: following}
    assert client.job(training)["state"] == "cancelled"

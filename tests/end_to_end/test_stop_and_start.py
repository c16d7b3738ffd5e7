"""Stopping, in kind and by force, under load; starting again on the same folder; two instances."""

import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress

import httpx
import pytest

from tests.support import processes
from tests.support.redis_server import PATIENCE_SECONDS, wait_until
from tests.support.stack import Client, Stack, endless, filled, points, running, slow_training
from tests.support.threads import at_work

LOG = logging.getLogger(__name__)
pytestmark = pytest.mark.processes
ROWS = 4000
THREADS = 4
STOP_SECONDS = 10


@pytest.fixture(scope="module")
def only() -> Iterator[Stack]:
    """One folder for all tests here."""
    with running() as made:
        yield made


@pytest.fixture
def stack(only: Stack) -> Stack:
    """A service that runs."""
    if only.process.poll() is not None:
        only.start()
    return only


class Annotators:
    """Threads that send labels, one at a time, and remember those that the service said it had stored."""

    def __init__(self, client: Client, project_id: str) -> None:
        self.acknowledged: dict[str, str] = {}
        self.over = threading.Event()
        self._client = client
        self._project_id = project_id
        self._truth = points(ROWS)[1]

    def work(self, number: int) -> None:
        """Label every fourth example until the service goes away."""
        with suppress(httpx.TransportError):
            for example_id, label in list(self._truth.items())[number::THREADS]:
                answer = self._client.label(self._project_id, {example_id: label})
                if self.over.is_set() or answer.status_code != 200:
                    return
                self.acknowledged[example_id] = label


@contextmanager
def labelling(client: Client, project_id: str) -> Iterator[Annotators]:
    """Annotators at work."""
    annotators = Annotators(client, project_id)
    with at_work(annotators.work, threads=THREADS, over=annotators.over):
        wait_until(lambda: len(annotators.acknowledged) >= 40)
        yield annotators


def follow(client: Client, job_id: str, begun: threading.Event) -> list[str]:
    """The events of a job, to the end of the stream."""
    seen = []
    with client.http.stream("GET", f"/v1/jobs/{job_id}/events") as stream:
        for line in stream.iter_lines():
            if line.startswith("event: "):
                seen.append(line.removeprefix("event: "))
                begun.set()
    return seen


def refused(stack: Stack, *options: str) -> tuple[int, str]:
    """The exit code of one more `gleaner up`, and what it said."""
    size = len(stack.told())
    code = stack.launch(*options).wait(PATIENCE_SECONDS)
    return code, stack.told()[size:]


def test_one_instance_for_each_folder_and_port(stack: Stack) -> None:
    code, told = refused(stack)
    assert code == 2
    assert f"Gleaner already runs on {stack.folder} (process {stack.process.pid})." in told
    port = str(stack.client.http.base_url.port)
    code, told = refused(stack, "--data-dir", str(stack.folder / "other"), "--port", port)
    assert code == 1
    assert f"Cannot listen on 127.0.0.1 port {port}: Address already in use." in told
    wait_until(lambda: stack.client.http.get("/readyz").json()["status"] == "ok")


def test_a_stop_under_load_loses_no_write_and_holds_nobody_up(stack: Stack) -> None:
    with ThreadPoolExecutor(2) as pool:
        client = stack.client
        project_id = filled(client, rows=ROWS, labelled=1)
        training = client.train(endless(client))
        waiting = client.train(filled(client))
        with labelling(client, project_id) as annotators:
            wait_until(lambda: client.job(training)["state"] == "running")
            begun = threading.Event()
            followed = pool.submit(follow, client, training, begun)
            patient: Future[httpx.Response] = pool.submit(
                client.http.get, f"/v1/jobs/{waiting}", headers={"Prefer": "wait=30"}
            )
            assert begun.wait(PATIENCE_SECONDS)
            seconds = stack.terminate()
        assert seconds < STOP_SECONDS
        assert set(followed.result()) == {"progress"}
        assert patient.result().json()["state"] == "queued"

        stack.start()
        stored = stack.client.labels(project_id)
        assert annotators.acknowledged.items() <= stored.items()
        wait_until(lambda: stack.client.job(training)["attempts"] == 2)
        assert stack.client.http.post(f"/v1/jobs/{training}/cancel").json()["state"] == "cancelled"
        stack.client.succeeded(waiting)
        LOG.info("acknowledged %s", len(annotators.acknowledged))
        LOG.info("stop_seconds %s", seconds)


def test_a_killed_instance_goes_on_where_it_was(stack: Stack) -> None:
    project_id = filled(stack.client, rows=ROWS, labelled=1)
    trained = filled(stack.client, **slow_training(100))
    server = stack.redis()
    with labelling(stack.client, project_id) as annotators:
        training = stack.client.train(trained)
        wait_until(lambda: stack.client.job(training)["state"] == "running")
        stack.process.kill()
        stack.process.wait(PATIENCE_SECONDS)
    wait_until(lambda: [process.pid for process in processes.of_folder(stack.folder)] == [server])

    stack.start()
    assert stack.redis() == server
    stored = stack.client.labels(project_id)
    assert annotators.acknowledged.items() <= stored.items()
    began = time.monotonic()
    stack.client.succeeded(training)
    LOG.info("acknowledged %s", len(annotators.acknowledged))
    LOG.info("recovery_seconds %s", time.monotonic() - began)
    assert stack.terminate() < STOP_SECONDS  # the server that was left over goes too

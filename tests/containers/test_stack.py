"""The service as containers: the loop, restarts under load, and what a container may do."""

import http.client
import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.containers.support import SERVICES, Containers
from tests.support.loop import play_the_loop
from tests.support.redis_server import wait_until
from tests.support.stack import Client, filled, points
from tests.support.threads import at_work

LOG = logging.getLogger(__name__)
ROWS = 4000
THREADS = 4
# 409: the same request is still under way; of a killed process, the proxy cannot know what it has done
PASSING = {"restart": {409, 503}, "kill": {409, 502, 503, 504}}
CAPABILITIES = ("CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb")
DENIED = """
try:
    open("/written", "w")
except OSError as error:
    print(error.errno)
"""

SCRAPE = """
import socket, urllib.request
for *_, (address, port) in socket.getaddrinfo("api", 9464, socket.AF_INET, socket.SOCK_STREAM):
    print(urllib.request.urlopen(f"http://{address}:{port}/metrics").read().decode())
"""


class Annotators:
    """Threads that send labels one at a time, each with the same key until it is answered, and remember the answers."""

    def __init__(self, client: Client, project_id: str, passing: set[int]) -> None:
        self.acknowledged: dict[str, str] = {}
        self.wrong: list[str] = []
        self.repeated = 0
        self.over = threading.Event()
        self._client = client
        self._project_id = project_id
        self._passing = passing
        self._truth = points(ROWS)[1]

    def work(self, number: int) -> None:
        """Label every fourth example until told to stop."""
        for example_id, label in list(self._truth.items())[number::THREADS]:
            while not self.over.is_set() and not self._sent(example_id, label):
                self.repeated += 1
                time.sleep(0.1)
            time.sleep(0.02)

    def go_on(self) -> None:
        """Wait until every thread has been answered once more."""
        enough = len(self.acknowledged) + THREADS
        wait_until(lambda: bool(self.wrong) or len(self.acknowledged) > enough)
        assert self.wrong == []

    def _sent(self, example_id: str, label: str) -> bool:
        body = {"labels": [{"example_id": example_id, "label": label}]}
        path = f"/v1/projects/{self._project_id}/labels"
        try:
            answer = self._client.http.post(
                path, json=body, headers={"Idempotency-Key": f"{self._project_id}-{example_id}"}
            )
        except httpx.TransportError:
            return False
        if answer.status_code == 200:
            self.acknowledged[example_id] = label
        elif answer.status_code not in self._passing:
            self.wrong.append(f"{answer.status_code} {answer.text}")
        return answer.status_code == 200


@contextmanager
def labelling(client: Client, project_id: str, passing: set[int]) -> Iterator[Annotators]:
    """Annotators at work, who repeat what is answered with a `passing` status."""
    annotators = Annotators(client, project_id, passing)
    with at_work(annotators.work, threads=THREADS, over=annotators.over):
        yield annotators


def is_ready(client: Client) -> bool:
    try:
        return bool(client.http.get("/readyz").json().get("status") == "ok")
    except httpx.TransportError:
        return False


def test_the_loop(containers: Containers) -> None:
    play_the_loop(containers.client)


def test_each_api_process_answers_with_metrics_where_clients_do_not_come(containers: Containers) -> None:
    told = containers.python(containers.of("worker")[0], SCRAPE)
    for store in ("sql", "objects", "queue"):
        assert told.count(f'gleaner_store_up{{store="{store}"}} 1.0') >= SERVICES["api"]
    assert httpx.get(containers.client.http.base_url.join("/metrics"), trust_env=False).status_code == 401


@pytest.mark.timeout(600)
@pytest.mark.parametrize("how", ["restart", "kill"])
def test_nothing_is_lost_when_each_container_goes_under_load(containers: Containers, how: str) -> None:
    client = containers.client
    project_id = filled(client, rows=ROWS, labelled=40)
    jobs: list[str] = []
    with labelling(client, project_id, PASSING[how]) as annotators:
        for service in SERVICES:
            for container in containers.of(service):
                wait_until(lambda: is_ready(client))
                jobs += [client.train(project_id), client.query(project_id)]
                began = time.monotonic()
                getattr(containers, how)(container)
                annotators.go_on()
                LOG.info("%s of %s took %.1f s", how, service, time.monotonic() - began)
    wait_until(lambda: is_ready(client))
    client.succeeded(*set(jobs))
    stored = client.labels(project_id)
    assert annotators.acknowledged.items() <= stored.items()
    assert len(stored) <= len(annotators.acknowledged.keys() | points(40)[1].keys()) + THREADS
    LOG.info("acknowledged %s, repeated %s", len(annotators.acknowledged), annotators.repeated)


def test_containers_may_do_nothing_but_their_work(containers: Containers) -> None:
    for service, count in SERVICES.items():
        found = containers.of(service)
        assert len(found) == count
        for container in found:
            about = containers.inspect(container)
            assert about["HostConfig"]["ReadonlyRootfs"] is True
            status = Path(f"/proc/{about['State']['Pid']}/status").read_text().splitlines()
            fields = {name: value.split() for name, _, value in (line.partition(":") for line in status)}
            assert "0" not in fields["Uid"]
            assert fields["NoNewPrivs"] == ["1"]
            assert {fields[name][0] for name in CAPABILITIES} == {"0" * 16}


@pytest.mark.parametrize("service", ["api", "dispatcher", "worker", "proxy"])
def test_nothing_can_be_written_outside_of_the_data_folder(containers: Containers, service: str) -> None:
    assert containers.python(containers.of(service)[0], DENIED).strip() in {"30", "13"}


def test_data_stores_are_not_published(containers: Containers) -> None:
    for service in ("postgres", "redis", "api"):
        for container in containers.of(service):
            published = containers.inspect(container)["HostConfig"].get("PortBindings") or {}
            assert not any(published.values())


def test_the_proxy_refuses_a_body_that_is_too_large_before_it_comes(containers: Containers) -> None:
    connection = http.client.HTTPConnection(containers.address, timeout=10)
    connection.putrequest("POST", "/v1/projects/prj_x/examples")
    connection.putheader("Content-Length", str(3 * 1024**3))
    connection.endheaders()
    answer = connection.getresponse()
    assert (answer.status, answer.getheader("Content-Type")) == (413, "application/problem+json")
    assert json.load(answer)["status"] == 413
    connection.close()


def test_a_start_applies_images_and_settings_that_were_changed(containers: Containers) -> None:
    name = "localhost/gleaner-test-proxy"
    made = [containers.name_image(name, of=containers.of("proxy")[0])]
    try:
        containers.start(GLEANER_PROXY_IMAGE=name)
        databases = containers.of("postgres")
        made.append(containers.name_image(name, of=containers.of("proxy")[0]))
        assert made[0] != made[1]
        containers.configure("GLEANER_MAX_BATCH=7")
        containers.start()
        assert containers.inspect(containers.of("proxy")[0])["Image"].endswith(made[1].removeprefix("sha256:"))
        assert containers.of("postgres") == databases
        for service in ("api", "worker"):
            assert "GLEANER_MAX_BATCH=7" in containers.inspect(containers.of(service)[0])["Config"]["Env"]
    finally:
        containers.start(GLEANER_PROXY_IMAGE="")
        containers.forget_image(name)

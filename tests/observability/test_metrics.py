import os
import re
import signal
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from service.actions import figures, jobs
from service.actions.figures import EndedJobs
from service.api.deps.exposition import Processes, Service, exposition
from service.api.deps.runtime import Runtime, utc_now
from service.errors import UnavailableError
from service.queue.messages import MergeMessage
from service.settings import Settings
from service.storage.memory import MemoryObjects
from tests.observability.watching import Watched
from tests.support import processes
from tests.support.ports import HeldPort
from tests.support.redis_server import PATIENCE_SECONDS, wait_until
from tests.support.s3_server import store_away
from tests.support.serving import Server, serving
from tests.support.working import drain


def value(told: str, name: str, **labels: str) -> float:
    """The sum of the samples of that name with at least these labels."""
    samples = (sample for family in text_string_to_metric_families(told) for sample in family.samples)
    return sum(one.value for one in samples if one.name == name and labels.items() <= one.labels.items())


def test_requests_rows_and_jobs_are_counted(runtime: Runtime) -> None:
    service = Watched(runtime)
    api = service.api
    project_id = api.project()
    examples = [{"id": f"e{n}", "vector": [n, 1.0]} for n in range(3)]
    for _ in range(2):  # the second changes nothing
        api.http.post(f"/v1/projects/{project_id}/examples", json={"examples": examples})
    labels = {"labels": [{"example_id": "e0", "label": "a"}, {"example_id": "e1", "label": "b"}]}
    path = f"/v1/projects/{project_id}/labels"
    for _ in range(2):  # the second is a replay
        api.http.post(path, json=labels, headers={"Idempotency-Key": "once"})
    api.http.post(f"/v1/projects/{project_id}/queries", json={"k": 1})
    api.http.head("/livez")
    waiting = service.text()
    drain(runtime)
    service.scrape()
    told = service.text()
    route = "/v1/projects/{project_id}/labels"
    assert value(told, "gleaner_http_requests_total", method="POST", route=route, status="200") == 2
    assert value(told, "gleaner_http_requests_total", method="HEAD", route="/livez") == 1
    assert value(told, "gleaner_http_request_duration_seconds_count", method="POST", route=route) == 2
    assert value(told, "gleaner_http_requests_in_flight") == 0
    assert value(told, "gleaner_examples_ingested_total") == 3
    assert value(told, "gleaner_labels_ingested_total") == 2
    assert value(told, "gleaner_labels", source="human") == 2
    assert value(told, "gleaner_uncovered_labels_max") == 2
    assert value(waiting, "gleaner_jobs_queued", queue="interactive") == 1
    assert value(told, "gleaner_jobs_queued", queue="interactive") == 0
    assert value(told, "gleaner_jobs_ended_total", kind="query", outcome="succeeded") == 1
    assert value(told, "gleaner_job_duration_seconds_count", kind="query") == 1
    assert value(told, "gleaner_job_wait_seconds_bucket", kind="query", le="+Inf") == 1


def test_labels_have_few_values_whatever_clients_send(runtime: Runtime) -> None:
    service = Watched(runtime)
    project_id = service.api.project()
    for n in range(30):
        service.api.http.get(f"/v1/projects/{project_id}/examples/e{n}")
        service.api.http.get(f"/v1/projects/prj_{n}")
        service.api.http.get(f"/nothing/{n}")
        service.api.http.request(f"METHOD{n}", "/livez")
        service.api.http.get(f"/v1/{n}", headers={"Authorization": ""})
    told = service.text()
    assert project_id not in told
    assert not re.search(r"/nothing|METHOD|prj_|e29", told)
    assert value(told, "gleaner_http_requests_total") == 151
    assert told.count("gleaner_http_requests_total{") <= 8


def test_who_scrapes_the_api_does_not_wait_for_attempts_at_an_object_store(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    patience: list[tuple[float, ...]] = []

    class Away(MemoryObjects):
        def __init__(self, settings: Settings) -> None:
            super().__init__()
            told = (settings.s3_attempts, settings.s3_connect_timeout_seconds, settings.s3_read_timeout_seconds)
            patience.append(told)

        def exists(self, _: str) -> bool:
            raise UnavailableError("It does not answer.")

    monkeypatch.setattr("service.storage.s3.S3Objects", Away)
    changes = {"objects_url": "s3://bucket", "s3_connect_timeout_seconds": 15.0, "s3_read_timeout_seconds": 1.0}
    settings = runtime.settings.model_copy(update=changes)
    told = Watched(replace(runtime, settings=settings)).api.http.get("/metrics").text
    assert value(told, "gleaner_store_up", store="objects") == 0
    assert patience == [(1, 3.0, 1.0)]


def test_what_sql_does_not_tell_is_left_out(runtime: Runtime) -> None:
    service = Watched(runtime)
    service.text()
    with runtime.database.write() as session:
        session.execute(text("ALTER TABLE pools RENAME TO pools_lost"))
    told = service.text()
    assert value(told, "gleaner_store_up", store="sql") == 0
    assert "gleaner_jobs_queued" not in told


def test_an_object_store_that_does_not_answer_is_told(runtime: Runtime, tmp_path: Path) -> None:
    assert value(Watched(runtime).text(), "gleaner_store_up", store="objects") == 1
    told = Watched(replace(runtime, objects=store_away(tmp_path))).text()
    assert value(told, "gleaner_store_up", store="objects") == 0
    assert value(told, "gleaner_store_up", store="sql") == 1


def end_jobs(runtime: Runtime, count: int, ended: timedelta) -> None:
    at = utc_now() + ended
    with runtime.database.write() as session:
        for _ in range(count):
            job = jobs.enqueue(session, project_id="prj_a", kind="merge", message=MergeMessage(), now=at, share=1)
            job.state, job.started_at, job.finished_at = "failed", at - timedelta(seconds=7), at


def test_each_job_that_ended_is_counted_once_also_when_it_is_seen_late(runtime: Runtime) -> None:
    end_jobs(runtime, 5, timedelta(seconds=-1))  # before anybody looked
    ended = EndedJobs(utc_now())
    for seen, late in ((2, 0), (2, 0), (5, -5), (5, -5)):
        if seen > ended.outcomes["merge", "failed"]:
            end_jobs(runtime, seen - ended.outcomes["merge", "failed"], timedelta(seconds=10 + late))
        with runtime.database.read() as session:
            ended.look(session, now=utc_now() + timedelta(seconds=11))
        assert ended.outcomes["merge", "failed"] == seen
    assert ended.durations["merge"].counts[figures.JOB_SECONDS.index(10.0)] == 5
    assert ended.durations["merge"].total == pytest.approx(35)


@pytest.mark.parametrize("fault", [ProcessLookupError, PermissionError])
def test_requests_of_a_process_that_is_gone_are_not_in_flight(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: type[OSError]
) -> None:
    def kill(_: int, __: int) -> None:
        """Tell that nobody, or somebody else, has that number."""
        raise fault

    (tmp_path / "gauge_livesum_1234.db").write_bytes(bytes(8))
    monkeypatch.setattr(os, "kill", kill)
    assert "gleaner_build_info" in generate_latest(exposition(Processes(tmp_path), Service(runtime))).decode()
    assert not list(tmp_path.glob("*.db"))


def scraped(address: str) -> str:
    return httpx.get(f"http://{address}/metrics", trust_env=False, timeout=PATIENCE_SECONDS).text


def counted(address: str) -> float:
    return value(scraped(address), "gleaner_http_requests_total", route="/livez")


def children(server: Server) -> list[int]:
    """The pids of the processes that serve."""
    words = "multiprocessing.spawn"
    return [found.pid for found in processes.of_folder(server.folder) if any(words in word for word in found.words)]


@pytest.mark.processes
def test_several_processes_are_added_up_and_one_that_was_killed_stays_counted(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    with (
        HeldPort() as port,
        serving(folder, 2, GLEANER_METRICS_ADDRESS=(address := f"127.0.0.1:{port}")) as server,
    ):
        wait_until(lambda: len(children(server)) == 2)
        for _ in range(20):
            assert server.is_up()
        wait_until(lambda: counted(address) == 21)  # one by who waited for it; each is counted behind its answer
        killed = children(server)[0]
        processes.send([killed], signal.SIGKILL)
        wait_until(lambda: killed not in children(server))
        for _ in range(5):
            assert server.is_up()
        wait_until(lambda: counted(address) >= 26)
        assert counted(address) == 26
        assert value(scraped(address), "gleaner_http_requests_in_flight") == 0
    assert server.process.returncode == 0


def test_who_holds_an_admin_key_is_told_by_the_api_itself(runtime: Runtime) -> None:
    service = Watched(runtime)
    service.api.project()
    answer = service.api.http.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    assert value(answer.text, "gleaner_http_requests_total", route="/v1/projects", status="201") == 1
    assert value(answer.text, "gleaner_projects") == 1
    assert service.api.http.get("/metrics", headers=service.api.key("read")).status_code == 403
    refused = service.api.http.get("/metrics", headers={"Authorization": ""})
    assert (refused.status_code, refused.headers["Content-Type"]) == (401, "application/problem+json")


@pytest.mark.parametrize("name", ["PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"])
def test_one_process_tells_what_has_ended_and_counts_in_no_files_of_others(tmp_path: Path, name: str) -> None:
    with serving(tmp_path, **{name: str(tmp_path)}) as server:
        told = scraped(f"127.0.0.1:{server.port}")  # on this machine, and so without a key
        head = f"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nConnection: close\r\n"
        assert server.ask(f"{head}X-Forwarded-For: 127.0.0.1\r\n\r\n".encode()).startswith(b"HTTP/1.1 401")
    assert "gleaner_jobs_ended_total" in told
    assert "gleaner_webhook_attempt_duration_seconds" in told
    assert not list(tmp_path.glob("*.db"))


def test_the_api_tells_what_all_of_its_processes_counted(tmp_path: Path) -> None:
    with serving(tmp_path, 2) as server:
        headers = {"Authorization": f"Bearer {server.key}"}
        with httpx.Client(
            base_url=f"http://127.0.0.1:{server.port}", trust_env=False, timeout=PATIENCE_SECONDS
        ) as http:
            for _ in range(20):
                http.get("/livez", headers={"Connection": "close"})
            told = http.get("/metrics", headers=headers).text
    assert value(told, "gleaner_http_requests_total", route="/livez") >= 20
    assert value(told, "gleaner_store_up", store="sql") == 1
    assert "gleaner_jobs_ended_total" not in told  # each process would count from its own beginning

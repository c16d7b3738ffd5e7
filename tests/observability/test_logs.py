"""The lines of the log and the traces that link them: request, job, delivery."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from sqlalchemy import update

from service.api.deps.runtime import Runtime
from service.db.tables import Job
from tests.dispatcher.receivers import attempted, receiver, run, sending, subscribe, until
from tests.support.runtime import Api, make_runtime
from tests.support.working import drain

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    made = make_runtime(tmp_path, webhook_allow="127.0.0.0/8", dispatcher_tick_seconds=0.02)
    yield made
    made.database.close()


def lines(capsys: pytest.CaptureFixture[str], event: str) -> list[dict[str, Any]]:
    """What was logged as `event` since this was asked last."""
    told = capsys.readouterr()
    found = [json.loads(line) for line in (told.out + told.err).splitlines() if line.startswith("{")]
    return [line for line in found if line["event"] == event]


def ask(api: Api, project_id: str, **headers: str) -> str:
    """The id of the job of a query."""
    rows = [{"id": f"e{n}", "vector": [n, 1.0]} for n in range(4)]
    api.http.post(f"/v1/projects/{project_id}/examples", json={"examples": rows}).raise_for_status()
    answer = api.http.post(f"/v1/projects/{project_id}/queries", json={"k": 2}, headers=headers)
    assert answer.status_code == 202, answer.text
    job_id: str = answer.json()["id"]
    return job_id


def test_the_line_of_a_request_names_its_project_its_job_and_the_trace_of_the_client(
    api: Api, capsys: pytest.CaptureFixture[str]
) -> None:
    project_id = api.project()
    job_id = ask(api, project_id, traceparent=SENT, **{"X-Request-Id": "mine"})
    (line,) = (line for line in lines(capsys, "request") if line["request_id"] == "mine")
    assert (line["trace_id"], line["project_id"], line["job_id"]) == (TRACE, project_id, job_id)
    api.http.get(f"/v1/jobs/{job_id}")
    (line,) = lines(capsys, "request")
    assert line["job_id"] == job_id
    assert line["trace_id"] not in {TRACE, ""}


def test_probes_are_for_debugging_while_they_are_well(
    api: Api, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [api.http.get(path).status_code for path in ("/livez", "/readyz")] == [200, 200]
    assert [line["level"] for line in lines(capsys, "request")] == ["debug", "debug"]
    monkeypatch.setattr(api.runtime.objects, "exists", Mock(side_effect=OSError))
    assert api.http.get("/readyz").status_code == 503
    (line,) = lines(capsys, "request")
    assert (line["path"], line["status"], line["level"]) == ("/readyz", 503, "info")


@pytest.mark.parametrize(
    "header",
    ["", "00-1-2-01", SENT.upper(), f"ff{SENT[2:]}", f"00-{'0' * 32}-00f067aa0ba902b7-01", SENT + "-x", SENT + "\n"],
)
def test_what_is_no_traceparent_begins_a_trace(api: Api, capsys: pytest.CaptureFixture[str], header: str) -> None:
    api.http.get("/v1/projects", headers=[(b"traceparent", header.encode())])
    (line,) = lines(capsys, "request")
    assert len(line["trace_id"]) == 32
    assert line["trace_id"] not in {TRACE, "0" * 32}


def test_a_job_and_its_webhook_go_on_with_the_trace(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    project_id = api.project()
    got: list[str] = []

    async def scenario() -> None:
        async with receiver() as to:
            webhook_id, _ = subscribe(api.runtime, to.url, "query.succeeded", project_id=project_id)
            job_id = await asyncio.to_thread(ask, api, project_id, traceparent=SENT)
            await asyncio.to_thread(drain, api.runtime)
            got.append(job_id)
            async with sending(api.runtime):
                await until(attempted(api.runtime, webhook_id, 1))
            got.append(to.received[0].headers["traceparent"])

    run(scenario)
    told = capsys.readouterr()
    found = [json.loads(line) for line in (told.out + told.err).splitlines() if line.startswith("{")]
    (worked,) = (line for line in found if line["event"] == "job_run" and line["kind"] == "query")
    assert (worked["job_id"], worked["project_id"], worked["trace_id"]) == (got[0], project_id, TRACE)
    assert worked["succeeded"] is True
    (sent,) = (line for line in found if line["event"] == "delivery")
    assert (sent["trace_id"], sent["status"]) == (TRACE, 204)
    assert got[1] == SENT


def test_a_job_of_an_earlier_release_begins_a_trace(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    job_id = ask(api, api.project())
    with api.runtime.database.write() as session:
        session.execute(update(Job).values(traceparent=None))
    drain(api.runtime)
    (line,) = (line for line in lines(capsys, "job_run") if line["job_id"] == job_id)
    assert line["succeeded"] is True
    assert len(line["trace_id"]) == 32

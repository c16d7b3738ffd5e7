"""What clients see while the object store is away, or the database has no connection left."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import QueuePool

from tests.support.own_models import own_model, said
from tests.support.pools import add_examples, add_labels, ask
from tests.support.runtime import Api, make_api
from tests.support.s3_server import store_away
from tests.support.working import drain, run_job


@contextmanager
def without_objects(api: Api, folder: Path) -> Iterator[Api]:
    """The same service while its object store is away."""
    other = make_api(replace(api.runtime, objects=store_away(folder)))
    with other.http:
        yield other


def test_who_needs_an_object_may_come_again(api: Api, tmp_path: Path) -> None:
    project_id = api.project(retraining={"automatic": False})
    add_examples(api, project_id, 40)
    add_labels(api, project_id, range(20))
    api.http.post(f"/v1/projects/{project_id}/trainings")
    drain(api.runtime)
    own_model(api, project_id, said(range(3)))
    base = f"/v1/projects/{project_id}"
    bad = {"examples": [{"id": "good", "vector": [1, 2]}, {"id": "bad", "vector": [1]}]}
    with without_objects(api, tmp_path) as away:
        for answer in (
            away.http.get("/readyz"),
            away.http.get(f"{base}/models/1/artifact"),
            away.http.get(f"{base}/examples/e1"),
            away.http.post(f"{base}/models/1/predict", json={"examples": [{"vector": [0, 1]}]}),
            away.http.post(f"{base}/examples?mode=partial", json=bad),
        ):
            assert answer.status_code == 503, answer.text
            assert answer.json()["type"].endswith("/problems/unavailable")
            assert int(answer.headers["Retry-After"]) > 0
        add_labels(away, project_id, range(20, 25))
    assert api.http.get(f"{base}/examples/good").status_code == 404  # of a body that was not stored
    assert api.http.get(f"{base}/examples/e1").json()["prediction"]["model_version"] == 2


def test_a_job_waits_for_its_objects(api: Api, tmp_path: Path) -> None:
    project_id = api.project()
    add_examples(api, project_id, 1200)
    job_id = ask(api, project_id, k=3, strategy="k_center")
    with without_objects(api, tmp_path) as away:
        run_job(away.runtime, job_id)
        job = away.http.get(f"/v1/jobs/{job_id}").json()
        assert (job["state"], job["error"]) == ("queued", None)
    run_job(api.runtime, job_id)
    assert api.http.get(f"/v1/jobs/{job_id}").json()["state"] == "succeeded"


def test_a_request_that_finds_every_connection_in_use_may_come_again(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = api.runtime.database.engine
    assert isinstance(engine.pool, QueuePool)
    monkeypatch.setattr(engine.pool, "_timeout", 0.05)
    with ExitStack() as held:
        for _ in range(api.runtime.settings.api_connections):
            held.enter_context(engine.connect())
        answer = api.http.get("/v1/projects")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
    assert api.http.get("/v1/projects").status_code == 200

"""Objects that the tables name and that are not there."""

from typing import Any

import pytest

from tests.support.pools import add_examples, add_labels, ask
from tests.support.runtime import Api
from tests.support.working import drain


def trained(api: Api, *, examples: int) -> str:
    project_id = api.project(retraining={"automatic": False})
    add_examples(api, project_id, examples)
    add_labels(api, project_id, range(20))
    train(api, project_id)
    drain(api.runtime)
    return project_id


def train(api: Api, project_id: str) -> str:
    job_id: str = api.http.post(f"/v1/projects/{project_id}/trainings").json()["id"]
    return job_id


def query(api: Api, project_id: str) -> str:
    return ask(api, project_id, k=2, strategy="margin")


def predict(api: Api, project_id: str) -> str:
    body = {"examples": [{"vector": [0.0, 1.0]}]}
    path = f"/v1/projects/{project_id}/models/1/predict"
    job_id: str = api.http.post(path, json=body, headers={"Prefer": "wait=0"}).json()["id"]
    return job_id


@pytest.mark.parametrize(
    ("begin", "kind"), [(query, "models/"), (query, "arrays/"), (train, "arrays/"), (predict, "models/")]
)
def test_a_job_that_needs_a_lost_object_names_it(api: Api, begin: Any, kind: str) -> None:
    project_id = trained(api, examples=1200 if kind == "arrays/" else 40)
    lost = [key for key in api.runtime.objects.list() if key.startswith(kind)]
    for key in lost:
        api.runtime.objects.delete(key)
    job_id = begin(api, project_id)
    drain(api.runtime)
    error = api.http.get(f"/v1/jobs/{job_id}").json()["error"]
    assert error["type"].endswith("/problems/damaged-object")
    assert any(f"The object {key} is damaged: it is not there." == error["detail"] for key in lost)


def test_a_query_whose_candidates_are_lost_names_them(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.jobs.candidates._CHANGES_BEFORE_SNAPSHOT", 1)
    project_id = api.project()
    add_examples(api, project_id, 4)
    ask(api, project_id, k=1)
    drain(api.runtime)
    (lost,) = [key for key in api.runtime.objects.list() if key.startswith("candidates/")]
    api.runtime.objects.delete(lost)
    job_id = ask(api, project_id, k=1)
    drain(api.runtime)
    assert lost in api.http.get(f"/v1/jobs/{job_id}").json()["error"]["detail"]

"""A model that gives no numbers."""

import numpy as np
import pytest

from service.actions import digests
from service.db.queries import models
from tests.support.pools import add_examples, add_labels, ask
from tests.support.runtime import Api
from tests.support.working import drain
from workers.learning.estimators.model import TrainedModel


def diverged(api: Api) -> str:
    """A project whose first model has NaN for weights."""
    project_id = api.project(retraining={"automatic": False})
    add_examples(api, project_id, 40)
    add_labels(api, project_id, range(20))
    api.http.post(f"/v1/projects/{project_id}/trainings")
    drain(api.runtime)
    with api.runtime.database.read() as session:
        record = models.get(session, project_id, 1)
        assert record is not None
        key = record.artifact_key
    model = TrainedModel.load(api.runtime.objects.get(key), class_count=2)
    model.pipeline[-1].coef_[:] = np.nan
    data = model.dump()
    api.runtime.objects.put_bytes(key, data)
    with api.runtime.database.write() as session:
        digests.record(session, project_id, {key: digests.sha256_of(data)})
    return project_id


@pytest.mark.parametrize("strategy", ["margin", "random"])
def test_a_query_fails_with_a_problem_that_says_so(api: Api, strategy: str) -> None:
    project_id = diverged(api)
    job_id = ask(api, project_id, k=5, strategy=strategy)
    drain(api.runtime)
    job = api.http.get(f"/v1/jobs/{job_id}").json()
    assert job["state"] == "failed"
    assert job["error"]["type"].endswith("/problems/model-diverged")
    assert "not numbers" in job["error"]["detail"]
    assert api.http.get(f"/v1/jobs/{job_id}/batch").status_code == 409
    assert api.http.get("/problems/model-diverged").status_code == 200


def test_a_prediction_fails_with_the_same(api: Api) -> None:
    project_id = diverged(api)
    answer = api.http.post(
        f"/v1/projects/{project_id}/models/1/predict",
        json={"examples": [{"vector": [0.5, 0.5]}]},
        headers={"Prefer": "wait=0"},
    )
    assert answer.status_code == 202, answer.text
    drain(api.runtime)
    assert api.http.get(f"/v1/jobs/{answer.json()['id']}").json()["error"]["title"] == "The model gives no numbers"

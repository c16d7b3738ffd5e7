"""A model that gives no numbers."""

import numpy as np
import pytest

from service.db.queries import models
from tests.support.pools import add_examples, add_labels, ask
from tests.support.runtime import Api
from tests.support.working import drain
from workers.learning.estimators.model import TrainedModel


def diverge(api: Api, project_id: str) -> None:
    """Put NaN into the weights of the project's first model."""
    with api.runtime.database.read() as session:
        record = models.get(session, project_id, 1)
        assert record is not None
        key = record.artifact_key
    model = TrainedModel.load(api.runtime.objects.get(key), class_count=2)
    model.pipeline[-1].coef_[:] = np.nan
    api.runtime.objects.put_bytes(key, model.dump())


@pytest.mark.parametrize("strategy", ["margin", "random"])
def test_a_query_fails_with_a_problem_that_says_so(api: Api, strategy: str) -> None:
    project_id = api.project(retraining={"automatic": False})
    add_examples(api, project_id, 40)
    add_labels(api, project_id, range(20))
    api.http.post(f"/v1/projects/{project_id}/trainings")
    drain(api.runtime)
    diverge(api, project_id)
    job_id = ask(api, project_id, k=5, strategy=strategy)
    drain(api.runtime)
    job = api.http.get(f"/v1/jobs/{job_id}").json()
    assert job["state"] == "failed"
    assert job["error"]["type"].endswith("/problems/model-diverged")
    assert "not numbers" in job["error"]["detail"]
    assert api.http.get(f"/v1/jobs/{job_id}/batch").status_code == 409
    assert api.http.get("/problems/model-diverged").status_code == 200

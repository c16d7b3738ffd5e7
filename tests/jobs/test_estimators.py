"""Every estimator of the catalogue over HTTP: trained, asked, and measured."""

from typing import Any

import numpy as np
import pytest

from tests.support.estimators import names_for, quick_params
from tests.support.pools import add_examples, add_labels, batch, vector_of
from tests.support.runtime import Api
from tests.support.working import drain

pytestmark = pytest.mark.any_database


def trained(api: Api, project_id: str) -> dict[str, Any]:
    """The model of a training that is run at once."""
    assert api.http.post(f"/v1/projects/{project_id}/trainings").status_code == 202
    drain(api.runtime)
    model: dict[str, Any] = api.http.get(f"/v1/projects/{project_id}/models/1").json()
    return model


def predicted(api: Api, project_id: str, examples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    path, headers = f"/v1/projects/{project_id}/models/1/predict", {"Prefer": "wait=0"}
    answer = api.http.post(path, json={"examples": examples}, headers=headers)
    drain(api.runtime)
    job = api.http.get(f"/v1/jobs/{answer.json()['id']}").json()
    found: list[dict[str, Any]] = job["result"]["predictions"]
    return found


@pytest.mark.parametrize("name", names_for("classification"))
def test_vectors(api: Api, name: str) -> None:
    estimator = {"name": name, "params": quick_params(name)}
    project_id = api.project(estimator=estimator, retraining={"automatic": False})
    add_examples(api, project_id, 60)
    add_labels(api, project_id, range(24))
    model = trained(api, project_id)
    assert model["estimator"]["name"] == name
    assert model["estimator"]["params"] == estimator["params"]
    assert model["estimator"]["chosen"].items() >= {"committee": 0}.items()
    assert model["metrics"]["accuracy"]["value"] > 0.8
    found = batch(api, project_id, k=5, strategy="margin")
    assert found["strategy"]["fallback_reason"] is None
    sides = [
        max(item["probabilities"], key=item["probabilities"].get)
        for item in predicted(api, project_id, [{"vector": vector_of(n)} for n in range(30, 60)])
    ]
    assert np.mean([side == ("b" if n % 2 else "a") for n, side in enumerate(sides)]) > 0.85


@pytest.mark.parametrize("name", ["logistic_regression", "naive_bayes", "knn", "auto"])  # one of each form of texts
def test_text(api: Api, name: str) -> None:
    project_id = api.project(
        features={"type": "text", "field": "text"},
        estimator={"name": name, "params": quick_params(name)},
        retraining={"automatic": False},
    )
    words = (("refund", "money", "card"), ("parcel", "late", "lost"))
    rows = [
        {"id": f"e{n}", "data": {"text": f"{words[n % 2][n % 3]} {words[n % 2][n % 2]} order {n % 7}"}}
        for n in range(60)
    ]
    assert api.http.post(f"/v1/projects/{project_id}/examples", json={"examples": rows}).status_code == 200
    add_labels(api, project_id, range(24))
    assert trained(api, project_id)["metrics"]["accuracy"]["value"] > 0.8
    assert len(batch(api, project_id, k=5, strategy="margin")["items"]) == 5
    empty, known = predicted(api, project_id, [{"data": {"text": ""}}, {"data": {"text": "refund money card order"}}])
    assert sum(empty["probabilities"].values()) == pytest.approx(1)
    assert known["label"] == "a"


@pytest.mark.parametrize("name", names_for("regression"))
def test_numbers(api: Api, name: str) -> None:
    estimator = {"name": name, "params": quick_params(name)}
    project_id = api.project(task={"type": "regression"}, estimator=estimator, retraining={"automatic": False})
    add_examples(api, project_id, 60)
    labels = [{"example_id": f"e{n}", "label": 3 * vector_of(n)[0] + 10} for n in range(40)]
    assert api.http.post(f"/v1/projects/{project_id}/labels", json={"labels": labels}).status_code == 200
    model = trained(api, project_id)
    assert model["estimator"]["name"] == name
    assert model["metrics"]["r2"]["value"] > 0.5
    found = batch(api, project_id, k=5, strategy="predictive_deviation")
    assert found["strategy"]["fallback_reason"] is None
    told = predicted(api, project_id, [{"vector": vector_of(n)} for n in range(40, 60)])
    assert np.mean([abs(one["mean"] - 3 * vector_of(n)[0] - 10) for n, one in enumerate(told, 40)]) < 1.5
    assert all(one["spread"] >= 0 for one in told)

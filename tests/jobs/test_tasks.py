"""Several classes an example, and numbers, by the same loop as one class."""

from typing import Any

import numpy as np
import pytest

from tests.support.pools import batch
from tests.support.runtime import Api
from tests.support.working import drain

CLASSES = ["right", "up", "both"]
SEVERAL = {"type": "classification", "classes": CLASSES, "multi_label": True}
NUMBERS = {"type": "regression"}
COUNT = 60


def points() -> np.ndarray[Any, Any]:
    return np.random.default_rng(5).uniform(-1, 1, size=(COUNT, 2)).round(3)


def label_of(task: dict[str, Any], point: Any) -> Any:
    x, y = point
    if task is NUMBERS:
        return round(float(3 * x - y), 3)
    return [name for name, holds in zip(CLASSES, (x > 0, y > 0, x + y > 0.3), strict=True) if holds]


def project_with_labels(api: Api, task: dict[str, Any], **config: Any) -> str:
    """A pool of points, of which the first forty are labelled and the last ten only measure."""
    project_id = api.project(task=task, retraining={"automatic": False}, **config)
    rows = [
        {"id": f"e{n}", "vector": point.tolist(), "split": "test" if n >= COUNT - 10 else "pool"}
        for n, point in enumerate(points())
    ]
    assert api.http.post(f"/v1/projects/{project_id}/examples", json={"examples": rows}).status_code == 200
    labels = [
        {"example_id": f"e{n}", "label": label_of(task, point)}
        for n, point in enumerate(points())
        if n < 40 or n >= COUNT - 10
    ]
    answer = api.http.post(f"/v1/projects/{project_id}/labels", json={"labels": labels})
    assert answer.json()["created"] == 50, answer.text
    return project_id


def train(api: Api, project_id: str) -> dict[str, Any]:
    assert api.http.post(f"/v1/projects/{project_id}/trainings", json={}).status_code == 202
    drain(api.runtime)
    model: dict[str, Any] = api.http.get(f"/v1/projects/{project_id}/models/1").json()
    return model


def ranked(api: Api, project_id: str, **query: Any) -> dict[str, Any]:
    return batch(api, project_id, **{"k": 5, "lease_seconds": 0, **query})


@pytest.mark.parametrize("task", [SEVERAL, NUMBERS], ids=["several", "numbers"])
def test_labels_come_back_as_they_were_sent(api: Api, task: dict[str, Any]) -> None:
    project_id = project_with_labels(api, task)
    items = api.http.get(f"/v1/projects/{project_id}/labels").json()["items"]
    (first,) = (item for item in items if item["example_id"] == "e0")
    assert first["label"] == label_of(task, points()[0])
    example = api.http.get(f"/v1/projects/{project_id}/examples/e0").json()
    assert example["labels"][0]["label"] == first["label"]
    exported = api.http.get(f"/v1/projects/{project_id}/labels", headers={"Accept": "text/csv"})
    again = api.http.post(
        f"/v1/projects/{project_id}/labels?mode=partial",
        content="example_id,label\n" + "\n".join(csv_row(task, n) for n in range(40)),
        headers={"Content-Type": "text/csv"},
    )
    assert (again.json()["unchanged"], again.json()["rejected"]) == (40, 0), again.text
    assert exported.status_code == 200


def csv_row(task: dict[str, Any], n: int) -> str:
    label = label_of(task, points()[n])
    text = str(label) if task is NUMBERS else "[" + ",".join(f'""{name}""' for name in label) + "]"
    return f'e{n},"{text}"'


@pytest.mark.any_database
@pytest.mark.parametrize("strategy", ["auto", "margin", "entropy", "k_center", "random"])
def test_a_model_of_several_classes_ranks_and_predicts(api: Api, strategy: str) -> None:
    project_id = project_with_labels(api, SEVERAL)
    metrics = train(api, project_id)["metrics"]
    assert metrics["micro_f1"]["method"] == "test"
    assert metrics["micro_f1"]["value"] > 0.75
    assert set(metrics) == {"micro_f1", "macro_f1", "subset_accuracy", "log_loss"}
    found = ranked(api, project_id, strategy=strategy)
    assert len({item["example_id"] for item in found["items"]}) == 5
    assert found["strategy"]["fallback_from"] is None
    prediction = found["items"][0]["prediction"]
    assert prediction["label"] == [name for name in CLASSES if prediction["probabilities"][name] >= 0.5]


def test_one_class_is_found_among_several(api: Api) -> None:
    project_id = project_with_labels(api, SEVERAL)
    train(api, project_id)
    found = ranked(api, project_id, k=3, strategy="certainty", params={"target_class": "up"})
    assert [item["prediction"]["label"].count("up") for item in found["items"]] == [1] * 3


def test_a_model_of_numbers_ranks_and_predicts(api: Api) -> None:
    project_id = project_with_labels(api, NUMBERS)
    made = train(api, project_id)
    assert made["estimator"]["name"] == "random_forest"
    assert made["classes"] == []
    assert set(made["metrics"]) == {"r2", "mae", "rmse", "coverage"}
    assert made["metrics"]["r2"]["value"] > 0.5
    found = ranked(api, project_id)
    assert set(found["items"][0]["prediction"]) == {"mean", "spread"}
    body = {"examples": [{"vector": [0.9, -0.9]}, {"vector": [-0.9, 0.9]}]}
    job = api.http.post(f"/v1/projects/{project_id}/models/1/predict", json=body, headers={"Prefer": "wait=0"}).json()
    drain(api.runtime)
    high, low = api.http.get(f"/v1/jobs/{job['id']}").json()["result"]["predictions"]
    assert high["mean"] > 1 > -1 > low["mean"]


@pytest.mark.parametrize(
    ("task", "label", "code"),
    [
        (SEVERAL, "up", "wrong_type"),
        (SEVERAL, ["up", "down"], "unknown_class"),
        (SEVERAL, ["up", "up"], "duplicate"),
        (SEVERAL, 3, "wrong_type"),
        (NUMBERS, "3", "wrong_type"),
        (NUMBERS, [3], "wrong_type"),
        (NUMBERS, 1e31, "out_of_range"),
    ],
)
def test_labels_of_another_task_are_refused(api: Api, task: dict[str, Any], label: Any, code: str) -> None:
    project_id = project_with_labels(api, task)
    row = {"example_id": "e45", "label": label}
    answer = api.http.post(f"/v1/projects/{project_id}/labels", json={"labels": [row]})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["code"] == code
    assert api.http.get(f"/v1/projects/{project_id}").json()["counts"]["labels"]["total"] == 50


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({"task": {"type": "regression", "classes": ["a", "b"]}}, "/task/classes", "unknown_field"),
        ({"task": {"type": "regression", "multi_label": True}}, "/task/multi_label", "invalid_value"),
        ({"task": {"type": "classification"}}, "/task/classes", "missing_field"),
        ({"task": {"type": "classification", "classes": ["a"]}}, "/task/classes", "too_short"),
        (
            {"task": NUMBERS, "estimator": {"name": "logistic_regression", "params": {}}},
            "/estimator/name",
            "wrong_task",
        ),
        ({"task": NUMBERS, "query": {"strategy": "margin", "params": {}}}, "/query/strategy", "wrong_task"),
    ],
)
def test_a_project_fits_its_task(api: Api, body: dict[str, Any], pointer: str, code: str) -> None:
    features = {"type": "vector", "dimensions": 2}
    answer = api.http.post("/v1/projects", json={"name": "n", "features": features, **body})
    assert answer.status_code == 422
    assert (answer.json()["errors"][0]["pointer"], answer.json()["errors"][0]["code"]) == (pointer, code)


def test_batches_of_several_classes_are_not_balanced(api: Api) -> None:
    project_id = project_with_labels(api, SEVERAL)
    answer = api.http.post(f"/v1/projects/{project_id}/queries", json={"k": 5, "class_balanced": True})
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/class_balanced"]


@pytest.mark.any_database
@pytest.mark.parametrize(
    ("task", "estimator", "strategy"),
    [
        (SEVERAL, "logistic_regression", "bald"),
        (NUMBERS, "bayesian_ridge", "committee_deviation"),
        (NUMBERS, "auto", "committee_deviation"),
    ],
)
@pytest.mark.parametrize("kind", ["bootstrap", "estimators"])
def test_committees(api: Api, task: dict[str, Any], estimator: str, strategy: str, kind: str) -> None:
    config = {"name": estimator, "params": {"committee": 3, "committee_of": kind}}
    project_id = project_with_labels(api, task, estimator=config)
    before = ranked(api, project_id, strategy=strategy)["strategy"]
    assert (before["fallback_from"], before["fallback_reason"]) == (strategy, "no_model")
    train(api, project_id)
    found = ranked(api, project_id, strategy=strategy, k=8)
    assert (found["strategy"]["name"], found["strategy"]["fallback_reason"]) == (strategy, None)
    values = [item["reason"]["value"] for item in found["items"]]
    assert values == sorted(values, reverse=True)
    assert values[0] > values[-1] >= 0
    etag = {"If-Match": "*"}
    changed = {"estimator": {"name": estimator, "params": {}}}
    assert api.http.patch(f"/v1/projects/{project_id}", json=changed, headers=etag).status_code == 200
    refused = api.http.post(f"/v1/projects/{project_id}/queries", json={"k": 2, "strategy": strategy})
    assert refused.json()["errors"][0]["code"] == "no_committee"
    changed = {"estimator": {"name": estimator, "params": {"committee": 2}}}
    assert api.http.patch(f"/v1/projects/{project_id}", json=changed, headers=etag).status_code == 200
    assert ranked(api, project_id, strategy=strategy)["strategy"]["name"] == strategy  # that of before still serves


@pytest.mark.any_database
@pytest.mark.parametrize(
    ("task", "estimator", "strategy", "instead"),
    [
        (SEVERAL, "logistic_regression", "bald", "margin"),
        (NUMBERS, "bayesian_ridge", "committee_deviation", "predictive_deviation"),
    ],
)
def test_before_a_committee_is_trained_the_model_ranks(
    api: Api, task: dict[str, Any], estimator: str, strategy: str, instead: str
) -> None:
    project_id = project_with_labels(api, task, estimator={"name": estimator, "params": {}})
    train(api, project_id)
    changed = {"estimator": {"name": estimator, "params": {"committee": 2}}}
    answer = api.http.patch(f"/v1/projects/{project_id}", json=changed, headers={"If-Match": "*"})
    assert answer.status_code == 200
    found = ranked(api, project_id, strategy=strategy)["strategy"]
    assert (found["name"], found["fallback_from"], found["fallback_reason"]) == (instead, strategy, "no_committee")

"""Trainings: the model, its metrics, the policy that starts them."""

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from sqlalchemy import delete, select

from service.actions import trainings
from service.api.deps.runtime import utc_now
from service.db.queries import projects
from service.db.tables import Chunk as ChunkRow
from tests.support.own_models import activate
from tests.support.pools import add_examples, add_labels, batch, vector_of
from tests.support.runtime import Api
from tests.support.working import drain
from workers.jobs import measuring, runner
from workers.jobs.context import JobContext
from workers.learning import metrics


def _jobs(api: Api, project_id: str, kind: str = "training") -> list[dict[str, Any]]:
    answer = api.http.get(f"/v1/projects/{project_id}/jobs", params={"kind": kind})
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def test_labels_lead_to_a_model_and_the_curve_grows(api: Api) -> None:
    project_id = api.project(retraining={"first_at": 10, "every": 5})
    add_examples(api, project_id, 40)
    assert add_labels(api, project_id, range(9))["training"] == {"job_id": None, "labels_until_next": 1}
    started = add_labels(api, project_id, [9])["training"]
    assert started["job_id"].startswith("job_")
    assert started["labels_until_next"] == 5
    drain(api.runtime)
    assert add_labels(api, project_id, range(10, 14))["training"]["labels_until_next"] == 1
    add_labels(api, project_id, [14])
    drain(api.runtime)
    curve = api.http.get(f"/v1/projects/{project_id}/progress").json()["curve"]
    assert [(point["model_version"], point["labels_used"]) for point in curve] == [(1, 10), (2, 15)]
    assert set(curve[0]["metrics"]) == {"accuracy", "balanced_accuracy", "macro_f1", "log_loss", "calibration_error"}
    for name in ("accuracy", "calibration_error"):
        metric = curve[0]["metrics"][name]
        assert metric["method"] == "cross_validation"
        assert metric["biased"] is True
        assert 0 <= metric["low"] <= metric["value"] <= metric["high"] <= 1


def test_the_pool_is_predicted_ahead_where_predictions_were_asked_for(api: Api) -> None:
    project_id = api.project(retraining={"automatic": False})
    add_examples(api, project_id, 40)
    made = []
    for labels, asks in ((range(10), True), (range(10, 15), False), (range(15, 20), True)):
        add_labels(api, project_id, labels)
        api.http.post(f"/v1/projects/{project_id}/trainings")
        drain(api.runtime)
        made.append(_predicted(api, project_id))
        if asks:
            batch(api, project_id, strategy="entropy", k=5, lease_seconds=0)
    assert made == [[], ["predictions:2"], ["predictions:3"]]
    ahead = batch(api, project_id, strategy="entropy", k=5, lease_seconds=0)
    with api.runtime.database.write() as session:
        session.execute(delete(ChunkRow).where(ChunkRow.array == "predictions:3"))
    assert batch(api, project_id, strategy="entropy", k=5, lease_seconds=0)["items"] == ahead["items"]


@pytest.mark.parametrize("meanwhile", ["pinned", "renamed", "cancelled"])
def test_a_model_that_will_not_serve_leaves_no_predictions_and_one_that_is_not_stored_no_file(
    api: Api, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    estimator = {"name": "logistic_regression", "params": {"committee": 2}}
    project_id = api.project(estimator=estimator, retraining={"automatic": False})
    add_examples(api, project_id, 40)
    for _ in range(2):
        add_labels(api, project_id, range(10))
        api.http.post(f"/v1/projects/{project_id}/trainings")
        drain(api.runtime)
        batch(api, project_id, strategy="entropy", k=5, lease_seconds=0)
    measured = metrics.evaluate

    def changed_meanwhile(*given: Any, **named: Any) -> Any:
        if meanwhile == "pinned":
            activate(api, project_id, 2)
        elif meanwhile == "cancelled":
            (job_id,) = (job["id"] for job in _jobs(api, project_id) if job["state"] == "running")
            assert api.http.post(f"/v1/jobs/{job_id}/cancel").status_code == 200
        else:
            renamed = {"rename_classes": {"a": "c"}}
            answer = api.http.patch(f"/v1/projects/{project_id}", json=renamed, headers={"If-Match": "*"})
            assert answer.status_code == 200, answer.text
        return measured(*given, **named)

    monkeypatch.setattr(measuring, "evaluate", changed_meanwhile)
    before = set(api.runtime.objects.list(f"arrays/{project_id}/"))
    files = set(api.runtime.objects.list(f"models/{project_id}/"))
    add_labels(api, project_id, range(10, 15))
    api.http.post(f"/v1/projects/{project_id}/trainings")
    drain(api.runtime)
    assert _jobs(api, project_id)[0]["state"] == ("cancelled" if meanwhile == "cancelled" else "succeeded")
    there = api.http.get(f"/v1/projects/{project_id}/models/3").status_code
    assert there == (200 if meanwhile == "pinned" else 404)
    assert _predicted(api, project_id) == ["predictions:2"]
    assert set(api.runtime.objects.list(f"arrays/{project_id}/")) <= before
    made = set(api.runtime.objects.list(f"models/{project_id}/")) - files
    assert len(made) == (2 if meanwhile == "pinned" else 0), made  # the model and its committee


def _predicted(api: Api, project_id: str) -> list[str]:
    with api.runtime.database.read() as session:
        rows = select(ChunkRow).where(ChunkRow.project_id == project_id, ChunkRow.retired.is_(None))
        return [row.array for row in session.scalars(rows) if row.array.startswith("predictions:")]


def test_test_rows_measure_and_never_train(api: Api) -> None:
    project_id = api.project(retraining={"automatic": False})
    add_examples(api, project_id, 20)
    rows = [{"id": f"t{n}", "vector": vector_of(n), "split": "test", "label": "b" if n % 2 else "a"} for n in range(30)]
    api.http.post(f"/v1/projects/{project_id}/examples", json={"examples": rows})
    add_labels(api, project_id, range(12))
    api.http.post(f"/v1/projects/{project_id}/trainings")
    drain(api.runtime)
    model = api.http.get(f"/v1/projects/{project_id}/models/1").json()
    assert model["labels_used"] == 12
    assert model["metrics"]["accuracy"]["method"] == "test"
    assert model["metrics"]["accuracy"]["biased"] is False
    assert model["metrics"]["accuracy"]["n"] == 30
    assert model["metrics"]["accuracy"]["value"] == 1.0


def test_one_class_or_too_few_labels_is_a_result_without_a_model(api: Api) -> None:
    project_id = api.project(retraining={"automatic": False})
    add_examples(api, project_id, 20)
    for labels, reason, advice in (
        ([], "too_few_labels", "Label more examples"),
        ([0, 2, 4], "one_class", "Label examples of another class"),
    ):
        if labels:
            add_labels(api, project_id, labels)
        job_id = api.http.post(f"/v1/projects/{project_id}/trainings").json()["id"]
        drain(api.runtime)
        job = api.http.get(f"/v1/jobs/{job_id}").json()
        assert job["state"] == "succeeded"
        assert (job["result"]["model"], job["result"]["reason"]) == (None, reason)
        assert f"No model was trained. {advice}" in job["result"]["detail"]


def test_the_same_labels_give_the_same_model(api: Api) -> None:
    predictions = []
    for order in (range(20), reversed(range(20))):
        project_id = api.project(retraining={"automatic": False})
        add_examples(api, project_id, 40)
        for number in order:
            add_labels(api, project_id, [number])
        api.http.post(f"/v1/projects/{project_id}/trainings")
        drain(api.runtime)
        job = api.http.post(
            f"/v1/projects/{project_id}/models/1/predict",
            json={"examples": [{"vector": vector_of(n)} for n in range(40)]},
            headers={"Prefer": "wait=0"},
        )
        assert job.status_code == 202
        drain(api.runtime)
        predictions.append(api.http.get(job.headers["Location"]).json()["result"])
    assert predictions[0] == predictions[1]
    assert np.isclose(sum(predictions[0]["predictions"][0]["probabilities"].values()), 1, atol=1e-5)


def test_asking_while_one_waits_gives_the_waiting_one(api: Api) -> None:
    project_id = api.project()
    add_examples(api, project_id, 20)
    first = api.http.post(f"/v1/projects/{project_id}/trainings").json()["id"]
    assert api.http.post(f"/v1/projects/{project_id}/trainings").json()["id"] == first
    assert add_labels(api, project_id, range(12))["training"]["job_id"] == first
    assert drain(api.runtime) >= 1
    assert len(_jobs(api, project_id)) == 1
    counts = api.http.get(f"/v1/projects/{project_id}").json()["counts"]
    assert counts["model_version"] == 1
    assert counts["labels_since_model"] == 0


def test_after_the_idle_time_the_rest_is_trained(api: Api) -> None:
    project_id = api.project(retraining={"first_at": 10, "every": 100, "idle_seconds": 60})
    add_examples(api, project_id, 40)
    add_labels(api, project_id, range(10))
    drain(api.runtime)
    add_labels(api, project_id, [10, 11, 12])
    for later, expected in ((59, 1), (61, 2)):
        with api.runtime.write() as session:
            trainings.request_due(session, now=utc_now() + timedelta(seconds=later), share=10)
        drain(api.runtime)
        assert len(api.http.get(f"/v1/projects/{project_id}/models").json()["items"]) == expected
    newest = api.http.get(f"/v1/projects/{project_id}/models").json()["items"][0]
    assert newest["labels_used"] == 13


def test_a_quiet_time_is_waited_for(api: Api) -> None:
    project_id = api.project(retraining={"first_at": 5, "quiet_seconds": 30})
    add_examples(api, project_id, 20)
    assert add_labels(api, project_id, range(6))["training"] == {"job_id": None, "labels_until_next": 0}
    assert _jobs(api, project_id) == []
    with api.runtime.write() as session:
        trainings.request_due(session, now=utc_now() + timedelta(seconds=31), share=10)
    assert len(_jobs(api, project_id)) == 1


def test_manual_projects_train_only_when_asked(api: Api) -> None:
    project_id = api.project(retraining={"automatic": False})
    add_examples(api, project_id, 40)
    assert add_labels(api, project_id, range(40))["training"] == {"job_id": None, "labels_until_next": None}
    assert _jobs(api, project_id) == []


def test_predicting_checks_its_examples(api: Api) -> None:
    project_id = api.project(retraining={"automatic": False})
    add_examples(api, project_id, 20)
    add_labels(api, project_id, range(10))
    assert api.http.post(f"/v1/projects/{project_id}/models/1/predict", json={"examples": []}).status_code == 422
    body = {"examples": [{"vector": [1.0, 2.0]}]}
    assert api.http.post(f"/v1/projects/{project_id}/models/1/predict", json=body).status_code == 404
    api.http.post(f"/v1/projects/{project_id}/trainings")
    drain(api.runtime)
    bad = api.http.post(f"/v1/projects/{project_id}/models/1/predict", json={"examples": [{"vector": [1.0]}]})
    assert bad.status_code == 422
    assert bad.json()["errors"][0]["pointer"] == "/examples/0/vector"
    broken = {"examples": [{"vector": ["x"] * 100_000}]}
    refused = api.http.post(f"/v1/projects/{project_id}/models/1/predict", json=broken)
    assert refused.status_code == 422
    assert len(refused.content) < 2_000
    base64 = api.http.post(
        f"/v1/projects/{project_id}/models/1/predict",
        json={"examples": [{"vector": "AACAPwAAAEA="}, {"vector": [1.0, 2.0]}]},
        headers={"Prefer": "wait=0"},
    )
    drain(api.runtime)
    one, two = api.http.get(base64.headers["Location"]).json()["result"]["predictions"]
    assert one == two
    artifact = api.http.get(f"/v1/projects/{project_id}/models/1/artifact")
    assert artifact.content.startswith(b"PK")


def _tick(api: Api, seconds: float) -> int:
    """What the timer would do so much later; how many trainings there are then."""
    with api.runtime.write() as session:
        trainings.request_due(session, now=utc_now() + timedelta(seconds=seconds), share=10)
    return len(_jobs(api, str(api.http.get("/v1/projects").json()["items"][0]["id"])))


def test_labels_of_a_failed_training_are_tried_again_after_the_idle_time(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    project_id = api.project(retraining={"first_at": 4, "every": 10, "idle_seconds": 30})
    add_examples(api, project_id, 20)

    def broken(_: JobContext) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(runner, "JOBS", {"training": broken})
        add_labels(api, project_id, range(4))
        drain(api.runtime)
    assert api.http.get(f"/v1/projects/{project_id}").json()["counts"]["labels_since_model"] == 4
    assert add_labels(api, project_id, [4])["training"] == {"job_id": None, "labels_until_next": 3}
    assert _tick(api, 31) == 2
    drain(api.runtime)
    assert api.http.get(f"/v1/projects/{project_id}").json()["counts"]["labels_since_model"] == 0


def test_a_policy_can_be_switched_off_and_on(api: Api) -> None:
    project_id = api.project(retraining={"first_at": 10, "idle_seconds": 30})
    add_examples(api, project_id, 30)
    add_labels(api, project_id, range(8))
    address, headers = f"/v1/projects/{project_id}", {"If-Match": "*"}
    api.http.patch(address, json={"retraining": {"automatic": False}}, headers=headers)
    assert _tick(api, 31) == 0
    add_labels(api, project_id, range(8, 12))
    api.http.patch(address, json={"retraining": {"automatic": True, "first_at": 10}}, headers=headers)
    assert len(_jobs(api, project_id)) == 1


def test_what_a_cancelled_training_would_have_covered_is_trained_later(api: Api) -> None:
    project_id = api.project(retraining={"first_at": 4, "every": 10, "idle_seconds": 30})
    add_examples(api, project_id, 20)
    job_id = add_labels(api, project_id, range(4))["training"]["job_id"]
    api.http.post(f"/v1/jobs/{job_id}/cancel")
    assert _tick(api, 31) == 2


def test_sending_the_same_labels_again_does_not_put_training_off(api: Api) -> None:
    project_id = api.project(retraining={"first_at": 10, "idle_seconds": 30})
    add_examples(api, project_id, 20)
    add_labels(api, project_id, range(4))
    with api.runtime.database.read() as session:
        before = projects.pool(session, project_id).train_at
    assert add_labels(api, project_id, range(4))["training"] == {"job_id": None, "labels_until_next": 6}
    with api.runtime.database.read() as session:
        assert projects.pool(session, project_id).train_at == before


def test_one_class_at_first_waits_for_as_many_labels_as_the_first_training(api: Api) -> None:
    project_id = api.project(retraining={"first_at": 4, "every": 20})
    add_examples(api, project_id, 20)
    add_labels(api, project_id, [0, 2, 4, 6])
    drain(api.runtime)
    assert add_labels(api, project_id, [1])["training"] == {"job_id": None, "labels_until_next": 3}


def test_changed_features_of_a_labelled_example_count_as_a_change(api: Api) -> None:
    project_id = api.project(retraining={"first_at": 4, "every": 20})
    add_examples(api, project_id, 20)
    add_labels(api, project_id, range(6))
    drain(api.runtime)
    rows = [{"id": "e0", "vector": [9.0, 9.0]}, {"id": "e19", "vector": [9.0, 9.0]}]
    api.http.post(f"/v1/projects/{project_id}/examples", json={"examples": rows})
    assert api.http.get(f"/v1/projects/{project_id}").json()["counts"]["labels_since_model"] == 1


def test_deleted_examples_change_no_model(api: Api) -> None:
    accuracies = []
    for deleted in (0, 150):
        project_id = api.project(retraining={"automatic": False})
        rows = [{"id": f"e{n}", "vector": [x + 50.0 for x in vector_of(n)]} for n in range(200)]
        api.http.post(f"/v1/projects/{project_id}/examples", json={"examples": rows})
        add_labels(api, project_id, range(30))
        for n in range(200 - deleted, 200):
            api.http.delete(f"/v1/projects/{project_id}/examples/e{n}")
        api.http.post(f"/v1/projects/{project_id}/trainings")
        drain(api.runtime)
        model = api.http.get(f"/v1/projects/{project_id}/models/1").json()
        accuracies.append(model["metrics"]["accuracy"]["value"])
    assert accuracies[1] >= accuracies[0] - 0.05
